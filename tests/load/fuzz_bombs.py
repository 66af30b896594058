"""Files that are small to send and would be dear to read, and the dearest that may be sent."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from statistics import median
from typing import Any

import grpc
import numpy as np
from tests.load.fuzz_decode import LIMITS
from tests.load.fuzz_seeds import chunk, png, riff, saved, smooth, webp
from tests.load.fuzz_webp import many_codes

from wstar.errors import WstarError
from wstar.images import decode
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

MAX_BOMB_MS = 50.0
MAX_LEGAL_S = 2.0
_TRIES = 20
# On a busy machine one of twenty may wait for others: then they are tried again.
_ROUNDS = 3
_BODY = 10**7
_SIDE = 4096
_MIB = zlib.compress(bytes(2**20 - 1), 9)


def bombs() -> Mapping[str, Callable[[], bytes]]:
    """Files that must be refused, or read as if the bomb were not there, at once."""
    small = saved(smooth(), "PNG")
    jpeg = saved(smooth(), "JPEG", progressive=True, quality=50)
    return {
        "PNG of 2e9 x 2e9 px": lambda: _declared(2**31 - 1, 2**31 - 1),
        "PNG of 50,000 x 50,000 px": lambda: _declared(50_000, 50_000),
        "PNG, 1 GB in its pixels": lambda: _declared(16, 16, _gigabyte()),
        "PNG, 8,000 profiles of 1 MiB": lambda: _with(small, chunk(b"iCCP", b"a\0\0" + _MIB), 8000),
        "PNG, 8,000 texts of 1 MiB": lambda: _with(small, chunk(b"zTXt", b"a\0\0" + _MIB), 8000),
        "PNG, 8,000 UTF-8 texts of 1 MiB": lambda: _with(
            small, chunk(b"iTXt", b"a\0\1\0\0\0" + _MIB), 8000
        ),
        "PNG, one text of 1 GB": lambda: _with(small, chunk(b"zTXt", b"a\0\0" + _gigabyte())),
        "PNG, 800,000 empty chunks": lambda: _with(small, chunk(b"abCd", b"")),
        "PNG, 160,000 frames": lambda: _with(
            small, chunk(b"fcTL", bytes(26)) + chunk(b"fdAT", b"")
        ),
        "PNG, EXIF of 65,535 large tags": lambda: _with(small, chunk(b"eXIf", _tags()), 1),
        "WebP of 16,384 x 16,384 px": lambda: webp(_canvas(16384, 16384), riff(b"VP8L", bytes(20))),
        "WebP of 16,777,216 px a side": lambda: webp(_canvas(2**24, 2**24), _webp_frame()),
        "WebP, 160,000 frames": lambda: webp(
            _canvas(20, 24), riff(b"ANIM", bytes(6)), _filled(_webp_frame())
        ),
        "WebP, 1,200,000 empty chunks": lambda: webp(_canvas(20, 24), _filled(riff(b"abcd", b""))),
        "JPEG, 2,000 scans": lambda: _scans(jpeg, 2000),
        "JPEG, scans to 10 MB": lambda: _scans(jpeg, _BODY // 50),
        "JPEG, 2,000 scans behind fill bytes": lambda: _scans(
            jpeg, 2000, lambda scan: b"\xff" * 9 + scan
        ),
        "JPEG, 2,000 scans behind restarts": lambda: _scans(
            jpeg, 2000, lambda scan: b"\xff\xd0\xff\xd5" + scan
        ),
        "JPEG, 2,000 scans of one component": lambda: _scans(
            jpeg, 2000, lambda scan: scan[scan.index(b"\xff\xda") :]
        ),
        "JPEG, arithmetic coding": lambda: _process(jpeg, 0xCA) + bytes(_BODY),
        "JPEG, lossless": lambda: _process(jpeg, 0xC3),
        "JPEG, height told later (DNL)": lambda: _height(jpeg, 0),
        "JPEG of 65,535 x 65,535 px": lambda: _height(jpeg, 65535, 65535),
        "JPEG, 2,500,000 empty segments": lambda: _after(jpeg, _filled(b"\xff\xe3\0\2")),
        "JPEG, 800,000 pieces of EXIF": lambda: _after(jpeg, _filled(b"\xff\xe1\0\x0aExif\0\0ab")),
        "JPEG, 10 MB of EXIF": lambda: _after(
            jpeg, _filled(b"\xff\xe1\xff\xffExif\0\0" + bytes(65527))
        ),
        "JPEG, 10 MB of quantization": lambda: _after(
            jpeg, _filled(b"\xff\xdb\xff\xcf" + b"\0" * 65485)
        ),
        "JPEG, 10 MB of fill bytes": lambda: _after(jpeg, _filled(b"\xff")),
        "JPEG, 10 MB of escaped bytes": lambda: _after(jpeg, _filled(b"\xff\0")),
        "JPEG, 10 MB between segments": lambda: _after(jpeg, _filled(b"\0")),
    }


def legal() -> Mapping[str, Callable[[], bytes]]:
    """The slowest files within the limits that we could think of."""
    noise = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
    grey = np.full((_SIDE, _SIDE, 3), 90, np.uint8)
    return {
        "JPEG, noise": lambda: saved(noise, "JPEG", quality=60),
        "JPEG, progressive noise, 4:4:4": lambda: saved(
            noise, "JPEG", quality=30, progressive=True, subsampling="4:4:4"
        ),
        "JPEG, 100 scans, 4:4:4": lambda: _scans(
            saved(grey, "JPEG", progressive=True, subsampling="4:4:4"), 90
        ),
        "JPEG, 100 scans with noise, 4:4:4": lambda: _scans(
            saved(noise, "JPEG", quality=20, progressive=True, subsampling="4:4:4"), 2
        ),
        "PNG, 1 bit": lambda: png(grey[..., :1] % 2, 1, 0),
        "PNG, 16 bit, alpha, Paeth": _paeth,
        "PNG, 16 bit, alpha, interlaced": lambda: png(
            np.repeat(grey.astype(np.uint16) * 257, 2, axis=2)[..., :4], 16, 6, interlaced=True
        ),
        "PNG, 8 x 2,097,152 px": lambda: png(np.zeros((2**21, 8, 4), np.uint8), 8, 6),
        "PNG, 2,097,152 x 8 px": lambda: png(np.zeros((8, 2**21, 4), np.uint8), 8, 6),
        "WebP, lossless, 65,536 codes": lambda: many_codes(_SIDE),
        "WebP, noise": lambda: saved(noise, "WEBP", quality=40, method=0),
        "WebP, lossless noise": lambda: saved(
            noise[:1800, :1800], "WEBP", lossless=True, quality=0, method=0
        ),
        "WebP, lossless, alpha": lambda: saved(
            np.dstack([grey, grey[..., :1]]), "WEBP", lossless=True, quality=0, method=0
        ),
    }


def timed(address: str) -> list[str]:
    """Time all, in this process and as calls; print a table, return what took too long.

    The time of a call is told without that of a call which carries as many bytes for nothing.
    """
    violations = []
    with grpc.insecure_channel(address) as channel:
        stub: Any = LatentSpaceServiceStub(channel)
        print(f"\n{'bomb, the slowest of 20':38} {'bytes':>10} {'decode ms':>10} {'call ms':>8}")
        for name, make in bombs().items():
            data = make()
            # What it takes to carry so many bytes, refused on sight.
            carried_ms = median(_call_ms(stub, bytes(len(data))) for _ in range(_TRIES))
            for _ in range(_ROUNDS):
                found = max(_decode_ms(data) for _ in range(_TRIES))
                call = max(_call_ms(stub, data) for _ in range(_TRIES)) - carried_ms
                if max(found, call) <= MAX_BOMB_MS:
                    break
            else:
                violations.append(f"{name}: {found:.1f} ms, {call:.1f} ms as a call")
            print(f"{name:38} {len(data):10} {found:10.1f} {call:8.1f}", flush=True)
    print(f"\n{'slow, but allowed':38} {'bytes':>10} {'decode ms':>10}")
    for name, make in legal().items():
        data = make()
        found = _decode_ms(data, must=True)
        print(f"{name:38} {len(data):10} {found:10.0f}", flush=True)
        if found > 1e3 * MAX_LEGAL_S:
            violations.append(f"{name}: {found:.0f} ms")
    return violations


def _decode_ms(data: bytes, *, must: bool = False) -> float:
    """Work of this thread: other work of the machine is not the decoder's."""
    started_s = time.thread_time()
    try:
        decode(data, **LIMITS)
    except WstarError:
        if must:
            raise
    return 1e3 * (time.thread_time() - started_s)


