"""Faces named on a command line: where each came from, and what to call it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePath

from wstar.code_files import holds_codes, read_codes
from wstar.errors import InvalidInput
from wstar.faces import Face
from wstar.terminal import say

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Input:
    """One face of a command line.

    face: a code, or a picture as path or bytes.
    name: the picture's path, as given or as stored with a code.
    file: the file it was read from.
    entry: index of a code in its file, None for a picture.
    """

    face: Face
    name: str
    file: str
    entry: int | None = None

    def __str__(self) -> str:
        """Say where to look: the file, and which of its codes."""
        return self.file if self.entry is None else f"{self.file}: codes[{self.entry}]"


def find_inputs(paths: Sequence[str]) -> list[Input]:
    """List all faces without opening pictures: a folder is all pictures below it, by name.

    How many a folder has is said on stderr.

    Raises
    ------
    InvalidInput: a folder without pictures, or a file of codes that `embed` did not write.
    OSError: a file is missing or cannot be read.
    """
    found: list[Input] = []
    for path in paths:
        if holds_codes(path):
            names, codes = read_codes(Path(path))
            found += [
                Input(code, name, path, entry)
                for entry, (name, code) in enumerate(zip(names, codes, strict=True))
            ]
        elif Path(path).is_dir():
            pictures = _pictures(Path(path))
            say(f"{path}: {len(pictures)} pictures")
            found += [Input(picture, _text(picture), str(picture)) for picture in pictures]
        else:
            # A name mistyped is found before anything is sent.
            Path(path).stat()
            found.append(Input(Path(path), _text(path), path))
    return found


def parts(given: Sequence[Input], count: int) -> list[list[Input]]:
    """Cut faces, sorted by name, into so many equal parts; with fewer faces some are empty.

    Whatever order the names were given in, all who ask with the same faces cut the same list.
    """
    ordered = sorted(given, key=lambda item: (item.name, item.file, item.entry or 0))
    ends = [number * len(given) // count for number in range(count + 1)]
    return [ordered[start:end] for start, end in pairwise(ends)]


def read_inputs(paths: Sequence[str]) -> list[Input]:
    """List all faces as `find_inputs` does, with their pictures read."""
    return [
        replace(item, face=item.face.read_bytes()) if isinstance(item.face, Path) else item
        for item in find_inputs(paths)
    ]


def labels(inputs: Sequence[Input]) -> list[str]:
    """Name faces for a table: as short as tells them apart, with their file of codes if needed."""
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


def _pictures(folder: Path) -> list[Path]:
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_ENDINGS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    if not found:
        raise InvalidInput(str(folder), "no pictures", f"files ending in {_or(PICTURE_ENDINGS)}")
    return sorted(found)


def _or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _text(path: str | Path) -> str:
    """Write a file's name as text: bytes that are not UTF-8 in hexadecimal."""
    return str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")
