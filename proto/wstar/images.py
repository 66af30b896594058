"""Pictures at the edges: bytes to RGB, RGB to the encoder's aligned crop, RGB to bytes.

Arrays are uint8 (H, W, 3), RGB, 0 to 255, rows from the top. Colour profiles are not applied:
the networks were trained on plain pixel values.
"""

from __future__ import annotations

import contextlib
import io
import re
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from wstar.alignment import aligned
from wstar.errors import ImageError, InvalidInput, LimitExceeded
from wstar.landmarks import ffhq_square

Format = Literal["PNG", "JPEG", "WEBP"]
RGB = NDArray[np.uint8]

MIN_SIDE_PX = 8
MAX_JPEG_SCANS = 100
JPEG_QUALITY = 95

# Zero for a network that reads [-1, 1]: what is transparent neither brightens nor darkens.
_BACKGROUND = (128, 128, 128, 255)
_JPEG_SCAN = re.compile(rb"\xff\xda\x00[\x08\x0a\x0c\x0e][\x01-\x04]")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, *, max_bytes: int, max_pixels: int) -> RGB:
    """Decode a JPEG, PNG or WebP picture as a viewer shows it, upright.

    The first frame of an animation counts. Grey, palette, 16-bit and CMYK pictures become 8-bit
    RGB; transparent pixels lie on mid grey. Size is checked before the header is read, pixels
    before anything is decoded.

    Parameters
    ----------
    data: the encoded picture.
    max_bytes, max_pixels: largest accepted length of `data`, and width times height.

    Returns uint8 (H, W, 3), both sides at least 8 px.

    Raises
    ------
    LimitExceeded: more bytes, pixels or (progressive JPEG) scans than allowed.
    ImageError: another format, damaged or truncated data, a side below 8 px.
    """
    if len(data) > max_bytes:
        raise LimitExceeded("image", len(data), max_bytes, "bytes")
    picture = _open(data)
    width, height = picture.size
    if width * height > max_pixels:
        raise LimitExceeded("image", width * height, max_pixels, "pixels")
    if min(width, height) < MIN_SIDE_PX:
        raise ImageError("image", f"{width} x {height} px", f"sides of at least {MIN_SIDE_PX} px")
    try:
        picture.load()
        rgb = _to_rgb(picture)
    except MemoryError:
        raise
    except Exception as error:  # Damaged files make Pillow raise nearly anything.
        raise ImageError("image", f"{error}", "a complete, undamaged picture") from error
    transposition = _UPRIGHT.get(_orientation(picture))
    return np.asarray(rgb if transposition is None else rgb.transpose(transposition))


def encoder_input(rgb: RGB, side: int, landmarks: ArrayLike | None = None) -> RGB:
    """Make the aligned square picture that the `encoder` graph reads.

    Without landmarks the picture counts as an aligned crop already: its central square, resized.
    A picture of side x side px comes back bit for bit. With landmarks the face is cut out as
    FFHQ was (`wstar.landmarks`, `wstar.alignment`).

    Parameters
    ----------
    rgb: uint8 (H, W, 3), upright.
    side: S, px.
    landmarks: (5, 2) or (68, 2) as (x, y) in px of `rgb`, the centre of its top left pixel being
        (0, 0): `wstar.landmarks.LANDMARKS`, or dlib's 68 points.

    Returns uint8 (S, S, 3).

    Raises
    ------
    InvalidInput: array or side of the wrong kind; landmarks that are not finite, that coincide,
    whose left and right are swapped, or that make no crop of this picture.
    """
    _check_rgb(rgb)
    if side < 1:
        raise InvalidInput("side", side, "1 px or more")
    if landmarks is not None:
        return aligned(rgb, side, *ffhq_square(landmarks, rgb.shape[1], rgb.shape[0]))
    square = min(rgb.shape[:2])
    top, left = (rgb.shape[0] - square) // 2, (rgb.shape[1] - square) // 2
    crop = rgb[top : top + square, left : left + square]
    if square == side:
        return np.ascontiguousarray(crop)
    # Bilinear with Pillow's antialiasing is what pSp and e4e encoders were trained on.
    return np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.BILINEAR))


def reduced(rgb: RGB, most: int) -> RGB:
    """Average a square picture over equal boxes, rounded, down to at most `most` px a side.

    Parameters
    ----------
    rgb: uint8 (S, S, 3), S and `most` powers of two.

    Returns uint8 (s, s, 3), s = min(S, most).
    """
    side = min(rgb.shape[0], most)
    boxes = rgb.reshape(side, rgb.shape[0] // side, side, rgb.shape[1] // side, 3)
    return np.asarray(np.rint(boxes.mean(axis=(1, 3))), np.uint8)


def encode(rgb: RGB, format: Format) -> bytes:
    """Encode a picture, such as the generator's output.

    Parameters
    ----------
    rgb: uint8 (H, W, 3).
    format: PNG or WEBP (lossless), or JPEG (quality 95, full colour resolution).

    Raises
    ------
    InvalidInput: array or format outside these.
    """
    _check_rgb(rgb)
    picture, data = Image.fromarray(rgb), io.BytesIO()
    if format == "PNG":
        picture.save(data, "PNG")
    elif format == "JPEG":
        # Halved colour would smear lips and eyes of small faces.
        picture.save(data, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    elif format == "WEBP":
        picture.save(data, "WEBP", lossless=True)
    else:
        raise InvalidInput("format", format, "PNG, JPEG, WEBP")
    return data.getvalue()


def _open(data: bytes) -> ImageFile.ImageFile:
    """Read the header only. Image.open would judge the size by a process-wide limit instead."""
    stream = io.BytesIO(data)
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return PngImagePlugin.PngImageFile(stream)
        if data.startswith(b"\xff\xd8\xff"):
            scans = sum(1 for _ in _JPEG_SCAN.finditer(data))
            if scans > MAX_JPEG_SCANS:  # Each costs a pass over all pixels and a few bytes.
                raise LimitExceeded("image", scans, MAX_JPEG_SCANS, "scans")
            return JpegImagePlugin.JpegImageFile(stream)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return WebPImagePlugin.WebPImageFile(stream)
    except (MemoryError, LimitExceeded):
        raise
    except Exception as error:  # Damaged files make Pillow raise nearly anything.
        raise ImageError("image", f"{error}", "an undamaged header") from error
    raise ImageError("image", data[:16], "a JPEG, PNG or WebP file")


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scale.
        levels = (np.asarray(picture).astype(np.uint32) + 128) // 257
        picture = Image.fromarray(levels.astype(np.uint8))
    if picture.has_transparency_data:
        background = Image.new("RGBA", picture.size, _BACKGROUND)
        picture = Image.alpha_composite(background, picture.convert("RGBA"))
    return picture.convert("RGB")


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    with contextlib.suppress(Exception):  # Unreadable metadata must not cost a good picture.
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _check_rgb(rgb: RGB) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or min(rgb.shape) < 1:
        raise InvalidInput("rgb", f"{rgb.dtype} {rgb.shape}", "uint8 (H, W, 3)")
