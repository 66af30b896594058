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

from wstar.errors import ImageError, InvalidInput, LimitExceeded

Format = Literal["PNG", "JPEG", "WEBP"]
RGB = NDArray[np.uint8]

MIN_SIDE_PX = 8
MAX_JPEG_SCANS = 100
JPEG_QUALITY = 95
LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")

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
    FFHQ was: a square along the eyes, 2 eye distances or 1.8 eye-mouth distances to each side;
    where it leaves the picture, the picture is mirrored.

    Parameters
    ----------
    rgb: uint8 (H, W, 3), upright.
    side: S, px.
    landmarks: (5, 2) as (x, y) in px of `rgb`, the centre of its top left pixel being (0, 0):
        left eye, right eye, nose, left and right mouth corner, left and right as seen.

    Returns uint8 (S, S, 3).

    Raises
    ------
    InvalidInput: array or side of the wrong kind; landmarks that are not finite, that coincide,
    whose left and right are swapped, or whose face centre lies outside the picture.
    """
    _check_rgb(rgb)
    if side < 1:
        raise InvalidInput("side", side, "1 px or more")
    if landmarks is not None:
        return _aligned(rgb, side, _ffhq_quad(landmarks, rgb.shape[1], rgb.shape[0]))
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


def _ffhq_quad(landmarks: ArrayLike, width: int, height: int) -> NDArray[np.float64]:
    """Corners of the FFHQ crop: (4, 2) as (x, y) from the picture's top left corner, px.

    Order: top left, bottom left, bottom right, top right of the upright face.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (len(LANDMARKS), 2) or not np.isfinite(points).all():
        raise InvalidInput("landmarks", landmarks, f"5 finite points (x, y): {LANDMARKS}")
    left_eye, right_eye, _, left_mouth, right_mouth = points + 0.5
    eyes = (left_eye + right_eye) / 2
    eye_to_eye = right_eye - left_eye
    eye_to_mouth = (left_mouth + right_mouth) / 2 - eyes
    along = eye_to_eye + eye_to_mouth[::-1] * (1, -1)
    if eye_to_eye[0] * eye_to_mouth[1] <= eye_to_eye[1] * eye_to_mouth[0]:
        raise InvalidInput("landmarks", landmarks, "left eye left of right eye, mouth below them")
    half = max(2.0 * np.hypot(*eye_to_eye), 1.8 * np.hypot(*eye_to_mouth))
    centre = eyes + 0.1 * eye_to_mouth
    if not ((centre >= 0) & (centre <= (width, height))).all():
        raise InvalidInput("landmarks", landmarks, f"a face in the picture, {width} x {height} px")
    if not MIN_SIDE_PX / 2 <= half <= 2 * max(width, height):
        allowed = f"a crop of {MIN_SIDE_PX} to {4 * max(width, height)} px, found {2 * half:.1f}"
        raise InvalidInput("landmarks", landmarks, allowed)
    x = along / np.hypot(*along) * half
    y = x[::-1] * (-1, 1)
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def _aligned(rgb: RGB, side: int, quad: NDArray[np.float64]) -> RGB:
    """Resample the quad to side x side px, antialiased."""
    quad_side = float(np.hypot(*(quad[3] - quad[0])))
    border = max(4, round(0.02 * quad_side))
    low = np.floor(quad.min(axis=0)).astype(int) - border
    high = np.ceil(quad.max(axis=0)).astype(int) + border
    first = np.maximum(low, 0)
    last = np.minimum(high, (rgb.shape[1], rgb.shape[0]))
    picture = Image.fromarray(rgb[first[1] : last[1], first[0] : last[0]])
    # Four samples per output pixel and axis; a finer picture is shrunk to that first.
    supersampled = 4 * side
    shrink = max(1.0, quad_side / supersampled)
    size = max(1, round(picture.width / shrink)), max(1, round(picture.height / shrink))
    scale = np.divide(size, picture.size)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    before = np.ceil((first - low) * scale).astype(int)
    after = np.ceil((high - last) * scale).astype(int)
    mirrored = np.pad(
        np.asarray(picture), ((before[1], after[1]), (before[0], after[0]), (0, 0)), "reflect"
    )
    corners = ((quad - first) * scale + before).ravel().tolist()
    large = Image.fromarray(mirrored).transform(
        (supersampled, supersampled), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR
    )
    return np.asarray(large.resize((side, side), Image.Resampling.LANCZOS))
