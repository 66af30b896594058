"""The encoder's input: an aligned crop stays itself, a face with landmarks becomes one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wstar.errors import InvalidInput
from wstar.images import encoder_input

RGB = NDArray[np.uint8]


def smooth(height: int = 48, width: int = 64) -> RGB:
    """A smooth picture, different in every corner and channel: survives lossy formats."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    picture = np.stack([220 * x + 20, 200 * y + 30, 120 * (x + y) / 2 + 60], axis=-1)
    return np.asarray(np.rint(picture), np.uint8)


def difference(a: RGB, b: RGB) -> float:
    """Largest difference of two pictures, in levels."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).max())


def test_aligned_picture_of_the_right_size_is_untouched() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(encoder_input(picture, 64), picture)
    wide = np.pad(picture, ((0, 0), (10, 10), (0, 0)))
    np.testing.assert_array_equal(encoder_input(wide, 64), picture)
    np.testing.assert_array_equal(
        encoder_input(wide.transpose(1, 0, 2), 64).transpose(1, 0, 2), picture
    )


@pytest.mark.parametrize("side", [32, 100, 256])
def test_resizing_keeps_the_picture(side: int) -> None:
    expected = smooth(side, side)
    assert difference(encoder_input(smooth(64, 64), side), expected) <= 6


def test_shrinking_is_antialiased() -> None:
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = encoder_input(np.repeat(board[:, :, None], 3, axis=2), 32)
    assert difference(found, np.full_like(found, 128)) <= 2


def face(side: int) -> tuple[RGB, NDArray[np.float64]]:
    """A smooth aligned crop, and five landmarks for which it is exactly the FFHQ crop."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    waves = [np.sin(7 * x + 3 * y), np.cos(5 * y - 4 * x), np.sin(9 * x * y + 1)]
    picture = np.rint(127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
    # Eyes a quarter side apart; their line 0.1 of the eye-mouth distance above the middle.
    eye, mouth = 0.125, 0.25
    above = 0.5 - 0.1 * mouth
    points = [
        (0.5 - eye, above),
        (0.5 + eye, above),
        (0.5, 0.6),
        (0.42, above + mouth),
        (0.58, above + mouth),
    ]
    return picture, np.asarray(points) * side - 0.5


def test_upright_landmarks_cut_the_crop_itself() -> None:
    picture, landmarks = face(128)
    assert difference(encoder_input(picture, 128, landmarks), picture) <= 2


def test_a_long_face_is_cut_by_its_height() -> None:
    picture, _ = face(128)
    # Eyes closer together, mouth lower: 1.8 eye-mouth distances are half the side now.
    below = 0.5 / 1.8
    above = 0.5 - 0.1 * below
    long = [(0.4, above), (0.6, above), (0.5, 0.6), (0.42, above + below), (0.58, above + below)]
    landmarks = np.asarray(long) * 128 - 0.5
    assert difference(encoder_input(picture, 128, landmarks), picture) <= 2


@pytest.mark.parametrize("scale", [0.8, 1.5, 6.0])
@pytest.mark.parametrize("degrees", [0, 20, -75, 180])
def test_moved_turned_and_scaled_face_comes_back_aligned(scale: float, degrees: float) -> None:
    picture, landmarks = face(128)
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    size = int(128 * scale * 1.6)
    shift = np.array([size * 0.5, size * 0.52]) - turn @ [64, 64]
    back = np.linalg.inv(turn)
    matrix = np.column_stack([back, -back @ shift]).ravel().tolist()
    large = Image.fromarray(picture).transform(
        (size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    moved = (landmarks + 0.5) @ turn.T + shift - 0.5
    found = encoder_input(np.asarray(large), 128, moved)
    # Two resamplings of a smooth picture; its outermost pixels blend with the background.
    assert difference(found[4:-4, 4:-4], picture[4:-4, 4:-4]) <= 5


def test_crop_beyond_the_picture_is_mirrored() -> None:
    picture, landmarks = face(128)
    cut = picture[40:]
    found = encoder_input(cut, 128, landmarks - [0, 40])
    assert difference(found[44:], picture[44:]) <= 4
    assert difference(found[1:36], picture[80 - 1 : 80 - 36 : -1]) <= 12


def test_face_at_the_corner_of_a_small_picture_is_cut_out() -> None:
    picture, landmarks = face(128)
    found = encoder_input(picture[:70, :70].copy(), 64, landmarks)
    assert found.shape == (64, 64, 3)


@pytest.mark.parametrize(
    "change",
    [
        lambda points: points[:4],
        lambda points: points * np.nan,
        lambda points: points * np.inf,
        lambda points: points * 0 + 50,
        lambda points: points[[1, 0, 2, 4, 3]],
        lambda points: points + 1000,
        lambda points: (points - 64) * 100 + 64,
        lambda points: (points - 64) * 0.05 + 64,
    ],
    ids=["four", "nan", "inf", "same", "swapped", "outside", "huge", "tiny"],
)
def test_landmarks_of_no_face_are_refused(change: Any) -> None:  # noqa: ANN401
    picture, landmarks = face(128)
    with np.errstate(invalid="ignore"), pytest.raises(InvalidInput) as refused:
        encoder_input(picture, 64, change(landmarks))
    assert refused.value.field == "landmarks"


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)],
)
def test_other_arrays_are_refused(wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidInput, match="rgb"):
        encoder_input(wrong, 64)


def test_side_must_be_positive() -> None:
    with pytest.raises(InvalidInput, match="side"):
        encoder_input(smooth(), 0)
