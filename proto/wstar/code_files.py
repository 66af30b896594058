"""Codes on disk: one .npz file for codes of one space.

Arrays of the file: `codes` (faces, n, 512) float32 or float16, `names` (faces,), and the texts
`space` and `space_id`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wstar.codes import Code
from wstar.errors import InvalidInput
from wstar.files import write_file
from wstar.graphs import Space


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
    InvalidInput: another file, or arrays that do not fit together. OSError: it cannot be read.
    """
    allowed = "a file that `wstar embed` wrote"
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise InvalidInput(str(path), "no .npz file", allowed)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            space, space_id = Space(str(arrays["space"])), str(arrays["space_id"])
            names = [str(name) for name in arrays["names"]]
            codes = [Code(values, space, space_id) for values in arrays["codes"]]
    except (ValueError, KeyError, zipfile.BadZipFile, InvalidInput) as error:
        raise InvalidInput(str(path), str(error), allowed) from error
    if len(names) != len(codes):
        raise InvalidInput(f"{path}: names", f"{len(names)} names", f"{len(codes)}")
    return names, codes
