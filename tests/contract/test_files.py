"""Files that appear complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wstar.files import replacing


def test_writers_of_one_name_never_share_a_file_even_with_one_process_id(tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    with replacing(path) as first, replacing(path) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    # The inner block ended first, so the outer one has the last word.
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["codes.npz"]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["codes.npz"]
