"""What a process writes to stderr, line by line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

SAID = """
import logging, sys, threading, warnings
from wstar_service import logs
logging.basicConfig(level=logging.DEBUG)
logs.configure({log_format!r})
log = logging.getLogger("wstar.calls")
facts = dict(request_id="r-1", method="Embed", code="OK", faces=2, duration_ms=1.5, caller="a b")
log.info("call", extra=facts)
log.debug("a detail")
logging.getLogger("library").info("a request of a library")
logging.getLogger("library").warning("a warning of a library")
log.info("two\\nlines %s", "é\\u2028")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed", extra=dict(request_id="r-2"))
warnings.warn("old ways")
thread = threading.Thread(target=lambda: [][1])
thread.start()
thread.join()
raise SystemError("at the end")
"""


def said(log_format: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SAID.format(log_format=log_format)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in said("json").splitlines()]


def test_each_line_is_one_object(lines: list[dict[str, Any]]) -> None:
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("INFO", "wstar.calls"),
        ("WARNING", "library"),
        ("INFO", "wstar.calls"),
        ("ERROR", "wstar.calls"),
        ("WARNING", "py.warnings"),
        ("CRITICAL", "wstar"),
        ("CRITICAL", "wstar"),
    ]


def test_a_call_has_its_facts_by_name(lines: list[dict[str, Any]]) -> None:
    call = lines[0]
    assert list(call)[:4] == ["time", "level", "logger", "message"]
    del call["time"]
    assert call == {
        "level": "INFO",
        "logger": "wstar.calls",
        "message": "call",
        "request_id": "r-1",
        "method": "Embed",
        "code": "OK",
        "faces": 2,
        "duration_ms": 1.5,
        "caller": "a b",
    }


def test_times_are_utc_to_the_millisecond(lines: list[dict[str, Any]]) -> None:
    text = lines[1]["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    # The interpreter was started within this test's module.
    assert abs(datetime.now(UTC) - datetime.fromisoformat(text)) < timedelta(minutes=5)


def test_a_message_of_two_lines_stays_on_one(lines: list[dict[str, Any]]) -> None:
    assert lines[2]["message"] == "two\nlines é\u2028"


def test_tracebacks_are_inside_the_object(lines: list[dict[str, Any]]) -> None:
    failed, warned, thread, end = lines[3:]
    assert failed["message"] == "failed"
    assert failed["request_id"] == "r-2"
    assert failed["exception"].startswith("Traceback (most recent call last):\n")
    assert failed["exception"].endswith("ZeroDivisionError: division by zero")
    assert "old ways" in warned["message"]
    assert thread["exception"].endswith("IndexError: list index out of range")
    assert end["exception"].endswith("SystemError: at the end")


def test_text_names_the_facts_and_quotes_what_is_no_word() -> None:
    text = said("text")
    first = text.splitlines()[0]
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z INFO wstar\.calls call request_id=r-1 method=Embed "
        r'code=OK faces=2 duration_ms=1\.5 caller="a b"',
        first,
    )
    assert "a detail" not in text
    assert "a request of a library" not in text
    assert "WARNING library a warning of a library" in text
    assert "ERROR wstar.calls failed request_id=r-2\nTraceback (most recent call last):\n" in text
