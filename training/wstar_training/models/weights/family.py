"""Bare state dicts, told from files of another family by the keys that only theirs have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from wstar.errors import CheckpointError
from wstar_training.models.weights.fitting import shape

_SHOWN = 4


def bare_state(content: object, path: Path, family: str, marks: Iterable[str]) -> dict[str, Tensor]:
    """What a file holds, if that is tensors by name, one of the names being in `marks`.

    Raises
    ------
    CheckpointError: it is not; the message says which keys a `family` would have, and the first
    keys that the file has.
    """
    expected = f"{path}: no {family}: expected the key {' or '.join(marks)}, found"
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{expected} {shape(content)}")
    names = [str(name) for name in content]
    if not any(mark in names for mark in marks):
        more = ", …" * (len(names) > _SHOWN)
        raise CheckpointError(f"{expected} {len(names)} keys: {', '.join(names[:_SHOWN])}{more}")
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {name}: expected a tensor, found {shape(value)}")
    return {str(name): value for name, value in content.items()}


def leading(state: Mapping[str, Tensor], key: str, path: Path, expected: str) -> int:
    """The first dimension of a tensor, which the sizes of a network are read off.

    Raises
    ------
    CheckpointError: no such key, no such number of dimensions as `expected` has, or nothing in
    the first; names file, key, expected shape, found shape.
    """
    found = state.get(key)
    if found is None or found.ndim != expected.count(",") + 1 or found.shape[0] == 0:
        what = "nothing" if found is None else shape(found)
        raise CheckpointError(f"{path}: {key}: expected shape {expected}, found {what}")
    return found.shape[0]
