"""Every kind of picture file, against pixels computed by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.load.fuzz_seeds import RGB, chunk, exif, png, riff, saved, seeds, smooth, webp

from wstar.images import decode

LIMITS = {"max_bytes": 2**20, "max_pixels": 2**20}
# Mid grey, on which transparent pixels lie.
GREY = 128


def difference(a: RGB, b: NDArray[np.integer]) -> int:
    """Largest difference of two pictures, in levels."""
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def over_grey(levels: NDArray[np.integer], alpha: NDArray[np.integer]) -> NDArray[np.integer]:
    """Levels 0 to 255 composed over mid grey with an alpha of 0 to 255."""
    share = alpha / 255
    return np.rint(levels * share + GREY * (1 - share)).astype(int)


@pytest.mark.parametrize("name", seeds())
def test_every_kind_is_read(name: str) -> None:
    found = decode(seeds()[name], **LIMITS)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    # EXIF orientations from 5 on exchange rows and columns.
    turned = name in {"jpeg exif 5", "jpeg exif 6", "jpeg exif 7", "jpeg exif 8"} | {
        "png texts",
        "webp exif",
    }
    assert found.shape == ((20, 24, 3) if turned else (24, 20, 3))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_of_every_depth_is_scaled_to_all_levels(depth: int, interlaced: bool) -> None:
    most = 2**depth - 1
    samples = np.linspace(0, most, 19 * 17).astype(np.uint16).reshape(19, 17, 1)
    found = decode(png(samples, depth, 0, interlaced=interlaced), **LIMITS)
    assert difference(found, np.rint(samples / most * 255).repeat(3, axis=2).astype(int)) == 0


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_of_every_depth_with_transparency(depth: int, interlaced: bool) -> None:
    rng = np.random.default_rng(depth)
    colours = rng.integers(0, 256, (2**depth, 3), np.uint8)
    alpha = rng.integers(0, 256, 2**depth, np.uint8)
    samples = rng.integers(0, 2**depth, (19, 17, 1), np.uint8)
    parts = chunk(b"PLTE", colours.tobytes()), chunk(b"tRNS", alpha.tobytes())
    opaque = decode(png(samples, depth, 3, parts[0], interlaced=interlaced), **LIMITS)
    assert difference(opaque, colours[samples[..., 0]]) == 0
    found = decode(png(samples, depth, 3, *parts, interlaced=interlaced), **LIMITS)
    expected = over_grey(colours, alpha[:, None])[samples[..., 0]]
    # Pillow composes in integers: at most one level beside rounding.
    assert difference(found, expected) <= 1


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", [2, 4, 6])
def test_colour_and_alpha(colour: int, depth: int, interlaced: bool) -> None:
    rng = np.random.default_rng(colour)
    channels = {2: 3, 4: 2, 6: 4}[colour]
    samples = rng.integers(0, 256, (19, 17, channels)).astype(np.uint16)
    levels = samples[..., :1].repeat(3, axis=2) if colour == 4 else samples[..., :3]
    alpha = np.full((19, 17, 1), 255) if colour == 2 else samples[..., -1:]
    factor = 257 if depth == 16 else 1
    found = decode(png(samples * factor, depth, colour, interlaced=interlaced), **LIMITS)
    # Pillow composes in integers: at most one level beside rounding.
    assert difference(found, over_grey(levels, alpha)) <= 1


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_colour_of_a_png(depth: int) -> None:
    factor = 257 if depth == 16 else 1
    samples = np.full((16, 16, 3), (10, 20, 30), np.uint16) * factor
    samples[:8] = np.array((200, 100, 50)) * factor
    key = chunk(b"tRNS", struct.pack(">3H", *samples[0, 0]))
    found = decode(png(samples, depth, 2, key), **LIMITS)
    assert np.unique(found[:8]).tolist() == [GREY]
    assert np.unique(found[8:].reshape(-1, 3), axis=0).tolist() == [[10, 20, 30]]


def cmyk() -> NDArray[np.uint8]:
    """A smooth picture (24, 20, 4), ink 0 to 255."""
    rgb = smooth()
    return np.dstack([255 - rgb, rgb[..., :1] // 4])


def inked(ink: NDArray[np.uint8]) -> NDArray[np.integer]:
    """What ink shows on paper: each colour times black."""
    return np.rint((255.0 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255).astype(int)


def test_cmyk_as_adobe_writes_it_inverted() -> None:
    file = saved(Image.fromarray(cmyk(), "CMYK"), "JPEG", quality=95)
    # libjpeg marks CMYK with Adobe's marker, and Adobe stores 255 for no ink.
    assert b"Adobe" in file
    assert difference(decode(file, **LIMITS), inked(cmyk())) <= 6


def test_ycck_is_cmyk_in_other_coordinates() -> None:
    ink = cmyk()
    # Adobe's YCCK: CMY turned as if it were RGB, black beside it; Pillow inverts what it writes.
    turned = np.asarray(Image.fromarray(ink[..., :3].copy()).convert("YCbCr"))
    stored = np.dstack([255 - turned, ink[..., 3:]])
    file = saved(Image.fromarray(stored, "CMYK"), "JPEG", quality=95)
    transform = file.index(b"Adobe") + 11
    assert file[transform] == 0
    file = file[:transform] + b"\2" + file[transform + 1 :]
    # Twice through YCbCr: a level or two more than above.
    assert difference(decode(file, **LIMITS), inked(ink)) <= 9


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}], ids=str
)
def test_jpeg_of_every_kind(options: dict[str, int], subsampling: str) -> None:
    rgb = smooth(48, 40)
    file = saved(rgb, "JPEG", quality=95, subsampling=subsampling, **options)
    # Halved colour blurs the corners of a smooth picture by some levels.
    assert difference(decode(file, **LIMITS), rgb) <= (6 if subsampling == "4:4:4" else 12)


def test_rgb_stored_as_it_is_in_jpeg() -> None:
    file = saved(smooth(), "JPEG", quality=95, keep_rgb=True)
    assert difference(decode(file, **LIMITS), smooth()) <= 6


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_profiles_and_texts_change_nothing(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    plain = decode(saved(smooth(), format, **options), **LIMITS)
    profile = bytes(range(256)) * 300
    found = decode(saved(smooth(), format, icc_profile=profile, **options), **LIMITS)
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_animation_shows_its_first_frame(mode: str) -> None:
    first = smooth()
    later = [Image.fromarray(255 - first), Image.fromarray(first[::-1].copy())]
    for format in ("PNG", "WEBP"):
        picture = Image.fromarray(first).convert(mode)
        file = saved(picture, format, save_all=True, append_images=later, lossless=True)
        assert difference(decode(file, **LIMITS), first) == 0


def test_a_frame_smaller_than_its_canvas_lies_on_grey() -> None:
    frame = saved(smooth(8, 10), "WEBP", lossless=True)[12:]
    canvas = riff(b"VP8X", b"\x12\0\0\0" + bytes((19, 0, 0, 23, 0, 0)))
    # Offsets are stored halved: the frame lies at (4, 6).
    head = bytes((2, 0, 0, 3, 0, 0, 9, 0, 0, 7, 0, 0, 0, 0, 0, 0))
    file = webp(canvas, riff(b"ANIM", bytes(6)), riff(b"ANMF", head + frame))
    found = decode(file, **LIMITS)
    expected = np.full((24, 20, 3), GREY)
    expected[6:14, 4:14] = smooth(8, 10)
    assert difference(found, expected) == 0


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_of_an_animation_counts(orientation: int) -> None:
    other = [Image.fromarray(255 - smooth())]
    turned = {3: smooth()[::-1, ::-1], 6: smooth().transpose(1, 0, 2)[:, ::-1]}[orientation]
    for format in ("PNG", "WEBP"):
        file = saved(
            smooth(),
            format,
            save_all=True,
            append_images=other,
            lossless=True,
            exif=exif(orientation),
        )
        assert difference(decode(file, **LIMITS), turned) == 0
