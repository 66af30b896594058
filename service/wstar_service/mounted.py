"""What mounted files say: secrets and certificates that are replaced while the service runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Self, TypeVar

from wstar.errors import InvalidInput

_LOG = logging.getLogger("wstar.files")

Value = TypeVar("Value")
_Version = tuple[tuple[int, ...], ...]


class Mounted(Generic[Value]):
    """A value read from files, and read again when one of them is another file than before.

    Files that make no sense are warned of once and change nothing: a certificate and its key are
    two files, and nobody writes both at once. Safe to ask from any thread: gRPC's handshakes and
    the metrics page have their own.
    """

    def __init__(
        self, paths: Sequence[Path], read: Callable[[], Value], version: _Version, value: Value
    ) -> None:
        self._paths = paths
        self._read = read
        self._version = version
        self._value = value
        self._fault = ""
        self._lock = threading.Lock()

    @classmethod
    def open(cls, paths: Sequence[Path], read: Callable[[], Value]) -> Self:
        """Read for the first time; raises the InvalidInput of `read`, which names the file."""
        # Before reading: a file that changes meanwhile is read again at the next look.
        version = _version(paths)
        return cls(paths, read, version, read())

    def look(self) -> Value:
        """Return the newest value that made sense: one stat per file while nothing changes."""
        with self._lock:
            version = _version(self._paths)
            if version != self._version:
                self._version = version
                self._renew()
            return self._value

    def _renew(self) -> None:
        try:
            self._value = self._read()
        except InvalidInput as error:
            if str(error) != self._fault:
                _LOG.warning("%s; what was read before stays in use", error)
            self._fault = str(error)
        else:
            self._fault = ""
            _LOG.info("read again: %s", ", ".join(map(str, self._paths)))


def _version(paths: Sequence[Path]) -> _Version:
    """Tell files apart as symbolic links now resolve: a secret is swapped by moving one link."""
    return tuple(_stat(path) for path in paths)


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    # The change time also moves when a permission is given, and cannot be set back.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
