"""Pictures: whatever the format says, the same upright RGB; whatever is wrong, a named error."""

from __future__ import annotations

import struct
import zlib
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tests.load import fuzz_seeds
from tests.load.fuzz_seeds import saved

from wstar.errors import ImageError, InvalidInput, LimitExceeded
from wstar.images import Format, decode, encode, reduced

RGB = NDArray[np.uint8]
LIMITS = {"max_bytes": 2**20, "max_pixels": 2**20}


def smooth(height: int = 48, width: int = 64) -> RGB:
    """A picture different in every corner and channel, wider than high."""
    return fuzz_seeds.smooth(height, width)


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in parts)


def difference(a: RGB, b: RGB) -> float:
    """Largest difference of two pictures, in levels."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        # Lossy formats: a few levels on a smooth picture at this quality.
        ("JPEG", {"quality": 95}, 6),
        ("JPEG", {"quality": 95, "progressive": True}, 6),
        ("WEBP", {"quality": 95}, 12),
    ],
)
def test_every_format_gives_back_the_picture(
    format: str, options: dict[str, Any], tolerance: int
) -> None:
    found = decode(saved(smooth(), format, **options), **LIMITS)
    assert found.dtype == np.uint8
    assert difference(found, smooth()) <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_png_mode_becomes_rgb(mode: str) -> None:
    picture = Image.fromarray(smooth()).convert(mode)
    expected = np.asarray(picture.convert("RGB"))
    assert difference(decode(saved(picture, "PNG"), **LIMITS), expected) == 0


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_every_jpeg_mode_becomes_rgb(mode: str) -> None:
    picture = Image.fromarray(smooth()).convert(mode)
    expected = np.asarray(picture.convert("RGB"))
    assert difference(decode(saved(picture, "JPEG", quality=95), **LIMITS), expected) <= 6


def test_sixteen_bit_pictures_are_scaled_not_clipped() -> None:
    levels = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    expected = np.repeat(np.rint(levels / 257)[:, :, None], 3, axis=2).astype(np.uint8)
    assert difference(decode(saved(Image.fromarray(levels), "PNG"), **LIMITS), expected) == 0
    colour = np.repeat(levels[:, :, None], 3, axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in colour)
    # Pillow keeps the upper byte of 16-bit colour: at most one level lower than rounding.
    assert difference(decode(png(64, 48, 16, 2, rows), **LIMITS), expected) <= 1


def test_transparent_pixels_lie_on_mid_grey() -> None:
    clear = np.dstack([smooth(), np.zeros((48, 64), np.uint8)])
    for format in ("PNG", "WEBP"):
        found = decode(saved(clear, format, lossless=True), **LIMITS)
        assert np.unique(found).tolist() == [128]
    half = np.dstack([np.full((48, 64, 3), 255, np.uint8), np.full((48, 64), 127, np.uint8)])
    assert np.unique(decode(saved(half, "PNG"), **LIMITS)).tolist() == [191]
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    assert np.unique(decode(saved(palette, "PNG", transparency=0), **LIMITS)).tolist() == [128]
    key = decode(
        saved(Image.new("RGB", (16, 16), "red"), "PNG", transparency=(255, 0, 0)), **LIMITS
    )
    assert np.unique(key).tolist() == [128]


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_the_first_frame_of_an_animation_counts(format: str) -> None:
    first, second = Image.fromarray(smooth()), Image.new("RGB", (64, 48), "white")
    data = saved(first, format, save_all=True, append_images=[second], lossless=True)
    assert difference(decode(data, **LIMITS), smooth()) == 0


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_back_upright(format: str, orientation: int) -> None:
    upright = smooth()
    # How a camera stores the picture for each value: rows and columns of the EXIF table.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(np.ascontiguousarray(stored), format, exif=exif.tobytes(), quality=95)
    assert difference(decode(data, **LIMITS), upright) <= (0 if format == "PNG" else 12)


def test_unreadable_metadata_costs_nothing() -> None:
    data = saved(smooth(), "PNG", exif=b"Exif\0\0nonsense")
    assert difference(decode(data, **LIMITS), smooth()) == 0


def test_too_many_bytes_are_refused_unread() -> None:
    with pytest.raises(LimitExceeded, match="image: found 101 bytes, allowed: at most 100 bytes"):
        decode(b"x" * 101, max_bytes=100, max_pixels=1)


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (50_000, 100), (1025, 1024)])
def test_too_many_pixels_are_refused_before_decoding(width: int, height: int) -> None:
    # No row follows: only the header can have been read.
    with pytest.raises(LimitExceeded, match=f"{width * height} pixels") as refused:
        decode(png(width, height, 8, 2, b""), **LIMITS)
    assert refused.value.limit == 2**20


def test_progressive_bomb_of_many_scans_is_refused() -> None:
    data = saved(smooth(), "JPEG", progressive=True)
    tables, end = data.rindex(b"\xff\xc4"), data.rindex(b"\xff\xd9")
    bomb = data[:end] + data[tables:end] * 200 + data[end:]
    with pytest.raises(LimitExceeded, match="at most 100 scans"):
        decode(bomb, **LIMITS)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x08\0\0\0WEBP", b"<svg/>" * 20],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError) as refused:
        decode(data, **LIMITS)
    assert refused.value.field == "image"


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused(format: str) -> None:
    with pytest.raises(ImageError, match="JPEG, PNG or WebP"):
        decode(saved(smooth(), format), **LIMITS)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated_pictures_are_refused(format: str, kept: float) -> None:
    rng = np.random.default_rng(0)
    data = saved(rng.integers(0, 256, (64, 64, 3), np.uint8), format)
    with pytest.raises(ImageError):
        decode(data[: int(len(data) * kept)], **LIMITS)


@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.data())
def test_damaged_pictures_decode_or_are_refused(format: str, draw: st.DataObject) -> None:
    data = bytearray(saved(smooth(16, 16), format))
    for _ in range(draw.draw(st.integers(1, 8))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        found = decode(bytes(data), **LIMITS)
    except (ImageError, LimitExceeded):
        return
    assert found.dtype == np.uint8
    assert found.shape[2] == 3


@pytest.mark.parametrize(("height", "width"), [(7, 64), (64, 7), (1, 1)])
def test_tiny_pictures_are_refused(height: int, width: int) -> None:
    with pytest.raises(ImageError, match=f"{width} x {height} px"):
        decode(saved(smooth(height, width), "PNG"), **LIMITS)


@pytest.mark.parametrize(("format", "tolerance"), [("PNG", 0), ("JPEG", 6), ("WEBP", 0)])
def test_encoded_pictures_decode_again(format: Format, tolerance: int) -> None:
    assert difference(decode(encode(smooth(), format), **LIMITS), smooth()) <= tolerance


def test_encode_refuses_other_formats() -> None:
    with pytest.raises(InvalidInput, match="format"):
        encode(smooth(), cast(Format, "GIF"))


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)],
)
def test_encode_refuses_other_arrays(wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidInput, match="rgb"):
        encode(wrong, "PNG")


def test_reduced_averages_boxes_and_leaves_small_pictures() -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8, ::2] = (10, 20, 31)
    found = reduced(picture, 2)
    np.testing.assert_array_equal(found, [[[5, 10, 16]] * 2, [[0, 0, 0]] * 2])
    np.testing.assert_array_equal(reduced(picture, 64), picture)
