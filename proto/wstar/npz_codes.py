"""Codes in a .npz file: numpy alone reads it.

Arrays of the file: `codes` (faces, n, 512) float32 or float16, `names` (faces,), and the texts
`space` and `space_id`.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from wstar.code_blocks import CodeBlock, faces_per_block
from wstar.codes import CodeArray
from wstar.graphs import W_DIM, Space

# Most that one of the small arrays, names above all, may grow to.
MAX_TEXT_BYTES = 2**28


def write_npz(
    path: Path, names: Sequence[str], values: CodeArray, space: Space, space_id: str
) -> None:
    """Write codes (faces, n, 512); a memory map is copied piece by piece."""
    with path.open("wb") as file:
        np.savez(
            file,
            codes=values,
            names=np.array(names, np.str_),
            space=np.array(space.value),
            space_id=np.array(space_id),
        )


def npz_blocks(file: BinaryIO) -> Iterator[CodeBlock]:
    """Read codes block by block; what a header claims is never allocated, only what is there.

    Raises almost anything on damaged bytes: zipfile, zlib and numpy do.
    """
    with zipfile.ZipFile(file) as archive:
        names, space, space_id = (_text(archive, name) for name in ("names", "space", "space_id"))
        kind = Space(str(space.item()))
        with archive.open("codes.npy") as member:
            shape, _, dtype = _header(member, order=False)
            if len(shape) != 3 or shape[2] != W_DIM or names.shape != shape[:1]:
                arrays = f"names of shape {names.shape}, codes of shape {shape}"
                raise ValueError(f"{arrays} instead of (faces,) and (faces, n, {W_DIM})")
            step = faces_per_block(shape[1], dtype)
            for start in range(0, shape[0], step):
                part = [str(name) for name in names[start : start + step]]
                # frombuffer refuses Python objects, so nothing is unpickled.
                data = member.read(len(part) * shape[1] * W_DIM * dtype.itemsize)
                values = np.frombuffer(data, dtype).reshape(len(part), *shape[1:])
                yield CodeBlock(part, values, kind, str(space_id.item()))
            # Also reads to the end, where zipfile compares the check sum.
            if member.read(1):
                raise ValueError("more bytes than codes")


def _text(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one array of texts; what its header claims is never allocated."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > MAX_TEXT_BYTES:
        raise ValueError(f"{name} of {member.file_size} bytes, more than {MAX_TEXT_BYTES}")
    stream = io.BytesIO(archive.read(member))
    shape, fortran_order, dtype = _header(stream)
    if dtype.kind != "U":
        raise ValueError(f"{name} of type {dtype}")
    found = np.frombuffer(stream.read(), dtype)
    return found.reshape(shape, order="F" if fortran_order else "C")


def _header(
    stream: IO[bytes], *, order: bool = True
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and type of an array; `order` tells whether columns may come first."""
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of an unknown version")
    # numpy warns of headers that only old versions wrote: they are refused.
    with warnings.catch_warnings(action="error"):
        found: tuple[tuple[int, ...], bool, np.dtype[Any]] = np.lib.format.read_array_header_1_0(
            stream
        )
    if found[1] and not order:
        raise ValueError("codes whose columns come first")
    return found
