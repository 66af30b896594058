"""What `wstar-train codes` finds in a folder and in a landmarks file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.encoding.landmarks import read_landmarks
from wstar_training.encoding.pictures import Picture, Unreadable, find, read

FIVE = [[10.0, 12.0], [22.0, 12.0], [16.0, 18.0], [11.0, 24.0], [21.0, 24.0]]


def test_pictures_are_found_in_natural_order_by_name_or_content(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    names = ["2.JPG", "10.jpeg", "a/1.webp", "a2/x9.png", "a2/x10.png", "a10/1.png", "b"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\xff\xd8\xff")
    for name in ("notes.txt", "empty", ".hidden.png", ".cache/1.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "c").symlink_to(folder / "a10")
    os.mkfifo(folder / "pipe.png")
    assert find(folder) == [Picture(name, 3) for name in [*names, "c/1.png"]]


@pytest.mark.parametrize("name", ["none", "file"])
def test_only_a_folder_has_pictures(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInput, match="an existing folder"):
        find(tmp_path / name)


def test_huge_file_is_not_even_opened(tmp_path: Path) -> None:
    with (tmp_path / "1.png").open("wb") as file:
        file.truncate(2**33)  # Sparse: takes no space.
    (picture,) = find(tmp_path)
    with pytest.raises(Unreadable, match="allowed: at most 67108864 bytes"):
        read(tmp_path, picture, 32, None)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1', '{"a" 1}', "{1: 2}", '{"a": 1} x', "\xff"])
def test_landmarks_of_another_kind_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "landmarks.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"landmarks\.json: expected"):
        read_landmarks(file)


def test_landmarks_are_read_as_json_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "landmarks.json"
    wanted = {"a/é.png": FIVE, "b": FIVE[::-1]}
    for indent in (None, 2):
        file.write_text(json.dumps(wanted, indent=indent))
        read = read_landmarks(file)
        assert {name: read.of(name).tolist() for name in wanted} == wanted
    file.write_text(" {}\n")
    with pytest.raises(InvalidInput, match="every picture"):
        read_landmarks(file).of("b")
