"""Pictures of every kind that wstar reads, small, to be mutated and compared."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

RGB = NDArray[np.uint8]
# First column and row, step between columns and rows, of Adam7's passes.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def smooth(height: int = 24, width: int = 20) -> RGB:
    """A smooth picture, different in every corner and channel: survives lossy formats."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    picture = np.stack([220 * x + 20, 200 * y + 30, 120 * (x + y) / 2 + 60], axis=-1)
    return np.asarray(np.rint(picture), np.uint8)


def saved(picture: Image.Image | RGB, format: str, **options: Any) -> bytes:  # noqa: ANN401
    """Write a picture with Pillow."""
    data = io.BytesIO()
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(data, format, **options)
    return data.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def riff(name: bytes, body: bytes) -> bytes:
    """One WebP chunk, padded."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def webp(*chunks: bytes) -> bytes:
    """A WebP file of chunks."""
    return riff(b"RIFF", b"WEBP" + b"".join(chunks))


def png(
    samples: NDArray[np.integer[Any]],
    depth: int,
    colour: int,
    *chunks: bytes,
    interlaced: bool = False,
) -> bytes:
    """A PNG written by hand, for what Pillow does not write.

    samples: (H, W, channels), each below 2 ** depth. chunks: between header and pixels.
    """
    height, width = samples.shape[:2]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(
        b"\0" + _packed(row, depth)
        for x, y, across, down in passes
        for row in (samples[y::down, x::across] if x < width else ())
    )
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    parts = (chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join((*parts, chunk(b"IEND", b"")))


def _packed(row: NDArray[np.integer[Any]], depth: int) -> bytes:
    flat = row.ravel()
    if depth == 16:
        return flat.astype(">u2").tobytes()
    bits = np.unpackbits(flat.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.ravel()).tobytes()


def exif(orientation: int) -> bytes:
    """EXIF metadata that says how the picture lies."""
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def seeds() -> dict[str, bytes]:
    """One file per kind; names start with the format."""
    return _jpegs() | _pngs() | _webps()


def _jpegs() -> dict[str, bytes]:
    rgb = smooth()
    found = {f"jpeg exif {i}": saved(rgb, "JPEG", exif=exif(i), quality=80) for i in range(1, 9)}
    kinds: dict[str, dict[str, Any]] = {
        "baseline": {"subsampling": "4:4:4"},
        "4:2:0": {"subsampling": "4:2:0"},
        "4:2:2": {"subsampling": "4:2:2", "optimize": True},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 1},
        "progressive restarts": {"progressive": True, "restart_marker_rows": 1},
        "profile": {"icc_profile": bytes(range(256)) * 300},
        "comment": {"comment": b"a comment", "dpi": (72, 72)},
    }
    for name, options in kinds.items():
        found[f"jpeg {name}"] = saved(rgb, "JPEG", **options)
    for mode in ("L", "CMYK"):
        picture = Image.fromarray(rgb).convert(mode)
        found[f"jpeg {mode}"] = saved(picture, "JPEG")
        found[f"jpeg {mode} progressive"] = saved(picture, "JPEG", progressive=True)
    return found


def _pngs() -> dict[str, bytes]:
    rgb = smooth()
    alpha = rgb[..., 1:2]
    found: dict[str, bytes] = {}
    for interlaced in (False, True):
        end = " interlaced" if interlaced else ""
        for depth in (1, 2, 4, 8, 16):
            wide = rgb.astype(np.uint32) * 257 >> (16 - depth)
            found[f"png grey {depth}{end}"] = png(wide[..., :1], depth, 0, interlaced=interlaced)
            if depth < 16:
                palette = chunk(b"PLTE", (bytes(range(256)) * 3)[: 3 * 2**depth])
                clear = chunk(b"tRNS", bytes(range(2**depth)))
                found[f"png palette {depth}{end}"] = png(
                    wide[..., :1], depth, 3, palette, clear, interlaced=interlaced
                )
        for depth, factor in ((8, 1), (16, 257)):
            for colour, parts in ((2, (rgb,)), (4, (alpha, alpha)), (6, (rgb, alpha))):
                samples = np.concatenate(parts, axis=-1).astype(np.uint16) * factor
                found[f"png colour {colour} {depth}{end}"] = png(
                    samples, depth, colour, interlaced=interlaced
                )
    found["png key"] = png(rgb, 8, 2, chunk(b"tRNS", struct.pack(">3H", *rgb[0, 0])))
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a title")
    info.add_text("Comment", "a long comment " * 20, zip=True)
    info.add_itxt("XML:com.adobe.xmp", "<x/>", zip=True)
    profile = bytes(range(256)) * 8
    found["png texts"] = saved(rgb, "PNG", pnginfo=info, icc_profile=profile, exif=exif(6))
    other = [Image.fromarray(rgb[::-1].copy()), Image.fromarray(255 - rgb)]
    found["png animated"] = saved(rgb, "PNG", save_all=True, append_images=other)
    return found


def _webps() -> dict[str, bytes]:
    rgb = smooth()
    rgba = np.dstack([rgb, rgb[..., 0]])
    other = [Image.fromarray(255 - rgb)]
    return {
        "webp lossy": saved(rgb, "WEBP"),
        "webp lossless": saved(rgb, "WEBP", lossless=True),
        "webp lossy alpha": saved(rgba, "WEBP"),
        "webp lossless alpha": saved(rgba, "WEBP", lossless=True),
        "webp exif": saved(rgb, "WEBP", exif=exif(5), icc_profile=bytes(400)),
        "webp animated": saved(rgb, "WEBP", save_all=True, append_images=other),
        "webp animated lossless": saved(
            rgba, "WEBP", save_all=True, append_images=other, lossless=True
        ),
    }
