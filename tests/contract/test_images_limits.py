"""What costs work and is not seen is left out; what cannot be left out is limited."""

from __future__ import annotations

import struct
import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.load.fuzz_bombs import MAX_BOMB_MS, bombs
from tests.load.fuzz_seeds import chunk, exif, png, riff, saved, seeds, smooth, webp

from wstar.errors import ImageError, LimitExceeded
from wstar.image_limits import (
    MAX_CHUNKS,
    MAX_JPEG_SCANS,
    MAX_JPEG_SEGMENTS,
    exif_orientation,
    plain,
)
from wstar.images import decode

LIMITS = {"max_bytes": 10 * 2**20, "max_pixels": 4096 * 4096}
PNG, JPEG = saved(smooth(), "PNG"), saved(smooth(), "JPEG", progressive=True)
EMPTY = chunk(b"abCd", b"")


def inserted(file: bytes, at: int, piece: bytes) -> bytes:
    return file[:at] + piece + file[at:]


@pytest.mark.parametrize("name", bombs())
def test_bombs_are_refused_or_defused_at_once(name: str) -> None:
    data, times = bombs()[name](), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            started_s = time.thread_time()
            try:
                assert decode(data, **LIMITS).shape in {(24, 20, 3), (16, 16, 3)}
            except (ImageError, LimitExceeded) as error:
                assert str(error).startswith("image: found ")
                assert len(str(error)) < 300
            times.append(1e3 * (time.thread_time() - started_s))
    # Work of this thread, the best of three: `make fuzz` asks how long callers wait.
    assert min(times) < MAX_BOMB_MS


@pytest.mark.parametrize("name", seeds())
def test_size_and_orientation_are_those_of_the_decoder(name: str) -> None:
    data = seeds()[name]
    found = plain(data)
    assert (found.width, found.height) == (20, 24)
    assert len(found.data) <= len(data) + 1  # WebP: padding that was missing
    number = name.removeprefix("jpeg exif ")
    known = {"png texts": 6, "webp exif": 5}
    assert found.orientation == (int(number) if number.isdigit() else known.get(name, 1))


def test_what_is_left_out_is_not_seen() -> None:
    names = "jpeg profile", "jpeg comment", "png texts", "png animated", "webp exif"
    for name in names:
        data = plain(seeds()[name]).data
        for hidden in (b"ICC_PROFILE", b"a comment", b"tEXt", b"iCCP", b"fdAT", b"EXIF"):
            assert hidden not in data


def test_limits_hold_exactly() -> None:
    # The header, the pixels and the end are chunks too; the last one read is the end.
    most = inserted(PNG, 33, EMPTY * (MAX_CHUNKS - 3))
    assert decode(most, **LIMITS).shape == (24, 20, 3)
    with pytest.raises(LimitExceeded, match=f"at most {MAX_CHUNKS} chunks"):
        decode(inserted(most, 33, EMPTY), **LIMITS)
    scan, end = JPEG[JPEG.rindex(b"\xff\xc4") : JPEG.rindex(b"\xff\xd9")], JPEG.rindex(b"\xff\xd9")
    most = inserted(JPEG, end, scan * (MAX_JPEG_SCANS - JPEG.count(b"\xff\xda")))
    assert decode(most, **LIMITS).shape == (24, 20, 3)
    with pytest.raises(LimitExceeded, match=f"found 101 scans, allowed: at most {MAX_JPEG_SCANS}"):
        decode(inserted(most, end, scan), **LIMITS)
    with pytest.raises(LimitExceeded, match=f"at most {MAX_JPEG_SEGMENTS} segments"):
        decode(inserted(JPEG, 20, b"\xff\xe3\0\2" * MAX_JPEG_SEGMENTS), **LIMITS)
    with pytest.raises(LimitExceeded, match="bytes of tables"):
        decode(inserted(JPEG, 20, (b"\xff\xdb\0\x43\0" + bytes(64)) * 1000), **LIMITS)


@pytest.mark.parametrize("process", [0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xCF])
def test_jpeg_that_browsers_do_not_show_is_refused(process: int) -> None:
    data = JPEG.replace(b"\xff\xc2", bytes((0xFF, process)))
    with pytest.raises(ImageError, match="baseline, progressive"):
        decode(data, **LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        inserted(JPEG, 20, JPEG[JPEG.index(b"\xff\xc2") : JPEG.index(b"\xff\xc2") + 19]),
        JPEG[: JPEG.index(b"\xff\xda")],
        JPEG[: JPEG.index(b"\xff\xc2")] + JPEG[JPEG.index(b"\xff\xda") :],
        JPEG[:20] + b"\xff\xfe\xff",
        PNG[:8] + PNG[33:],
        PNG[:8],
        PNG[: PNG.index(b"IDAT") + 9],
        webp(riff(b"EXIF", exif(1))),
        webp(),
        b"RIFF\xff\0\0\0WEBP" + riff(b"VP8L", bytes(9)),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_files_that_no_decoder_could_follow_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode(data, **LIMITS)


def test_bytes_behind_the_end_do_not_matter() -> None:
    for file in (PNG, JPEG, saved(smooth(), "WEBP")):
        expected = decode(file, **LIMITS)
        # Phones append a second picture, chat programs append anything.
        np.testing.assert_array_equal(decode(file + JPEG + bytes(1000), **LIMITS), expected)


@given(st.binary(max_size=100), st.sampled_from([b"II*\0", b"MM\0*", b"Exif\0\0II*\0", b""]))
def test_damaged_metadata_has_an_orientation(data: bytes, start: bytes) -> None:
    assert exif_orientation(start + data) in range(1, 9)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", [0, 1, 6, 8, 9, 65535])
def test_orientation_in_both_byte_orders(order: str, value: int) -> None:
    head = b"II*\0" if order == "<" else b"MM\0*"
    tags = struct.pack(f"{order}HHIHH", 0x0100, 3, 1, 7, 0)
    tags += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, value, 0)
    data = head + struct.pack(f"{order}IH", 8, 2) + tags + bytes(4)
    assert exif_orientation(data) == (value if 1 <= value <= 8 else 1)
    found = Image.Exif()
    found.load(data)
    assert found.get(0x0112) == value


@given(st.integers(8, 40), st.integers(8, 40), st.booleans())
def test_interlaced_pictures_of_every_size(height: int, width: int, alpha: bool) -> None:
    samples = np.random.default_rng(height * width).integers(0, 256, (height, width, 4), np.uint8)
    samples[..., 3] = 255
    colour, kept = (6, samples) if alpha else (2, samples[..., :3])
    found = decode(png(kept, 8, colour, interlaced=True), **LIMITS)
    np.testing.assert_array_equal(found, samples[..., :3])


def test_large_transparent_pictures_are_composed_in_bands() -> None:
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (1500, 1001, 4), np.uint8)
    samples[..., 3] = rng.integers(0, 2, (1500, 1001)) * 255
    found = decode(saved(samples, "PNG", compress_level=1), **LIMITS)
    expected = np.where(samples[..., 3:] == 255, samples[..., :3], 128)
    np.testing.assert_array_equal(found, expected)
