"""Codes on disk: one .npz file for codes of one space.

Arrays of the file: `codes` (faces, n, 512) float32 or float16, `names` (faces,), and the texts
`space` and `space_id`.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wstar.codes import Code
from wstar.errors import InvalidInput
from wstar.files import write_file
from wstar.graphs import Space

# Most that a compressed array may grow to; a stored one is no larger than its file.
MAX_INFLATED_BYTES = 2**30


def write_codes(path: Path, names: Sequence[str], codes: Sequence[Code]) -> None:
    """Write codes of one space and the names of their faces; an old file is replaced."""
    data = io.BytesIO()
    np.savez(
        data,
        codes=np.array([code.values for code in codes]),
        names=np.array(names, np.str_),
        space=np.array(codes[0].space.value),
        space_id=np.array(codes[0].space_id),
    )
    write_file(path, data.getvalue())


def read_codes(path: Path) -> tuple[list[str], list[Code]]:
    """Read names and codes that `write_codes` wrote.

    Raises
    ------
    InvalidInput: another or a damaged file, or arrays that do not fit together; it names the file.
    OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        try:
            # numpy warns of headers that only old versions wrote: they are refused.
            with zipfile.ZipFile(file) as archive, warnings.catch_warnings(action="error"):
                return _codes(archive, max(MAX_INFLATED_BYTES, path.stat().st_size))
        # zipfile, zlib and numpy raise almost anything on damaged bytes.
        except Exception as error:
            found = str(error) or type(error).__name__
            raise InvalidInput(str(path), found, "a file that `wstar embed` wrote") from error


def _codes(archive: zipfile.ZipFile, max_bytes: int) -> tuple[list[str], list[Code]]:
    space, space_id, names, values = (
        _array(archive, f"{name}.npy", max_bytes)
        for name in ("space", "space_id", "names", "codes")
    )
    if values.ndim != 3 or names.shape != values.shape[:1]:
        shapes = f"names of shape {names.shape}, codes of shape {values.shape}"
        raise ValueError(f"{shapes} instead of (faces,) and (faces, n, 512)")
    found = [Code(code, Space(str(space.item())), str(space_id.item())) for code in values]
    return [str(name) for name in names], found


def _array(archive: zipfile.ZipFile, name: str, max_bytes: int) -> NDArray[Any]:
    """Read one array; what its header claims is never allocated, only its bytes are viewed."""
    member = archive.getinfo(name)
    if member.file_size > max_bytes:
        raise ValueError(f"{name} of {member.file_size} bytes, more than {max_bytes}")
    data = archive.read(member)
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} of an unknown version")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    # frombuffer refuses Python objects, so nothing is unpickled.
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran_order else "C")
