"""The encoder's input: an aligned crop stays itself, a face with landmarks becomes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wstar.alignment import gaussian_blur
from wstar.errors import InvalidInput
from wstar.images import encoder_input
from wstar.landmarks import five_points

RGB = NDArray[np.uint8]
RECORDED = Path(__file__).resolve().parents[1] / "data" / "ffhq_crops.npz"
SIDE = 128


def difference(a: RGB, b: RGB) -> float:
    """Largest difference of two pictures, in levels."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).max())


def scene(margin: int) -> tuple[RGB, NDArray[np.float64]]:
    """A smooth picture, and five landmarks whose crop is it without `margin` px on every side."""
    side = SIDE + 2 * margin
    y, x = (np.mgrid[0:side, 0:side] - margin + 0.5) / SIDE
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
    return picture, np.asarray(points) * SIDE + margin - 0.5


def test_aligned_picture_of_the_right_size_is_untouched() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(encoder_input(picture, 64), picture)
    wide = np.pad(picture, ((0, 0), (10, 10), (0, 0)))
    np.testing.assert_array_equal(encoder_input(wide, 64), picture)
    np.testing.assert_array_equal(
        encoder_input(wide.transpose(1, 0, 2), 64).transpose(1, 0, 2), picture
    )


@pytest.mark.parametrize("side", [32, 100, 256])
def test_an_aligned_picture_is_resized_as_pillow_does(side: int) -> None:
    """Bilinear with Pillow's antialiasing: what pSp and e4e encoders read."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    expected = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(encoder_input(picture, side), np.asarray(expected))


def test_shrinking_is_antialiased() -> None:
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = encoder_input(np.repeat(board[:, :, None], 3, axis=2), 32)
    assert difference(found, np.full_like(found, 128)) <= 2


def test_crops_are_those_of_the_published_script() -> None:
    """Recorded from pSp's script: faces inside, turned, beyond every edge, tiny and enormous."""
    recorded = np.load(RECORDED)
    picture = np.random.default_rng(0).integers(0, 256, (150, 200, 3)).astype(np.uint8)
    for points, crop in zip(recorded["points"], recorded["crops"], strict=True):
        # One level: numpy 1 fades in float32, numpy 2 in float64.
        assert difference(encoder_input(picture, 32, points), crop) <= 1
        assert difference(encoder_input(picture, 32, five_points(points)), crop) <= 1


def test_upright_landmarks_cut_the_crop_itself() -> None:
    picture, landmarks = scene(margin=20)
    np.testing.assert_array_equal(encoder_input(picture, SIDE, landmarks), picture[20:-20, 20:-20])


@pytest.mark.parametrize("scale", [0.8, 1.5, 6.0])
@pytest.mark.parametrize("degrees", [0, 20, -75, 180])
def test_moved_turned_and_scaled_face_comes_back_aligned(scale: float, degrees: float) -> None:
    picture, landmarks = scene(margin=40)
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    size = int(len(picture) * scale * 1.5)
    shift = np.array([size * 0.5, size * 0.52]) - turn @ ([len(picture) / 2] * 2)
    back = np.linalg.inv(turn)
    matrix = np.column_stack([back, -back @ shift]).ravel().tolist()
    large = Image.fromarray(picture).transform(
        (size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    moved = (landmarks + 0.5) @ turn.T + shift - 0.5
    found = encoder_input(np.asarray(large), SIDE, moved)
    # Two resamplings of a smooth picture. Where FFHQ shrinks first, its corners lie (1 - 1/s)/2
    # px off, half an output pixel at most.
    assert difference(found, picture[40:-40, 40:-40]) <= (6 if scale < 4 else 9)


def test_beyond_the_edge_the_crop_is_mirrored_and_fades() -> None:
    picture, landmarks = scene(margin=40)
    whole = encoder_input(picture, SIDE, landmarks)
    found = encoder_input(picture[80:], SIDE, landmarks - [0, 80])
    # 40 rows are missing; a third of as many within the picture are already blurred.
    np.testing.assert_array_equal(found[54:], whole[54:])
    assert found[1:40].std() < 0.8 * whole[40:79].std()
    # Just beyond the edge it is still nearly a mirror.
    assert difference(found[36:40], found[44:40:-1]) <= 12


@pytest.mark.parametrize("sigma", [0.2, 0.7, 5.0, 20.4])
@pytest.mark.parametrize("shape", [(150, 90), (64, 128), (3, 200), (1, 1)])
def test_blur_is_the_one_of_scipy(sigma: float, shape: tuple[int, int]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    channel = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    wanted = ndimage.gaussian_filter(channel, sigma, mode="reflect", truncate=4.0)
    # One rounding to float32 of numbers up to 255.
    np.testing.assert_allclose(gaussian_blur(channel, sigma), wanted, rtol=0, atol=3e-5)


@pytest.mark.parametrize("shape", [(8, 4000), (4000, 8), (9, 9), (700, 700)])
@pytest.mark.parametrize("crops", [1.0, 3.99])
def test_any_crop_of_any_picture_is_cut_out(shape: tuple[int, int], crops: float) -> None:
    """Mirrored many times over, or of a picture that shrinks to nothing."""
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    _, landmarks = scene(0)
    scale = crops * max(shape) / SIDE
    centre = np.array([shape[1] - 1, shape[0] - 1]) / 2
    found = encoder_input(picture, 16, (landmarks - (SIDE - 1) / 2) * scale + centre)
    assert found.shape == (16, 16, 3)
    # Random pixels average to mid grey wherever they end up.
    assert abs(found.mean() - 127.5) < 40


def test_landmarks_of_no_face_are_refused() -> None:
    picture, landmarks = scene(0)
    with pytest.raises(InvalidInput, match="landmarks"):
        encoder_input(picture, 64, landmarks[[1, 0, 2, 4, 3]])


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)],
)
def test_other_arrays_are_refused(wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidInput, match="rgb"):
        encoder_input(wrong, 64)


def test_side_must_be_positive() -> None:
    with pytest.raises(InvalidInput, match="side"):
        encoder_input(np.zeros((8, 8, 3), np.uint8), 0)
