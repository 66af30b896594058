"""Pictures at the edges: bytes to RGB, RGB to the encoder's aligned crop, RGB to bytes.

Arrays are uint8 (H, W, 3), RGB, 0 to 255, rows from the top. Colour profiles are not applied:
the networks were trained on plain pixel values.
"""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from wstar.alignment import aligned
from wstar.errors import ImageError, InvalidInput, LimitExceeded
from wstar.image_limits import plain
from wstar.landmarks import ffhq_square

Format = Literal["PNG", "JPEG", "WEBP"]
RGB = NDArray[np.uint8]

MIN_SIDE_PX = 8
JPEG_QUALITY = 95

# Zero for a network that reads [-1, 1]: what is transparent neither brightens nor darkens.
_BACKGROUND = (128, 128, 128, 255)
# Pixels composed at once: what a large transparent picture takes beside itself.
_BAND_PX = 2**20
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
    before anything is decoded, and metadata is never inflated (`wstar.image_limits`).

    Parameters
    ----------
    data: the encoded picture.
    max_bytes, max_pixels: largest accepted length of `data`, and width times height.

    Returns uint8 (H, W, 3), both sides at least 8 px.

    Raises
    ------
    LimitExceeded: more bytes, pixels, chunks, segments or (progressive JPEG) scans than allowed.
    ImageError: another format, damaged or truncated data, a side below 8 px.
    """
    if len(data) > max_bytes:
        raise LimitExceeded("image", len(data), max_bytes, "bytes")
    file = plain(data)
    width, height = file.width, file.height
    if width * height > max_pixels:
        raise LimitExceeded("image", width * height, max_pixels, "pixels")
    if min(width, height) < MIN_SIDE_PX:
        raise ImageError("image", f"{width} x {height} px", f"sides of at least {MIN_SIDE_PX} px")
    try:
        picture = _open(file.data)
        if picture.size != (width, height):
            raise ValueError("two sizes")
        picture.load()
        rgb = _to_rgb(picture)
    except MemoryError:
        raise
    except Exception as error:  # Damaged files make Pillow raise nearly anything.
        raise ImageError("image", f"{error}", "a complete, undamaged picture") from error
    transposition = _UPRIGHT.get(file.orientation)
    if transposition is None:
        return rgb
    return np.asarray(Image.fromarray(rgb).transpose(transposition))


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
    """Open a plain file. Image.open would judge the size by a process-wide limit instead."""
    stream = io.BytesIO(data)
    if data.startswith(b"\x89PNG"):
        return PngImagePlugin.PngImageFile(stream)
    if data.startswith(b"\xff\xd8"):
        return JpegImagePlugin.JpegImageFile(stream)
    return WebPImagePlugin.WebPImageFile(stream)


def _to_rgb(picture: Image.Image) -> RGB:
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scale.
        levels = (np.asarray(picture).astype(np.uint32) + 128) // 257
        picture = Image.fromarray(levels.astype(np.uint8))
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("RGB"))
    width, height = picture.size
    found = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND_PX // width)
    for top in range(0, height, rows):
        band = picture.crop((0, top, width, min(top + rows, height))).convert("RGBA")
        background = Image.new("RGBA", band.size, _BACKGROUND)
        background.alpha_composite(band)
        found[top : top + rows] = np.asarray(background)[..., :3]
    return found


def _check_rgb(rgb: RGB) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or min(rgb.shape) < 1:
        raise InvalidInput("rgb", f"{rgb.dtype} {rgb.shape}", "uint8 (H, W, 3)")
