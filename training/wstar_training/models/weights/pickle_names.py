"""The names that checkpoints need, and our own stand-ins for what they name.

A stand-in checks sizes before it makes anything: what it makes is never larger than the file.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wstar_training.models.weights.pickle_machine import Machine, Name, keys
from wstar_training.models.weights.torch_streams import (
    ZIP,
    archive_pickle,
    storage_id,
    stream_storage,
)

Table = Mapping[tuple[str, str], object]

_MAX_AXES = 8
# A file's bytes may pass through this many stand-ins, such as text to bytes to array.
_MAX_USES = 4
_DTYPE = re.compile(r"b1|[iu][1248]|f[248]")
_STORAGES: Table = {
    ("torch", "FloatStorage"): torch.float32,
    ("torch", "HalfStorage"): torch.float16,
    ("torch", "BFloat16Storage"): torch.bfloat16,
    ("torch", "DoubleStorage"): torch.float64,
    ("torch", "LongStorage"): torch.int64,
    ("torch", "IntStorage"): torch.int32,
    ("torch", "ShortStorage"): torch.int16,
    ("torch", "CharStorage"): torch.int8,
    ("torch", "ByteStorage"): torch.uint8,
    ("torch", "BoolStorage"): torch.bool,
    ("torch.storage", "UntypedStorage"): torch.uint8,
}
_DTYPES: Table = {("torch", str(kind).removeprefix("torch.")): kind for kind in _STORAGES.values()}


@dataclass(frozen=True)
class Persistent:
    """An object whose class travels as source code inside the file; the code is never read."""

    class_name: str
    state: dict[str, Any]


@dataclass(frozen=True)
class TfNetwork:
    """A network of the TensorFlow files; `state` is what the file stores of it."""

    state: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Storage:
    """The elements (N) that tensors of a file are views of."""

    elements: Tensor


class _Bag:
    """An object of which only the stored attributes matter."""

    def __init__(self, kind: type[TfNetwork] | None = None) -> None:
        self._kind = kind
        self._state: object = None

    def set_state(self, state: object) -> None:
        self._state = state

    def finished(self) -> object:
        if not isinstance(self._state, dict):
            raise ValueError("an object without attributes")
        return self._kind(self._state) if self._kind else self._state


class _Dtype:
    """A NumPy dtype: a number of one to eight bytes, and its byte order.

    Another kind is refused where it is used: what its array would hold says more about the file.
    """

    def __init__(self, kind: object, *_: object) -> None:
        self._dtype: np.dtype[Any] | None = None
        if isinstance(kind, str) and _DTYPE.fullmatch(kind):
            self._dtype = np.dtype(kind)

    def set_state(self, state: object) -> None:
        match state:
            case (int(), "<" | ">" | "=" | "|" as order, None, None, None, *_) if self._dtype:
                self._dtype = self._dtype.newbyteorder(order)
            case _:
                self._dtype = None

    def finished(self) -> np.dtype[Any]:
        if self._dtype is None:
            raise ValueError("an array of what are no numbers")
        return self._dtype


class _Array:
    """A NumPy array, of which the file first says that there is one and then what is in it."""

    def __init__(self, names: StandIns) -> None:
        self._names = names
        self._array: np.ndarray[Any, Any] | None = None

    def set_state(self, state: object) -> None:
        match state:
            case (int(), shape, kind, int(fortran), raw):
                self._array = self._names.array(raw, kind, shape, "F" if fortran else "C")
            case _:
                raise ValueError("an array without numbers")

    def finished(self) -> object:
        if self._array is None:
            raise ValueError("an array without numbers")
        return self._array


class StandIns:
    """The stand-ins for one file: each takes what the file gives and raises where it cannot be.

    Parameters
    ----------
    size_bytes: of the file; what is made of it is bounded by that.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._left_bytes = _MAX_USES * size_bytes
        self._ndarray = Name(self._no_array)

    def torch_names(self) -> Table:
        """What files of torch.save need; torch's own safe loader knows all of it too."""
        return {
            **_STORAGES,
            **_DTYPES,
            ("collections", "OrderedDict"): Name(self._mapping),
            ("collections", "Counter"): Name(self._mapping),
            ("torch", "Size"): Name(self._axes),
            ("torch", "device"): Name(self._device),
            ("torch._utils", "_rebuild_tensor"): Name(self._tensor),
            ("torch._utils", "_rebuild_tensor_v2"): Name(self._tensor),
            ("torch._utils", "_rebuild_parameter"): Name(self._parameter),
            ("_codecs", "encode"): Name(self._encoded),
            ("builtins", "set"): Name(self._members),
            ("argparse", "Namespace"): Name(self._attributes),
        }

    def pickle_names(self) -> Table:
        """What plain pickles of networks need besides."""
        tensors = self.torch_names()
        numpy = {
            (f"numpy.{core}.{part}", name): Name(build)
            for core in ("core", "_core")
            for part, name, build in (
                ("multiarray", "_reconstruct", self._empty_array),
                ("multiarray", "scalar", self._number),
                ("numeric", "_frombuffer", self.array),
            )
        }
        return {
            **tensors,
            **numpy,
            ("numpy", "ndarray"): self._ndarray,
            ("numpy", "dtype"): Name(_Dtype),
            ("builtins", "frozenset"): Name(self._frozen_members),
            ("builtins", "bytes"): Name(self._no_bytes),
            ("torch.storage", "_load_from_bytes"): Name(self._storage),
            ("torch_utils.persistence", "_reconstruct_persistent_obj"): Name(self._persistent),
            ("dnnlib.tflib.network", "Network"): Name(self._network),
            ("dnnlib.util", "EasyDict"): Name(self._mapping),
        }

    def _mapping(self, items: Any = ()) -> object:  # noqa: ANN401
        self._spend(len(items))
        pairs = items.items() if isinstance(items, dict) else items
        keys([key for key, _ in pairs])
        return dict(pairs)

    def _members(self, items: Any = ()) -> object:  # noqa: ANN401
        self._spend(len(items))
        return set(keys(items))

    def _frozen_members(self, items: Any = ()) -> object:  # noqa: ANN401
        self._spend(len(items))
        return frozenset(keys(items))

    def _axes(self, sizes: Any) -> object:  # noqa: ANN401
        return _axes(sizes)

    def _device(self, kind: Any, *_: object) -> object:  # noqa: ANN401
        if not isinstance(kind, str):
            raise ValueError("a device without a name")
        return kind

    def _encoded(self, text: Any, encoding: Any = "") -> object:  # noqa: ANN401
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise ValueError("an encoding other than latin1")
        self._spend(len(text))
        return text.encode("latin-1")

    def _no_bytes(self) -> object:
        return b""

    def _storage(self, raw: Any) -> object:  # noqa: ANN401
        """The stream of torch.save inside a pickle: one storage."""
        self._spend(len(raw))
        if raw.startswith(ZIP):
            pickled = archive_pickle(io.BytesIO(raw))
            Machine(pickled, self.torch_names(), self.storage_of_id).load()
            raise ValueError("an archive where a storage belongs")
        return _Storage(stream_storage(raw, _STORAGES))

    def storage_of_id(self, identity: object) -> object:
        """A storage beside the pickle, whose elements are not looked at."""
        kind, _, count = storage_id(identity)
        if count * kind.itemsize > self._size_bytes:
            raise ValueError(f"a storage of {count} elements in a file of {self._size_bytes} bytes")
        return _Storage(torch.empty(count, dtype=kind, device="meta"))

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> object:  # noqa: ANN401
        size, stride = _axes(size), _axes(stride)
        if type(storage) is not _Storage or type(offset) is not int or len(size) != len(stride):
            raise ValueError("a tensor without storage, offset, size and stride")
        count = math.prod(size)
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        held = storage.elements.numel()
        if offset < 0 or (count and last >= held):
            raise ValueError(f"a tensor of shape {size} outside its storage of {held} elements")
        # Views may repeat elements, but not so as to announce more than a file can hold.
        if count * storage.elements.itemsize > self._size_bytes:
            raise ValueError(f"a tensor of shape {size} in a file of {self._size_bytes} bytes")
        if not count:
            return storage.elements.new_empty(size)
        return storage.elements.as_strided(size, stride, offset)

    def _parameter(self, tensor: Any, *_: object) -> object:  # noqa: ANN401
        if not isinstance(tensor, Tensor):
            raise ValueError("a parameter that is no tensor")
        return tensor

    def _empty_array(self, kind: object, *_: object) -> object:
        if kind is not self._ndarray:
            raise ValueError("an array of another kind")
        return _Array(self)

    def array(self, raw: Any, kind: Any, shape: Any, order: Any = "C") -> np.ndarray[Any, Any]:  # noqa: ANN401
        """An array of the bytes of its numbers, in this machine's byte order."""
        # Files of Python 2 have text where bytes are meant.
        data = raw.encode("latin-1") if isinstance(raw, str) else raw
        axes = _axes(shape)
        if type(kind) is not _Dtype or not isinstance(data, bytes) or order not in ("C", "F"):
            raise ValueError("an array without numbers")
        dtype = kind.finished()
        if math.prod(axes) * dtype.itemsize != len(data):
            raise ValueError(f"an array of shape {axes} and {len(data)} bytes")
        self._spend(len(data))
        found = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
        return found.reshape(axes, order=order)

    def _number(self, kind: Any, raw: Any) -> object:  # noqa: ANN401
        return self.array(raw, kind, ()).item()

    def _persistent(self, meta: Any) -> object:  # noqa: ANN401
        match meta:
            case {"type": "class", "class_name": str(name), "state": dict() as state}:
                return Persistent(name, state)
        raise ValueError("a persistent object without class and state")

    def _network(self) -> object:
        return _Bag(TfNetwork)

    def _attributes(self) -> object:
        return _Bag()

    def _no_array(self, *_: object) -> object:
        raise ValueError("an array made in another way")

    def _spend(self, size_bytes: int) -> None:
        self._left_bytes -= size_bytes
        if self._left_bytes < 0:
            raise ValueError("the same bytes used over and over")


def _axes(sizes: Any) -> tuple[int, ...]:  # noqa: ANN401
    if type(sizes) not in (tuple, list) or len(sizes) > _MAX_AXES:
        raise ValueError("a shape without sizes")
    if any(type(size) is not int or size < 0 for size in sizes):
        raise ValueError("a shape without sizes")
    return tuple(sizes)
