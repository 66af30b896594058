"""Codes that others saved: W+ of many pictures in one file, or one file per picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wstar.errors import CheckpointError
from wstar_training.data.arrays import read_array
from wstar_training.data.lists import stem

_WIDTH = 512
_FORMATS = {".npy", ".pt"}
_CHECKED_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class SavedCodes:
    """Codes in W+.

    w: float32 (N, n, 512), absolute.
    names: file names the codes come from, sorted as text; None where one file holds all. Scripts
        save those in an order of their own (0, 1, 10, 100, ...) and may leave out the last ones:
        they are worth nothing beside labels without the list of names they were made from.
    """

    w: NDArray[np.float32]
    names: tuple[str, ...] | None


def read_codes(path: Path) -> SavedCodes:
    """Read a file [N, n, 512], or a folder of files [n, 512] or [1, n, 512]: `.npy` or `.pt`.

    One file of float32 is mapped, not read into memory; other precisions are converted.

    Raises
    ------
    CheckpointError: a file that `wstar_training.data.arrays` refuses, another shape, a number
    that is not finite; a folder without such files, or with two for one picture.
    """
    if path.is_dir():
        return _from_folder(path)
    array = read_array(path)
    if array.ndim != 3 or array.shape[-1] != _WIDTH or array.size == 0:
        raise CheckpointError(f"{path}: expected shape (N, n, {_WIDTH}), found {array.shape}")
    return SavedCodes(_float32(path, array), None)


def _from_folder(folder: Path) -> SavedCodes:
    paths = sorted(
        (path for path in folder.iterdir() if path.suffix in _FORMATS and path.name[0] != "."),
        key=lambda path: path.name,
    )
    if not paths:
        raise CheckpointError(f"{folder}: expected .npy or .pt files, found none")
    shape = _one(paths[0]).shape
    w = np.empty((len(paths), *shape), np.float32)
    seen: set[str] = set()
    for index, path in enumerate(paths):
        if stem(path.name) in seen:
            raise CheckpointError(f"{path}: expected one file per picture, found a second one")
        seen.add(stem(path.name))
        code = _one(path)
        if code.shape != shape:
            raise CheckpointError(
                f"{path}: expected shape {shape} as in {paths[0].name}, found {code.shape}"
            )
        w[index] = code
    return SavedCodes(w, tuple(path.name for path in paths))


def _one(path: Path) -> NDArray[np.float32]:
    """The code (n, 512) of one picture."""
    array = read_array(path)
    code = array[0] if array.ndim == 3 and len(array) == 1 else array
    if code.ndim != 2 or code.shape[-1] != _WIDTH or code.size == 0:
        raise CheckpointError(
            f"{path}: expected shape (n, {_WIDTH}) or (1, n, {_WIDTH}), found {array.shape}"
        )
    return _float32(path, code)


def _float32(path: Path, array: NDArray[Any]) -> NDArray[np.float32]:
    """Convert, and look at every number, few codes at a time: a mapped file stays on disk."""
    with np.errstate(over="ignore"):
        w = np.asarray(array, np.float32)
    for start in range(0, len(w), _CHECKED_AT_ONCE):
        if not np.isfinite(w[start : start + _CHECKED_AT_ONCE]).all():
            where = f"rows {start} to {min(start + _CHECKED_AT_ONCE, len(w)) - 1}"
            raise CheckpointError(f"{path}, {where}: expected finite numbers, found others")
    return w
