"""Codes between arrays and the wire: shared by client and service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wstar.errors import InvalidInput
from wstar.graphs import W_DIM, Space
from wstar.v1 import wstar_pb2 as pb

CodeArray = NDArray[np.float32] | NDArray[np.float16]

_WIRE_DTYPES: dict[int, np.dtype[Any]] = {
    pb.DTYPE_F32: np.dtype(np.float32),
    pb.DTYPE_F16: np.dtype(np.float16),
}


def space_name(space: Space) -> str:
    """Return the name of a space's number on the wire; message constructors accept it."""
    return f"SPACE_{space.value}"


def space_of_number(number: int, field: str) -> Space:
    """Return the space of a number on the wire; `field` names it in errors.

    Raises
    ------
    InvalidInput: the number is none of this contract (unspecified included).
    """
    for space in Space:
        if pb.Space.Value(space_name(space)) == number:
            return space
    names = ", ".join(map(space_name, Space))
    raise InvalidInput(field, number, f"one of {names}")


@dataclass(frozen=True, eq=False)
class Code:
    """A point of a latent space.

    values: (n, 512) float32, or float16 for storage, distance and classification.
    space: the latent space the numbers live in.
    space_id: the exact coordinate system, as every reply names it.

    Raises
    ------
    InvalidInput: another shape or number type, or a value that is not finite.
    """

    values: CodeArray
    space: Space
    space_id: str

    def __post_init__(self) -> None:
        """Refuse what the service would refuse."""
        if self.values.dtype not in _WIRE_DTYPES.values():
            raise InvalidInput("values", str(self.values.dtype), "float32 or float16")
        if self.values.ndim != 2 or self.values.shape[1] != W_DIM:
            raise InvalidInput("values", f"shape {self.values.shape}", f"shape (n, {W_DIM})")
        if not np.isfinite(self.values).all():
            raise InvalidInput("values", "nan or infinity", "finite numbers")

    def to_message(self) -> pb.Code:
        """Pack the code as row-major little-endian bytes of its own number type."""
        half = self.values.dtype == np.float16
        return pb.Code(
            space=space_name(self.space),
            space_id=self.space_id,
            dtype=pb.DTYPE_F16 if half else pb.DTYPE_F32,
            data=self.values.astype("<f2" if half else "<f4", copy=False).tobytes(),
        )

    @classmethod
    def from_message(cls, message: pb.Code, field: str, n: int | None = None) -> Code:
        """Unpack a code; `field` names it in errors, `n` is the number of rows it must have.

        Raises
        ------
        InvalidInput: an unknown enum number, a wrong number of bytes, or a number that is not
            finite; the path names the part, such as `faces[3].code.data`.
        """
        space = space_of_number(message.space, f"{field}.space")
        dtype = _WIRE_DTYPES.get(message.dtype or pb.DTYPE_F32)
        if dtype is None:
            raise InvalidInput(f"{field}.dtype", message.dtype, "DTYPE_F32 or DTYPE_F16")
        row_bytes = W_DIM * dtype.itemsize
        expected = len(message.data) if n is None else n * row_bytes
        if not message.data or len(message.data) != expected or expected % row_bytes:
            allowed = f"rows of {row_bytes} bytes" if n is None else f"{expected} bytes"
            raise InvalidInput(f"{field}.data", f"{len(message.data)} bytes", allowed)
        values: CodeArray = (
            np.frombuffer(message.data, dtype.newbyteorder("<")).reshape(-1, W_DIM).astype(dtype)
        )
        if not np.isfinite(values).all():
            raise InvalidInput(f"{field}.data", "nan or infinity", "finite numbers")
        return cls(values, space, message.space_id)
