"""The pictures of a folder: found in a fixed order, read one by one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wstar.errors import InvalidInput, LimitExceeded, WstarError
from wstar.images import RGB, decode, encoder_input
from wstar_training.encoding.landmarks import Landmarks

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64 * 10**6

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
_NUMBER = re.compile(r"([0-9]+)")
_HEAD_BYTES = 12


class Picture(NamedTuple):
    """A picture file: path relative to its folder, with `/`, and length; -1 if it has none."""

    name: str
    size_bytes: int


class Unreadable(Exception):
    """A picture that cannot be encoded, and why."""


def find(folder: Path) -> list[Picture]:
    """List the pictures of a folder and of all folders in it, in natural order: 2 before 10.

    A file is a picture if its name ends in .jpg, .jpeg, .png or .webp in any case, or if it begins
    as one of these formats does. Names that begin with a dot are passed over, and so is a link to
    a folder that it lies in.

    Raises
    ------
    InvalidInput: no such folder, or one in it may not be read.
    """
    if not folder.is_dir():
        raise InvalidInput("pictures", str(folder), "an existing folder")
    found = [Picture(name, _size_bytes(folder / name)) for name in _names(folder, "", ())]
    return sorted(found, key=_natural)


def read(folder: Path, picture: Picture, side: int, landmarks: Landmarks | None) -> RGB:
    """Read a picture of `find` as the encoder's input, uint8 (S, S, 3) RGB.

    Parameters
    ----------
    side: S, px.
    landmarks: of the faces, if the pictures are to be aligned by them.

    Raises
    ------
    Unreadable: damaged, too large, too small, no landmarks or impossible ones.
    InvalidInput: the file is no longer the one that was listed.
    """
    path = folder / picture.name
    size_bytes = _size_bytes(path)
    if size_bytes != picture.size_bytes:
        allowed = f"{picture.size_bytes} bytes, as when the pictures were listed"
        raise InvalidInput(f"pictures: {picture.name}", size_bytes, allowed)
    try:
        if size_bytes > MAX_BYTES:
            raise LimitExceeded("image", size_bytes, MAX_BYTES, "bytes")
        rgb = decode(path.read_bytes(), max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)
        points = None if landmarks is None else landmarks.of(picture.name)
        return encoder_input(rgb, side, points)
    except OSError as error:
        # The whole message would tell where the folder lies.
        raise Unreadable(error.strerror or type(error).__name__) from error
    except WstarError as error:
        # In one line: arrays of landmarks are shown in several.
        raise Unreadable(" ".join(str(error).split())) from error


def _names(folder: Path, prefix: str, parents: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Names of pictures below a folder, relative to the first; `parents` are (device, inode)."""
    try:
        status = folder.stat()
        with os.scandir(folder) as scan:
            entries = [entry for entry in scan if not entry.name.startswith(".")]
    except OSError as error:
        raise InvalidInput("pictures", str(folder), f"a readable folder: {error}") from error
    inside = (*parents, (status.st_dev, status.st_ino))
    for entry in entries:
        if entry.is_dir():
            target = entry.stat()
            if (target.st_dev, target.st_ino) not in inside:
                yield from _names(folder / entry.name, f"{prefix}{entry.name}/", inside)
        elif _is_picture(entry):
            yield prefix + entry.name


def _is_picture(entry: os.DirEntry[str]) -> bool:
    """Judge a file by its name, or else by how it begins; pipes and sockets are none."""
    if entry.name.lower().endswith(_ENDINGS):
        # A link that leads nowhere is a picture that cannot be read.
        return entry.is_file() or not os.path.exists(entry)
    if not entry.is_file():
        return False
    try:
        with open(entry, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    jpeg_or_png = head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
    return jpeg_or_png or (head.startswith(b"RIFF") and head[8:] == b"WEBP")


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _natural(picture: Picture) -> tuple[list[list[str | int]], str]:
    """Sort key: folder by folder, figures by their value; text and numbers alternate."""
    parts = [_NUMBER.split(part) for part in picture.name.split("/")]
    return [[int(t) if i % 2 else t for i, t in enumerate(part)] for part in parts], picture.name
