"""Landmarks of the faces in a folder, from one JSON file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wstar.errors import CheckpointError, InvalidInput

_ALLOWED = "5 or 68 points [x, y] in px"
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Landmarks:
    """Points by file name, and the SHA-256 of the file that they come from.

    points: float64 (5 or 68, 2) as (x, y) in px of the upright picture; None where the file says
    anything else.
    """

    points: dict[str, NDArray[np.float64] | None]
    sha256: str

    def of(self, name: str) -> NDArray[np.float64]:
        """The points of a picture.

        Raises
        ------
        InvalidInput: it has none, or they are no list of points.
        """
        if name not in self.points:
            raise InvalidInput("landmarks", None, f"{_ALLOWED} for every picture")
        points = self.points[name]
        if points is None:
            raise InvalidInput("landmarks", "something else", _ALLOWED)
        return points


def read_landmarks(path: Path) -> Landmarks:
    """Read `{"folder/name.jpg": [[x, y], ...], ...}`, 5 or 68 points each.

    One face at a time becomes an array: as Python lists 68 points of 70,000 faces take 650 MB.

    Raises
    ------
    CheckpointError: no such file, or no JSON object; what a name stands for is not judged here.
    """
    try:
        data = path.read_bytes()
        points = dict(_members(data.decode("utf-8-sig")))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f'{path}: expected {{"folder/name.jpg": [[x, y], ...], ...}}: {error}'
        ) from error
    return Landmarks(points, hashlib.sha256(data).hexdigest())


def _members(text: str) -> Iterator[tuple[str, NDArray[np.float64] | None]]:
    """The members of the one JSON object in `text`; ValueError if it is anything else."""
    decoder = json.JSONDecoder()
    at = _after("{", text, _skip(text, 0))
    while not text.startswith("}", at):
        name, at = decoder.raw_decode(text, at)
        if not isinstance(name, str):
            raise ValueError(f"a file name was expected before character {at}")
        value, at = decoder.raw_decode(text, _after(":", text, _skip(text, at)))
        yield name, _points(value)
        at = _skip(text, at)
        if not text.startswith("}", at):
            at = _after(",", text, at)
    if _skip(text, at + 1) != len(text):
        raise ValueError(f"nothing was expected after character {at}")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _after(sign: str, text: str, at: int) -> int:
    if not text.startswith(sign, at):
        raise ValueError(f"{sign!r} was expected at character {at}")
    return _skip(text, at + 1)


def _points(value: object) -> NDArray[np.float64] | None:
    try:
        points = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None
    return points if points.ndim == 2 else None
