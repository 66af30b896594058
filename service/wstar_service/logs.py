"""How the log is written: one JSON object per line, or one text per line, on stderr."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS, merge_record_extra
from pythonjsonlogger.json import JsonFormatter

from wstar_service.settings import LogFormat

_PLAIN = re.compile(r"[\w.:/+-]+", re.ASCII)


def configure(log_format: LogFormat) -> None:
    """Write this process's log, warnings and uncaught exceptions to stderr in one format.

    Ours from INFO on; libraries from WARNING on, so that none of them logs a line per request.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("wstar").setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda thread: _uncaught(
        thread.exc_type, thread.exc_value, thread.exc_traceback
    )


class _Json(JsonFormatter):
    """time, level, logger, message, what the line adds, and `exception` with its traceback."""

    def __init__(self) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields={
                "asctime": "time",
                "levelname": "level",
                "name": "logger",
                "exc_info": "exception",
            },
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return when it was logged, as `_time` writes it."""
        return _time(record)


class _Text(logging.Formatter):
    """`TIME LEVEL LOGGER MESSAGE NAME=VALUE ...`, and the lines of a traceback below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return when it was logged, as `_time` writes it."""
        return _time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line without its traceback."""
        extra: dict[str, Any] = merge_record_extra(record, {}, RESERVED_ATTRS)
        facts = [f"{name}={_word(value)}" for name, value in extra.items()]
        return " ".join([super().formatMessage(record), *facts])


def _time(record: logging.LogRecord) -> str:
    """UTC in RFC 3339, to the millisecond."""
    when = datetime.fromtimestamp(record.created, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(value: object) -> str:
    """Write a value so that it is one word, or stands in quotes on one line."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    logging.getLogger("wstar").critical(
        "uncaught exception", exc_info=(kind, error or kind(), traceback)
    )
