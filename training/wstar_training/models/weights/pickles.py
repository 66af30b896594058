"""Pickles that others wrote, read without running anything that is in them.

NVIDIA stores its generators as pickles: objects of classes whose source travels in the file, and
before those networks of TensorFlow. What comes out here is plain data; of classes only names.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch

from wstar.errors import CheckpointError
from wstar_training.models.weights import torch_streams
from wstar_training.models.weights.pickle_machine import Machine, Pending, Refused
from wstar_training.models.weights.pickle_names import Persistent, StandIns, TfNetwork

__all__ = ["Persistent", "TfNetwork", "read", "screen"]

# NVIDIA's files nest 16 deep, with some 50 parts in a layer.
_MAX_DEPTH = 100
_MAX_PARTS = 1_000_000
_TOO_DEEP = f"parts within parts, more than {_MAX_DEPTH} deep"
_SHOWN_CHARACTERS = 200
_LEAVES = (
    type(None), bool, int, float, str, bytes, torch.dtype, np.dtype, np.ndarray, torch.Tensor,
)  # fmt: skip


def read(path: Path) -> Any:  # noqa: ANN401
    """What a pickle holds.

    A finite tree of dicts, lists, tuples, sets, numbers, strings, bytes, tensors on the CPU,
    NumPy arrays, `Persistent` and `TfNetwork`. Ordered and easy dicts come as dicts, parameters as
    tensors, NumPy's numbers as Python's.

    Raises
    ------
    CheckpointError: the file cannot be read, or wants a name that no checkpoint needs; the message
    says which name.
    """
    with _opened(path) as (file, names):
        found = Machine(file, names.pickle_names()).load()
        if file.read(1):
            raise ValueError("bytes after its end")
        return _Tree().copy(found).plain


def screen(path: Path) -> None:
    """Refuse a file of torch.save that wants more than tensors and plain values.

    Raises
    ------
    CheckpointError: as for `read`.
    """
    with _opened(path) as (file, names):
        if file.read(len(torch_streams.ZIP)) == torch_streams.ZIP:
            pickled = torch_streams.archive_pickle(file)
            found = Machine(pickled, names.torch_names(), names.storage_of_id).load()
        else:
            file.seek(0)
            found = torch_streams.stream_object(file, names.torch_names(), names.storage_of_id)
        _Tree().copy(found)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], StandIns]]:
    """Map a file and turn whatever happens while it is read into a refusal."""
    try:
        # Reads of a map end with it, however many bytes the file announces.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield cast(IO[bytes], data), StandIns(len(data))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except Refused as error:
        raise CheckpointError(
            f"{path}: refused: it wants {error.wanted[:_SHOWN_CHARACTERS]!r}, which no checkpoint "
            "needs; nothing was run"
        ) from error
    except Exception as error:  # Damaged pickles raise nearly anything.
        reason = repr(str(error) or type(error).__name__)[1:-1]
        raise CheckpointError(
            f"{path}: truncated, or neither a torch file nor a pickle: {reason[:_SHOWN_CHARACTERS]}"
        ) from error


@dataclass(frozen=True)
class _Copy:
    """A part, its copy, and how many parts lie in it (shared ones each time) and how deep."""

    part: object
    plain: Any
    parts: int = 1
    depth: int = 0


class _Tree:
    """Copies what a machine made into plain data, each part once."""

    def __init__(self) -> None:
        # Copies hold the parts too: another one could get the number of a part that is gone.
        self._done: dict[int, _Copy] = {}
        self._open: set[int] = set()

    def copy(self, part: Any, depth: int = 0) -> _Copy:  # noqa: ANN401
        """The copy of a part so deep in the tree; ValueError where there is no finite one."""
        if isinstance(part, _LEAVES):
            return _Copy(part, part)
        if id(part) in self._done:
            return self._done[id(part)]
        if id(part) in self._open or depth > _MAX_DEPTH:
            raise ValueError(_TOO_DEEP)
        self._open.add(id(part))
        parts, below = 1, 0

        def inner(value: object) -> Any:  # noqa: ANN401
            nonlocal parts, below
            copy = self.copy(value, depth + 1)
            parts, below = parts + copy.parts, max(below, copy.depth + 1)
            if parts > _MAX_PARTS:
                raise ValueError(f"more than {_MAX_PARTS} parts")
            if below > _MAX_DEPTH:
                raise ValueError(_TOO_DEEP)
            return copy.plain

        copy = _Copy(part, _rebuilt(part, inner), parts, below)
        self._open.remove(id(part))
        self._done[id(part)] = copy
        return copy


def _rebuilt(part: Any, inner: Callable[[object], Any]) -> Any:  # noqa: ANN401
    match part:
        case dict():
            return {key: inner(value) for key, value in part.items()}
        case list() | tuple() | set() | frozenset():
            return type(part)(inner(value) for value in part)
        case Persistent(name, state):
            return Persistent(name, inner(state))
        case TfNetwork(state):
            return TfNetwork(inner(state))
        case Pending():
            return inner(part.finished())
    raise ValueError(f"a {type(part).__name__} that is no data")
