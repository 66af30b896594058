"""Damage to picture files: bits, runs, whole chunks and segments, lengths, splices of two files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random

_EDGES = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xD8, 0xDA, 0xFE, 0xFF)
_LENGTHS = (0, 1, 2, 3, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_PNG = b"\x89PNG\r\n\x1a\n"
# What a file of this length at most costs to send ten thousand times.
_MOST_BYTES = 2**18


def mutated(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Damage one of the files in one to eight ways; checksums of a PNG are mostly repaired."""
    data = random.choice(seeds)
    for _ in range(random.choice((1, 1, 1, 1, 2, 3, 8))):
        data = random.choice(_OPERATIONS)(random, data, random.choice(seeds))[:_MOST_BYTES]
    if data.startswith(_PNG) and random.random() < 0.8:
        data = repaired(data)
    if data.startswith(b"RIFF") and random.random() < 0.8:
        data = b"RIFF" + struct.pack("<I", max(0, len(data) - 8)) + data[8:]
    return data


def repaired(data: bytes) -> bytes:
    """Write the right checksum into each PNG chunk, so that damage reaches the decoder."""
    found = [_PNG]
    for part in parts(data)[1:]:
        whole = len(part) >= 12
        found.append(part[:-4] + struct.pack(">I", zlib.crc32(part[4:-4])) if whole else part)
    return b"".join(found)


def parts(data: bytes) -> list[bytes]:
    """Cut a file into signature and chunks or segments; their concatenation is the file."""
    if data.startswith(_PNG):
        return _cut(data, 8, lambda at: 12 + int.from_bytes(data[at : at + 4], "big"))
    if data.startswith(b"RIFF"):
        return _cut(data, 12, lambda at: 9 + int.from_bytes(data[at + 4 : at + 8], "little") & ~1)
    return _cut(data, 2, lambda at: _segment(data, at))


def _cut(data: bytes, at: int, length: Callable[[int], int]) -> list[bytes]:
    found = [data[:at]]
    while at < len(data):
        end = at + max(1, length(at))
        found.append(data[at:end])
        at = end
    return found


def _segment(data: bytes, at: int) -> int:
    """Length of a JPEG segment, or of coded data up to the next marker."""
    if data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"\xd9", b""):
        return 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    found = data.find(b"\xff", at + 1)
    while found >= 0 and data[found + 1 : found + 2] in (b"\0", *_RESTARTS):
        found = data.find(b"\xff", found + 1)
    return (len(data) if found < 0 else found) - at


_RESTARTS = tuple(bytes([0xD0 + i]) for i in range(8))


def _flip(random: Random, data: bytes, other: bytes) -> bytes:
    if not data:
        return other
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 4, 16))):
        found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def _edge(random: Random, data: bytes, other: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + bytes([random.choice(_EDGES)]) + data[at + 1 :]


def _run(random: Random, data: bytes, other: bytes) -> bytes:
    at, length = random.randrange(len(data) + 1), random.randrange(1, 40)
    run = random.choice((random.randbytes(length), bytes([random.choice(_EDGES)]) * length))
    return data[:at] + run + data[at + random.choice((0, length)) :]


def _delete(random: Random, data: bytes, other: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + data[at + random.randrange(1, 40) :]


def _repeat(random: Random, data: bytes, other: bytes) -> bytes:
    at, length = random.randrange(len(data) + 1), random.randrange(1, 200)
    return data[:at] + data[at : at + length] * random.choice((2, 3, 40)) + data[at + length :]


def _truncate(random: Random, data: bytes, other: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _length(random: Random, data: bytes, other: bytes) -> bytes:
    """Overwrite what may be a length or a size."""
    at, size = random.randrange(len(data) + 1), random.choice((2, 3, 4))
    value = random.choice(_LENGTHS) & (1 << 8 * size) - 1
    return data[:at] + value.to_bytes(size, random.choice(("big", "little"))) + data[at + size :]


def _header(random: Random, data: bytes, other: bytes) -> bytes:
    """Change one byte where dimensions, depths and flags stand."""
    at = random.randrange(min(len(data), 64) + 1)
    return data[:at] + bytes([random.choice((*_EDGES, random.randrange(256)))]) + data[at + 1 :]


def _part(random: Random, data: bytes, other: bytes) -> bytes:
    """Repeat, delete, swap or take from another file whole chunks or segments."""
    cut, foreign = parts(data), parts(other)
    i, j = random.randrange(len(cut)), random.randrange(len(cut))
    choice = random.randrange(5)
    if choice == 0:
        cut[i:i] = [cut[j]] * random.choice((1, 2, 50))
    elif choice == 1:
        del cut[i]
    elif choice == 2:
        cut[i], cut[j] = cut[j], cut[i]
    elif choice == 3:
        cut.insert(i, random.choice(foreign))
    else:
        cut[i] = random.choice(foreign)
    return b"".join(cut)


def _splice(random: Random, data: bytes, other: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


_OPERATIONS = (
    _flip,
    _flip,
    _edge,
    _run,
    _delete,
    _repeat,
    _truncate,
    _length,
    _header,
    _part,
    _part,
    _splice,
)
