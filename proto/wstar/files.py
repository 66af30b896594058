"""Files that appear complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; a block that ends well renames it."""
    # Beside the target: a rename is atomic only within one file system. Not named by the process
    # id: two containers that share a volume both run as process 1.
    partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a file under a temporary name beside `path`, then rename it; replaces an old one."""
    with replacing(path) as partial:
        partial.write_bytes(data)
