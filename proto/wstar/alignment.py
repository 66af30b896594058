"""The FFHQ crop, cut as for the pictures that pSp and e4e encoders were trained on.

The steps and their figures are those of FFHQ: shrink, crop, mirror what is missing and fade it
out, resample once. Coordinates are (x, y) in px, pixel centres being whole numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RGB = NDArray[np.uint8]
Float32 = NDArray[np.float32]

# Shares of the crop's side: kept around it, mirrored around it, and standard deviation of the
# blur that mirrored parts fade into.
_BORDER = 0.1
_MARGIN = 0.3
_BLUR = 0.02
_LEAST_BORDER_PX = 3
_CLEAR_PX = 4  # A square that stays this far inside needs nothing mirrored.
_BLUR_REACH = 4.0  # Standard deviations after which the Gaussian is cut off.
_BLOCK_LINES = 64


def aligned(
    rgb: RGB, side: int, centre: NDArray[np.float64], half_axis: NDArray[np.float64]
) -> RGB:
    """Cut a square out of a picture.

    Where the square comes near or leaves the edge, the picture is mirrored, and fades outwards
    into a blur and then into its median colour. Work and memory are bounded by `side` and the
    picture: a square much larger than the result is cut out of a smaller copy.

    Parameters
    ----------
    rgb: uint8 (H, W, 3).
    side: S, px.
    centre: float64 (2,), the square's centre.
    half_axis: float64 (2,), from there to the middle of its right side.

    Returns uint8 (S, S, 3), sampled bilinearly.
    """
    picture = Image.fromarray(rgb)
    x, y = half_axis, half_axis[::-1] * (-1, 1)
    corners = np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])
    square = float(np.hypot(*x)) * 2
    shrink = int(square / side * 0.5)
    if shrink > 1:
        size = [max(1, int(np.rint(length / shrink))) for length in picture.size]
        picture = picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)
        corners, square = corners / shrink, square / shrink
    border = max(int(np.rint(square * _BORDER)), _LEAST_BORDER_PX)
    low, high = _extent(corners)
    first = np.maximum(low - border, 0)
    last = np.minimum(high + border, picture.size)
    picture = picture.crop((int(first[0]), int(first[1]), int(last[0]), int(last[1])))
    corners = corners - first
    low, high = _extent(corners)
    beyond = np.subtract(picture.size, high)
    if min(low.min(), beyond.min()) < _CLEAR_PX:
        margin = int(np.rint(square * _MARGIN))
        before, after = np.maximum(border - low, margin), np.maximum(border - beyond, margin)
        faded = _mirrored(np.asarray(picture), before, after, square * _BLUR)
        picture, corners = Image.fromarray(faded), corners + before
    # Pillow measures from the corner of the first pixel.
    flat = (corners + 0.5).ravel().tolist()
    method, filter = Image.Transform.QUAD, Image.Resampling.BILINEAR
    return np.asarray(picture.transform((side, side), method, flat, filter))


def gaussian_blur(channel: Float32, sigma: float) -> Float32:
    """Blur float32 (H, W) with a Gaussian of `sigma` px, cut off after 4 of them.

    Beyond the edges the picture is mirrored, edge pixels twice.
    """
    return _blur_lines(_blur_lines(channel.T, sigma).T, sigma)


def _extent(corners: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whole numbers around the corners: lowest and highest (x, y)."""
    low = np.floor(corners.min(axis=0)).astype(np.int64)
    return low, np.ceil(corners.max(axis=0)).astype(np.int64)


def _mirrored(rgb: RGB, before: NDArray[np.int64], after: NDArray[np.int64], sigma: float) -> RGB:
    """Mirror a picture by `before` and `after` (x, y) px, all at least 1, and fade it out there.

    The outermost pixels have the median colour; the blur reaches a third of the mirrored width
    into the picture, where it ends.
    """
    widths = (before[1], after[1]), (before[0], after[0])
    # 0 at the picture's edge, 1 at the outermost pixel, negative inside.
    outside = np.maximum(
        _outside(rgb.shape[1], *widths[1])[None], _outside(rgb.shape[0], *widths[0])[:, None]
    )
    blurred = np.clip(outside * 3 + 1, 0, 1)
    plain = np.clip(outside, 0, 1, out=outside)
    result = np.empty((*outside.shape, 3), np.uint8)
    for index in range(3):  # One by one: a third of the memory.
        channel = np.pad(rgb[:, :, index], widths, "reflect").astype(np.float32)
        channel += (gaussian_blur(channel, sigma) - channel) * blurred
        channel += (np.median(channel) - channel) * plain
        result[:, :, index] = np.clip(np.rint(channel), 0, 255)
    return result


def _outside(length: int, before: int, after: int) -> NDArray[np.float64]:
    """How far outside a mirrored line's pixels lie, in shares of what was added on that side."""
    position = np.arange(before + length + after, dtype=np.float64)
    return np.asarray(1 - np.minimum(position / before, position[::-1] / after))


def _blur_lines(x: Float32, sigma: float) -> Float32:
    """Blur float32 (lines, L) along its lines.

    By Fourier transforms: as quick as matrix products, without their threads, which wait for
    each other on a busy machine. float64 inside leaves no trace of the method in the bytes.
    """
    radius = int(_BLUR_REACH * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    length = x.shape[1] + 2 * radius
    # Sizes with a large power of two transform quickly; zeros at the end reach no result.
    size = -(-length // 64) * 64
    response = np.fft.rfft(weights / weights.sum(), size)
    result = np.empty(x.shape, np.float32)
    for start in range(0, len(x), _BLOCK_LINES):
        lines = x[start : start + _BLOCK_LINES].astype(np.float64)
        padded = np.pad(lines, ((0, 0), (radius, radius)), "symmetric")
        blurred = np.fft.irfft(np.fft.rfft(padded, size) * response, size)
        result[start : start + _BLOCK_LINES] = blurred[:, 2 * radius : length]
    return result
