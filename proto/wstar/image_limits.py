"""What of a picture file is handed to the decoder: the parts that make pixels, within limits.

Everything that costs work and is not seen is left out before the decoder looks: profiles and texts
that inflate, thumbnails, comments, later frames, metadata. What is left is bounded by three
limits beside bytes and pixels: parts of a file, bytes of JPEG tables, scans of a JPEG. Measured on
one core, no file known within 10 MiB and 4096 x 4096 px takes more than 0.8 s (a JPEG of 100
scans) or 0.5 GiB (a lossless WebP of 65,536 Huffman codes).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from wstar.errors import ImageError, LimitExceeded

# Real files have some thousand chunks at most: 10 MiB in pieces of 4 KiB.
MAX_CHUNKS = 16384
# Before the first scan. A profile or XMP of 10 MiB takes 160.
MAX_JPEG_SEGMENTS = 2048
# 4 quantization and 8 Huffman tables take 3 KiB.
MAX_JPEG_TABLE_BYTES = 65536
# Each costs a pass over all pixels and a few bytes; usual files have 10.
MAX_JPEG_SCANS = 100

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_WEBP_KEPT = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")

_SOF = (0xC0, 0xC1, 0xC2)
_OTHER_SOF = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_DHT, _SOI, _EOI, _SOS, _DQT, _DRI, _APP0, _APP1, _APP14 = (
    0xC4,
    0xD8,
    0xD9,
    0xDA,
    0xDB,
    0xDD,
    0xE0,
    0xE1,
    0xEE,
)
_NO_LENGTH = (0x00, 0x01, *range(0xD0, 0xD7 + 1), _SOI)
_FILL = re.compile(rb"\xff+")

_ORIENTATION, _SHORT = 0x0112, 3


class Plain(NamedTuple):
    """A picture file without what is not seen.

    data: the file. width, height: px, as stored. orientation: of EXIF, 1 to 8, 1 for none.
    """

    data: bytes
    width: int
    height: int
    orientation: int


def plain(data: bytes) -> Plain:
    """Read the structure of a JPEG, PNG or WebP file; nothing is inflated or decoded.

    Of an animation the first frame is kept. Arithmetic-coded, lossless and hierarchical JPEG is
    refused: browsers show none of them, and few bytes of the first can cost much work.

    Raises
    ------
    LimitExceeded: more chunks or segments, bytes of JPEG tables, or JPEG scans than allowed.
    ImageError: another format, or a structure that no decoder could follow.
    """
    try:
        if data.startswith(_PNG):
            return _png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except struct.error as error:
        raise _damaged("the file ends too early") from error
    raise ImageError("image", data[:16], "a JPEG, PNG or WebP file")


def _png(data: bytes) -> Plain:
    kept, orientation = [_PNG], 1
    for kind, start, body, length, end in _chunks(data, len(_PNG), ">I4s", 4):
        if len(kept) == 1:
            if kind != b"IHDR":
                raise _damaged("no IHDR chunk first")
            width, height = struct.unpack_from(">II", data, body)
        if kind in _PNG_KEPT:
            kept.append(data[start:end])
        elif kind == b"eXIf" and orientation == 1:
            orientation = exif_orientation(data[body : body + length])
        if kind == b"IEND":
            break
    if len(kept) == 1:
        raise _damaged("no chunk")
    return Plain(b"".join(kept), width, height, orientation)


def _webp(data: bytes) -> Plain:
    stop = 8 + int(struct.unpack_from("<I", data, 4)[0])
    if stop > len(data):
        raise _damaged("the file ends too early")
    kept, orientation, size, frames = [], 1, None, 0
    for kind, start, body, length, end in _chunks(data[:stop], 12, "<4sI", 0):
        size = size or _webp_size(kind, data, body)
        frames += kind == b"ANMF"
        if kind in _WEBP_KEPT and not (kind == b"ANMF" and frames > 1):
            kept.append(data[start:end])
        elif kind == b"EXIF":
            orientation = exif_orientation(data[body : body + length])
    if size is None:
        raise _damaged("no picture")
    parts = b"".join(kept)
    return Plain(b"RIFF%sWEBP%s" % (struct.pack("<I", 4 + len(parts)), parts), *size, orientation)


def _webp_size(kind: bytes, data: bytes, body: int) -> tuple[int, int]:
    """Read canvas or picture from the first chunk."""
    if kind == b"VP8X":
        low, middle, high = struct.unpack_from("<HHH", data, body + 4)
        return (low | (middle & 0xFF) << 16) + 1, (middle >> 8 | high << 8) + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, body + 1)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, body + 6)
        return width & 0x3FFF, height & 0x3FFF
    raise _damaged("no VP8, VP8L or VP8X chunk first")


def _chunks(
    data: bytes, at: int, header: str, trailer: int
) -> Iterator[tuple[bytes, int, int, int, int]]:
    """Walk RIFF or PNG chunks: kind, start, start of the body, its length, end."""
    for count in range(len(data)):
        if at >= len(data):
            return
        if count == MAX_CHUNKS:
            raise LimitExceeded("image", count + 1, MAX_CHUNKS, "chunks")
        first, second = struct.unpack_from(header, data, at)
        kind, length = (second, first) if trailer else (first, second)
        body = at + 8
        end = body + length + trailer
        if end > len(data):
            raise _damaged("the file ends too early")
        # RIFF pads to even lengths; the last padding may be missing.
        end = end if trailer else min(end + length % 2, len(data))
        yield kind, at, body, length, end
        at = end


def _jpeg(data: bytes) -> Plain:
    kept, orientation, table_bytes = [b"\xff\xd8"], 1, 0
    size: tuple[int, int] | None = None
    for marker, start, end in _segments(data):
        body = data[start + 4 : start + 18]
        if marker in _OTHER_SOF:
            raise ImageError("image", f"JPEG process {marker - 0xC0}", "baseline, progressive")
        if marker in _SOF:
            if size is not None:
                raise _damaged("two frame headers")
            height, width = struct.unpack_from(">xHH", body)
            size = width, height
        elif marker == _APP1 and body.startswith(b"Exif\0\0") and orientation == 1:
            orientation = exif_orientation(data[start + 4 : end])
        tells_colours = (marker == _APP0 and body.startswith(b"JFIF\0")) or (
            marker == _APP14 and body.startswith(b"Adobe")
        )
        if marker in (*_SOF, _DHT, _DQT, _DRI) or tells_colours:
            table_bytes += end - start
            if table_bytes > MAX_JPEG_TABLE_BYTES:
                raise LimitExceeded("image", table_bytes, MAX_JPEG_TABLE_BYTES, "bytes of tables")
            kept.append(data[start:end])
        if marker == _SOS:
            break
    else:
        raise _damaged("no scan")
    if size is None:
        raise _damaged("no frame header before the first scan")
    # In coded data 0xFF is followed by 0, so this finds every scan, wherever it hides.
    scans = data.count(b"\xff\xda", start)
    if scans > MAX_JPEG_SCANS:
        raise LimitExceeded("image", scans, MAX_JPEG_SCANS, "scans")
    return Plain(b"".join((*kept, data[start:])), *size, orientation)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Walk JPEG segments from the one after SOI: marker, start, end."""
    at = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        # Between segments decoders skip what is no marker, and fill bytes.
        fill = data.find(b"\xff", at)
        found = None if fill < 0 else _FILL.match(data, fill)
        if found is None or found.end() == len(data):
            return
        start, marker = found.end() - 1, data[found.end()]
        at = found.end() + 1
        if marker in _NO_LENGTH:
            continue
        if marker == _EOI:
            return
        length = struct.unpack_from(">H", data, at)[0]
        at += length
        if length < 2 or at > len(data):
            raise _damaged("a segment is longer than the file, or has no length")
        yield marker, start, at
    raise LimitExceeded("image", MAX_JPEG_SEGMENTS + 1, MAX_JPEG_SEGMENTS, "segments")


def exif_orientation(exif: bytes) -> int:
    """Read the orientation of the first directory; 1 for none, and for damaged metadata.

    Not Pillow's reader: that one unpacks every tag, and warns where one is damaged.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    try:
        at = struct.unpack_from(f"{order}I", tiff, 4)[0] if order else len(tiff)
        for i in range(struct.unpack_from(f"{order}H", tiff, at)[0] if order else 0):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * i)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _damaged(what: str) -> ImageError:
    return ImageError("image", what, "a complete, undamaged picture")
