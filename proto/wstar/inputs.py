"""Faces named on a command line: where each came from, and what to call it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from wstar.code_files import read_codes
from wstar.faces import Face


@dataclass(frozen=True)
class Input:
    """One face of a command line.

    name: the picture's path, as given or as stored with a code.
    file: the file it was read from.
    entry: index of a code in its .npz file, None for a picture.
    """

    face: Face
    name: str
    file: str
    entry: int | None = None

    def __str__(self) -> str:
        """Say where to look: the file, and which of its codes."""
        return self.file if self.entry is None else f"{self.file}: codes[{self.entry}]"


def read_inputs(paths: Sequence[str]) -> list[Input]:
    """Read all faces: a picture is one, a .npz file as many as it holds codes.

    Raises
    ------
    InvalidInput: a .npz file that `embed` did not write. OSError: a file cannot be read.
    """
    found: list[Input] = []
    for path in paths:
        if path.endswith(".npz"):
            names, codes = read_codes(Path(path))
            found += [
                Input(code, name, path, entry)
                for entry, (name, code) in enumerate(zip(names, codes, strict=True))
            ]
        else:
            # Read now: an unreadable file is found before anything is sent.
            found.append(Input(Path(path).read_bytes(), path, path))
    return found


def labels(inputs: Sequence[Input]) -> list[str]:
    """Name faces for a table: as short as tells them apart, with the .npz file if needed."""
    short = [PurePath(item.name).name for item in inputs]
    full = [item.name for item in inputs]
    filed = [
        name if item.entry is None else f"{name} ({PurePath(item.file).name})"
        for name, item in zip(short, inputs, strict=True)
    ]
    exact = [item.name if item.entry is None else f"{item.name} ({item.file})" for item in inputs]
    # A face given twice keeps one name.
    different = len(set(exact))
    choices = (names for names in (short, full, filed) if len(set(names)) == different)
    return next(choices, exact)
