"""Where a face is in a picture: its landmarks, and the square FFHQ cuts out by them.

Coordinates are (x, y) in px, the centre of the picture's top left pixel being (0, 0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wstar.errors import InvalidInput

# Left and right as seen.
LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
# Of dlib's 68 points, counted from 0: outlines of the eyes, tip of the nose, corners of the mouth.
_DLIB_COUNT = 68
_DLIB = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55))
_SMALLEST_CROP_PX = 8


def five_points(landmarks: ArrayLike) -> NDArray[np.float64]:
    """Five points (5, 2) in the order of `LANDMARKS`, from these or from dlib's 68.

    The centre of an eye is the mean of the six points around it.

    Raises
    ------
    InvalidInput: another number of points, or a number that is not finite.
    """
    try:
        points = np.asarray(landmarks, np.float64)
    except (TypeError, ValueError):  # Ragged lists, and things that are no numbers.
        points = np.empty(0)
    five, dlib = (len(LANDMARKS), 2), (_DLIB_COUNT, 2)
    if points.shape not in (five, dlib) or not np.isfinite(points).all():
        allowed = f"5 finite points (x, y), {', '.join(LANDMARKS)}, or dlib's {_DLIB_COUNT}"
        raise InvalidInput("landmarks", landmarks, allowed)
    if points.shape == five:
        return points
    return np.stack([points[part].mean(axis=0) for part in _DLIB])


def ffhq_square(
    landmarks: ArrayLike, width: int, height: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre (2,) of the FFHQ crop in a picture of width x height px, and its half axis (2,).

    The half axis leads from the centre to the middle of the right side. It lies along the eyes,
    2 eye distances or 1.8 eye-mouth distances long, whichever is more; the centre is a tenth of
    the way from the eyes to the mouth.

    Parameters
    ----------
    landmarks: (5, 2) or (68, 2), see `five_points`.

    Raises
    ------
    InvalidInput: landmarks that `five_points` refuses, that coincide, whose left and right are
    swapped, whose face centre lies outside the picture, or whose crop has sides below 8 px or
    above four times the picture's larger side.
    """
    left_eye, right_eye, _, left_mouth, right_mouth = five_points(landmarks)
    with np.errstate(over="ignore", invalid="ignore"):  # Enormous numbers fail the checks below.
        eyes = (left_eye + right_eye) * 0.5
        eye_to_eye = right_eye - left_eye
        eye_to_mouth = (left_mouth + right_mouth) * 0.5 - eyes
        half = max(2.0 * np.hypot(*eye_to_eye), 1.8 * np.hypot(*eye_to_mouth))
        centre = eyes + 0.1 * eye_to_mouth
        upright = eye_to_eye[0] * eye_to_mouth[1] > eye_to_eye[1] * eye_to_mouth[0]
    if not upright:
        raise InvalidInput("landmarks", landmarks, "left eye left of right eye, mouth below them")
    if not ((centre >= -0.5) & (centre <= (width - 0.5, height - 0.5))).all():
        raise InvalidInput("landmarks", landmarks, f"a face in the picture, {width} x {height} px")
    largest = 4 * max(width, height)
    if not _SMALLEST_CROP_PX <= 2 * half <= largest:
        allowed = f"a crop of {_SMALLEST_CROP_PX} to {largest} px, found {2 * half:.1f}"
        raise InvalidInput("landmarks", landmarks, allowed)
    along = eye_to_eye + eye_to_mouth[::-1] * (1, -1)
    return centre, along / np.hypot(*along) * half
