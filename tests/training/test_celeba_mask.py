"""Poses and masks of CelebAMask-HQ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.data.celeba_mask import PARTS, label_map, mask_path, read_poses


def draw(folder: Path, number: int, part: str, rows: slice, side: int = 16) -> None:
    """Write a mask of `part` that covers some rows, as published: 0 and 255 in three channels."""
    mask = np.zeros((side, side, 3), np.uint8)
    mask[rows] = 255
    path = mask_path(folder, number, part)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(mask).save(path)


def test_masks_lie_in_folders_of_two_thousand() -> None:
    folder = Path("masks")
    assert mask_path(folder, 1999, "skin") == folder / "0" / "01999_skin.png"
    assert mask_path(folder, 29999, "l_lip") == folder / "14" / "29999_l_lip.png"
    with pytest.raises(InvalidInput, match="part"):
        mask_path(folder, 0, "beard")
    with pytest.raises(InvalidInput, match="number"):
        mask_path(folder, -1, "skin")


def test_later_parts_are_painted_over_earlier_ones(tmp_path: Path) -> None:
    draw(tmp_path, 2001, "hair", slice(0, 6))
    draw(tmp_path, 2001, "skin", slice(3, 14))
    draw(tmp_path, 2001, "nose", slice(8, 10))
    found = label_map(tmp_path, 2001)
    assert found.dtype == np.uint8
    skin, nose, hair = (PARTS.index(part) + 1 for part in ("skin", "nose", "hair"))
    column = [hair] * 6 + [skin] * 2 + [nose] * 2 + [skin] * 4 + [0] * 2
    np.testing.assert_array_equal(found, np.repeat(np.array(column)[:, None], 16, axis=1))


def test_masks_that_cannot_be_merged_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="00000_skin.png: no such file"):
        label_map(tmp_path, 0)
    draw(tmp_path, 0, "skin", slice(4))
    draw(tmp_path, 0, "hat", slice(4), side=32)
    with pytest.raises(CheckpointError, match=r"hat.png: expected shape \(16, 16\).*\(32, 32\)"):
        label_map(tmp_path, 0)
    mask_path(tmp_path, 0, "hat").write_bytes(b"no picture")
    with pytest.raises(CheckpointError, match="hat.png: image"):
        label_map(tmp_path, 0)


def test_poses_are_yaw_pitch_and_roll(tmp_path: Path) -> None:
    path = tmp_path / "pose.txt"
    path.write_text("2\nYaw Pitch Raw\n0.jpg -15.7 3.5 -1.02\n7.jpg 0 1e1 2\n")
    found = read_poses(path)
    assert found.names == ("0.jpg", "7.jpg")
    np.testing.assert_array_equal(found.degrees, [[-15.7, 3.5, -1.02], [0, 10, 2]])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1\nPitch Yaw Roll\n0.jpg 1 2 3\n", 2),
        ("1\nYaw Pitch Roll\n0.jpg 1 2\n", 3),
        ("1\nYaw Pitch Roll\n0.jpg 1 2 x\n", 3),
        ("1\nYaw Pitch Roll\n0.jpg 1 2 nan\n", 3),
        ("2\nYaw Pitch Roll\n0.jpg 1 2 3\n", 1),
        ("2\nYaw Pitch Roll\n0.jpg 1 2 3\n0.jpg 1 2 3\n", 4),
    ],
)
def test_faulty_poses_are_refused(text: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / "pose.txt"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=f"line {line}: found .*allowed"):
        read_poses(path)
