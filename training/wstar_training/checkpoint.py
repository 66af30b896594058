"""Checkpoints: written whole or not at all, read without running code from them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch

from wstar.errors import CheckpointError

# Names the files of E and G that a run was made with, for export.
NETWORKS_FILE = "networks.json"


def save(path: Path, content: dict[str, Any]) -> None:
    """Write `content` (tensors, numbers, strings, and dicts and lists of them) atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        torch.save(content, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_partial(*paths: Path) -> None:
    """Remove what killed writers of these files left beside them; nobody may be writing them."""
    for path in paths:
        for left in path.parent.glob(f".{path.name}.*.partial"):
            left.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote, on the CPU.

    Raises
    ------
    CheckpointError: the file is missing, truncated, or holds anything but plain data.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except Exception as error:
        # Only the first sentence: the others recommend loading without protection.
        first = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise CheckpointError(f"{path}: not a readable checkpoint: {first}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dict, found {type(content).__name__}")
    return content


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes in hexadecimal, without holding them in memory.

    Raises
    ------
    CheckpointError: the file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