def _call_ms(stub: Any, data: bytes) -> float:  # noqa: ANN401
    request = pb.EmbedRequest(faces=[pb.Face(picture=pb.Picture(data=data))])
    started_s = time.perf_counter()
    with suppress(grpc.RpcError):
        stub.Embed(request, timeout=60)
    return 1e3 * (time.perf_counter() - started_s)


def _gigabyte() -> bytes:
    """Deflated zeros, the checksum at their end left out: nobody should come that far."""
    deflate = zlib.compressobj(9)
    start = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return start + block * 1023


def _declared(width: int, height: int, pixels: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _filled(piece: bytes) -> bytes:
    """As many pieces as one picture may hold."""
    return piece * (_BODY // len(piece))


def _with(file: bytes, piece: bytes, count: int | None = None) -> bytes:
    """Put chunks behind the header of a PNG."""
    at = 8 + 25
    most = _BODY // len(piece)
    return file[:at] + piece * (most if count is None else min(most, count)) + file[at:]


def _tags() -> bytes:
    """EXIF whose every tag points at the same large block."""
    count, block = 65535, 8 * 2**20
    at = 8 + 2 + 12 * count + 4
    tags = b"".join(struct.pack("<HHII", 0x8000 + i // 2, 7, block, at) for i in range(count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + tags + bytes(4 + block)


def _canvas(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff(b"VP8X", b"\x02\0\0\0" + sides)


def _webp_frame() -> bytes:
    picture = saved(smooth(), "WEBP", lossless=True, quality=0)[12:]
    return riff(b"ANMF", bytes(6) + bytes((19, 0, 0, 23, 0, 0)) + bytes(4) + picture[:46])


def _scans(file: bytes, count: int, change: Callable[[bytes], bytes] = lambda scan: scan) -> bytes:
    """Repeat the last scan of a progressive JPEG, with its tables."""
    tables, end = file.rindex(b"\xff\xc4"), file.rindex(b"\xff\xd9")
    return file[:end] + change(file[tables:end]) * count + file[end:]


def _after(file: bytes, piece: bytes) -> bytes:
    """Put bytes behind the first segment of a JPEG."""
    at = 4 + int.from_bytes(file[4:6], "big")
    return file[:at] + piece + file[at:]


def _process(file: bytes, marker: int) -> bytes:
    return file.replace(b"\xff\xc2", bytes((0xFF, marker)), 1)


def _height(file: bytes, height: int, width: int = 20) -> bytes:
    at = file.index(b"\xff\xc2") + 5
    return file[:at] + struct.pack(">HH", height, width) + file[at + 4 :]


def _paeth() -> bytes:
    file = png(np.zeros((8, 8, 4), np.uint8), 16, 6)
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 16, 6, 0, 0, 0)
    rows = zlib.compress((b"\4" + bytes(8 * _SIDE)) * _SIDE)
    return file[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
