"""Codes of any number type worked on as float64, in blocks: bounded memory.

For a product a block is copied, then worked on in place, because numpy's mixed-type arithmetic is
twice as slow; 32 codes of 18 x 512 are 2.3 MiB. Direct differences are NumKong's: it widens float32
to float64 in registers, reading memory once, where numpy would read and write it four times.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numkong
import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.floating]
Float64 = NDArray[np.float64]

BUFFER_BYTES = 32 * 18 * 512 * 8
# Reading memory is what takes the time, and more threads read no faster.
_MOST_THREADS = 8
# Starting threads costs as much as this many blocks.
_FEWEST_BLOCKS = 4


def blocks(count: int, most: int) -> list[slice]:
    """Cut `count` items into as few slices as hold at most `most` each, of about equal size."""
    parts = -(-count // max(1, most))
    return [slice(i * count // parts, (i + 1) * count // parts) for i in range(parts)]


def codes_in(nbytes: int, shape: tuple[int, ...]) -> int:
    """How many codes of `shape` fit as float64 into so many bytes: at least one."""
    return max(1, nbytes // max(1, 8 * int(np.prod(shape))))


def centred(codes: Codes, centre: Float64, buffer: Float64) -> tuple[Float64, Float64]:
    """Write `codes` - `centre` into the first rows of `buffer`, blocks of them in threads.

    Returns float64 (N, M), a view of the buffer, and float64 (N,): their squared lengths.
    """
    lengths = np.empty(len(codes))

    def work(waiting: Iterator[slice]) -> None:
        for rows in waiting:
            lengths[rows] = _squared_lengths(buffer[rows], codes[rows], centre)

    _in_threads(work, blocks(len(codes), codes_in(BUFFER_BYTES, centre.shape)))
    return buffer[: len(codes)].reshape(len(codes), -1), lengths


def paired(
    count: int,
    shape: tuple[int, ...],
    left: Callable[[slice], Codes],
    right: Callable[[slice], Codes],
) -> Float64:
    """Latent distances of `count` pairs by direct differences, blocks of them in threads.

    Parameters
    ----------
    shape: (n, 512), the shape of a code.
    left, right: the codes of the pairs of a slice, (N, n, 512); `right` may give (1, n, 512), one
        code for all.

    Returns float64 (count,): 0 or more, and exactly 0 between equal codes.
    """
    found = np.empty(count)

    def work(waiting: Iterator[slice]) -> None:
        for rows in waiting:
            _squared_differences(left(rows), right(rows), found[rows])

    _in_threads(work, blocks(count, codes_in(BUFFER_BYTES, shape)))
    found /= np.prod(shape)
    return found


def _squared_differences(left: Codes, right: Codes, found: Float64) -> None:
    """Write ‖left - right‖² of N pairs into `found`, (N,)."""
    wide = np.float32 if np.result_type(left, right, np.float32) == np.float32 else np.float64
    numkong.sqeuclidean(_flat(left, wide), _flat(right, wide), out=found)


def _flat(codes: Codes, wide: type[np.floating]) -> Codes:
    """Codes as (N, M) in the type `wide`, float32 or float64, which NumKong adds up in float64."""
    flat = codes.reshape(len(codes), -1)
    if flat.dtype == np.float16 and wide is np.float32:
        # numpy takes ten times as long.
        return np.asarray(numkong.astype(flat, "float32"))
    return np.ascontiguousarray(flat, wide)


def _squared_lengths(buffer: Float64, left: Codes, right: Codes) -> Float64:
    """‖left - right‖² of N codes, (N,); the differences stay in the first N rows of `buffer`."""
    difference = buffer[: len(left)]
    # Beyond float64 the answer is infinity, and without one it is NaN: neither is an accident.
    with np.errstate(over="ignore", invalid="ignore"):
        difference[...] = left
        difference -= right
        # N products of a row with itself: of the ways to do it, this lets other threads run.
        flat = difference.reshape(len(left), 1, -1)
        return np.asarray((flat @ flat.transpose(0, 2, 1))[:, 0, 0])


def _in_threads(work: Callable[[Iterator[slice]], None], parts: Sequence[slice]) -> None:
    """Let each thread take the next part while there is one; all have been done on return."""
    threads = min(_MOST_THREADS, _cpus(), len(parts))
    if len(parts) < _FEWEST_BLOCKS or threads == 1:
        work(iter(parts))
        return
    waiting: SimpleQueue[slice | None] = SimpleQueue()
    for part in (*parts, *[None] * threads):
        waiting.put(part)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: work(iter(waiting.get, None)), range(threads)))


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
