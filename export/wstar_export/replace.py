"""One folder takes the place of another in one step, so that no reader finds half of it."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of linux/fcntl.h and linux/fs.h.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
# What systems and file systems answer that cannot exchange two names.
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """Give a new folder; when all went well it takes the place and name of `output`.

    Where the file system can, the two exchange their names in one step: a Triton server that
    polls its repository unloads every model of a folder that is gone for a moment.
    """
    made = output.with_name(f".{output.name}.{os.getpid()}.partial")
    made.mkdir(parents=True)
    try:
        yield made
        if not output.exists():
            made.rename(output)
        elif not _exchanged(made, output):
            _moved(made, output)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _exchanged(first: Path, second: Path) -> bool:
    """Let two folders exchange their names; False where that is not possible."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(second))


def _moved(made: Path, output: Path) -> None:
    """Replace `output` by `made` in two steps, the old one put back if the second fails."""
    replaced = output.with_name(f".{output.name}.{os.getpid()}.replaced")
    output.rename(replaced)
    try:
        made.rename(output)
    except BaseException:
        replaced.rename(output)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
