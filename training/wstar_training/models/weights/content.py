"""Files that others wrote, opened without running anything that is in them.

Two formats: torch.save (zip archives and the older stream) and plain pickles, which go through a
reader that knows a handful of names and refuses every other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from wstar.errors import CheckpointError
from wstar_training.models.weights import pickles, torch_streams

# As far as the mark of a torch file may reach.
_HEAD_BYTES = 32


def read(path: Path) -> object:
    """What a file holds: tensors on the CPU, numbers, strings, and containers of them.

    Tensors of an archive are mapped, not copied: pages are read when they are used, and the file
    must stay as it is while they are.

    Raises
    ------
    CheckpointError: no such file, a truncated one, another format, or a name in it that no
    checkpoint needs; the message says which name.
    """
    # A pipe would be waited for.
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path}: expected a file")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    if not head:
        raise CheckpointError(f"{path}: the file is empty")
    archive = head.startswith(torch_streams.ZIP)
    if archive or torch_streams.is_stream(head):
        return _torch(path, archive)
    return pickles.read(path)


def _torch(path: Path, mapped: bool) -> object:
    """Read a torch file; training runs keep their command line, which is plain values."""
    # First ours: torch's safe loader neither names all it refuses nor bounds what it makes.
    pickles.screen(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    except Exception as error:  # Damaged archives make torch raise nearly anything.
        # Only the first sentence: the others recommend loading without protection.
        first = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise CheckpointError(f"{path}: truncated, or no torch file: {first}") from error
