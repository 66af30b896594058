"""A lossless WebP written by hand that has as many Huffman codes as the format allows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tests.load.fuzz_seeds import riff, webp

_GROUPS = 65536
# Tiles of 4 x 4 px choose their group of five codes.
_TILE_BITS = 2


def many_codes(side: int) -> bytes:
    """A square picture of `side` px, black: every tile of 4 x 4 px has codes of its own."""
    header = _bits(0x2F, 8) + _bits(side - 1, 14) + _bits(side - 1, 14) + [0] + _bits(0, 3)
    # No transform, no colour cache, tiles with codes of their own.
    header += [0, 0, 1] + _bits(_TILE_BITS - 2, 3)
    # The picture that numbers the groups: no colour cache; red and green are spelled in 8 bits.
    one_symbol = [1, 0, 0, 0]
    header += [0] + _eight_bits(280) + _eight_bits(256) + 3 * one_symbol
    tiles = (side >> _TILE_BITS) ** 2
    number = np.arange(tiles) % _GROUPS
    pixels = np.concatenate([_reversed(number & 255), _reversed(number >> 8)], axis=1)
    groups = np.tile(np.array(5 * one_symbol, np.uint8), _GROUPS)
    stream = np.concatenate([np.array(header, np.uint8), pixels.ravel(), groups])
    return webp(riff(b"VP8L", np.packbits(stream, bitorder="little").tobytes() + bytes(8)))


def _bits(value: int, count: int) -> list[int]:
    return [value >> i & 1 for i in range(count)]


def _eight_bits(symbols: int) -> list[int]:
    """A code in which the first 256 symbols take 8 bits each, and the others do not occur."""
    # Of the lengths of lengths, in the order of the format, those of 0 (third) and 8 (twelfth).
    lengths = [bit for i in range(12) for bit in _bits(int(i in (2, 11)), 3)]
    return [0, *_bits(8, 4), *lengths, 0] + [1] * 256 + [0] * (symbols - 256)


def _reversed(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Codes of 8 bits, highest bit first."""
    return (values[:, None] >> np.arange(7, -1, -1) & 1).astype(np.uint8)
