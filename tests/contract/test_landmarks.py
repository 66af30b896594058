"""Landmarks: five points or 68 of them, and the square that FFHQ cuts out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wstar.errors import InvalidInput
from wstar.faces import UnalignedPicture, face_message
from wstar.landmarks import ffhq_square, five_points

FIVE = np.array([[40.0, 50], [80, 50], [60, 70], [45, 90], [75, 90]])


def dlib_points() -> NDArray[np.float64]:
    """68 points whose eyes, nose and mouth are those of `FIVE`; the others are anywhere."""
    points = np.random.default_rng(0).uniform(-500, 500, (68, 2))
    ring = np.array([[-3, 0], [-1, -2], [1, -2], [3, 0], [1, 2], [-1, 2]])
    points[36:42], points[42:48] = FIVE[0] + ring, FIVE[1] + ring
    points[[30, 48, 54]] = FIVE[2:]
    return points


def test_68_points_are_five() -> None:
    # Means of six whole numbers.
    np.testing.assert_allclose(five_points(dlib_points()), FIVE, rtol=1e-14)
    np.testing.assert_array_equal(five_points(FIVE.tolist()), FIVE)


def test_68_points_travel_as_five() -> None:
    messages = [face_message(UnalignedPicture(b"1", p)) for p in (FIVE, dlib_points())]
    assert messages[0] == messages[1]


def test_square_is_measured_by_the_eyes() -> None:
    centre, half = ffhq_square(FIVE, 200, 200)
    np.testing.assert_allclose(centre, [60, 54])
    np.testing.assert_allclose(half, [80, 0])


def test_square_of_a_long_face_is_measured_by_its_height() -> None:
    long = FIVE + np.array([[0, 0], [0, 0], [0, 0], [0, 60], [0, 60]])
    centre, half = ffhq_square(long, 200, 200)
    np.testing.assert_allclose(centre, [60, 60])
    np.testing.assert_allclose(half, [180, 0])


@given(
    degrees=st.floats(-180, 180),
    scale=st.floats(0.2, 5),
    shift=st.tuples(*[st.floats(-1000, 1000)] * 2),
)
def test_square_moves_turns_and_grows_with_the_face(
    degrees: float, scale: float, shift: tuple[float, float]
) -> None:
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre, half = ffhq_square(FIVE, 5000, 5000)
    # A frame of reference in which the moved face is still inside the picture.
    move = np.array(shift) + 2500
    found_centre, found_half = ffhq_square(FIVE @ turn.T + move, 5000, 5000)
    np.testing.assert_allclose(found_centre, turn @ centre + move, rtol=1e-9)
    np.testing.assert_allclose(found_half, turn @ half, atol=1e-9 * 5000)


@pytest.mark.parametrize(
    "wrong",
    [
        FIVE[:4],
        np.zeros((67, 2)),
        FIVE[:, :1],
        FIVE * np.nan,
        FIVE * np.inf,
        "five",
        [[1, 2], [3]],
        None,
    ],
    ids=["four", "67", "one number", "nan", "inf", "text", "ragged", "nothing"],
)
def test_other_points_are_refused(wrong: Any) -> None:  # noqa: ANN401
    for refusing in (five_points, lambda points: UnalignedPicture(b"", points)):
        with pytest.raises(InvalidInput, match="68") as refused:
            refusing(wrong)
        assert refused.value.field == "landmarks"


@pytest.mark.parametrize(
    ("points", "allowed"),
    [
        (FIVE * 0 + 50, "left eye left"),
        (FIVE[[1, 0, 2, 4, 3]], "left eye left"),
        (100 - FIVE * [-1, 1], "left eye left"),
        (FIVE + 1000, "in the picture"),
        (FIVE - [62, 0], "in the picture"),
        ((FIVE - 60) * 5.1 + 60, "a crop of 8 to 800 px"),
        ((FIVE - 60) * 0.04 + 60, "a crop of 8 to 800 px"),
        (FIVE * 1e300, "in the picture"),
        ((FIVE - [60, 54]) * 1e200, "a crop of 8 to 800 px"),
    ],
)
def test_points_of_no_face_are_refused(points: NDArray[np.float64], allowed: str) -> None:
    with pytest.raises(InvalidInput, match=allowed) as refused:
        ffhq_square(points, 200, 200)
    assert refused.value.field == "landmarks"
