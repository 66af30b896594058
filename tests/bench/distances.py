"""Distances of stored codes beside the bare matrix product, in one run.

Codes are 18 x 512 with a mean of norm 300, as W+ has. The product starts from flat matrices that
are float64 (or float32) already; `wstar.geometry` starts from the codes as they are stored, and
answers in float64 either way. In every round each way runs once, in any order; medians are shown.
Extra memory is the peak beside codes and result, in a run of its own.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wstar.geometry import squared_distance_matrix
from wstar.tables import table

Codes = NDArray[Any]

SHAPES = ((1, 10_000), (1_000, 1_000))
ROUNDS = 11
# After a product, idle threads of OpenBLAS keep a CPU busy for 0.1 s, whoever else needs it.
_REST_S = 0.25
_AT_ONCE = 500


def main() -> None:
    """Print one row for each shape and stored type."""
    rows = [row for shape in SHAPES for row in measured(*shape)]
    threads = {name: os.environ[name] for name in os.environ if name.endswith("_NUM_THREADS")}
    print(f"{os.cpu_count()} CPUs, {threads or 'BLAS threads as it likes'}, numpy {np.__version__}")
    print(
        table(
            ["pairs", "stored", "ms", "f64 product", "f32 product", "of f64", "of f32", "extra"],
            rows,
        )
    )


def measured(a_count: int, b_count: int) -> list[list[str]]:
    """Rows of the table for one shape: codes stored as float32 and as float16."""
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(18, 512))
    mean *= 300 / np.linalg.norm(mean)
    stored = [(drawn(rng, mean, a_count), drawn(rng, mean, b_count))]
    stored.append((stored[0][0].astype(np.float16), stored[0][1].astype(np.float16)))
    single = [codes.reshape(len(codes), -1) for codes in stored[0]]
    double = [codes.astype(np.float64) for codes in single]
    ways: list[Callable[[], object]] = [
        lambda: double[0] @ double[1].T,
        lambda: single[0] @ single[1].T,
        *(lambda pair=pair: squared_distance_matrix(*pair) for pair in stored),
    ]
    took: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS + 1):
        # In an order drawn anew, because one way's leavings (caches, freed pages) cost the next.
        for which in rng.permutation(len(ways)):
            time.sleep(_REST_S)
            start = time.perf_counter()
            ways[which]()
            took[which].append(1e3 * (time.perf_counter() - start))
    # The first round fills caches.
    in_double, in_single, *ours = (median(times[1:]) for times in took)
    return [
        [
            f"{a_count:,} x {b_count:,}",
            str(pair[0].dtype),
            *(f"{ms:.1f}" for ms in (found, in_double, in_single)),
            *(f"{found / other:.2f} x" for other in (in_double, in_single)),
            f"{extra_bytes(*pair) / 2**20:.0f} MiB",
        ]
        for found, pair in zip(ours, stored, strict=True)
    ]


def drawn(rng: np.random.Generator, mean: NDArray[np.float64], count: int) -> Codes:
    """Draw float32 codes around the mean, a few hundred at a time."""
    codes = np.empty((count, *mean.shape), np.float32)
    for start in range(0, count, _AT_ONCE):
        part = codes[start : start + _AT_ONCE]
        part[...] = mean + 2 * rng.standard_normal(part.shape, np.float32)
    return codes


def extra_bytes(a: Codes, b: Codes) -> int:
    """Peak of what one call has allocated, less its result."""
    tracemalloc.start()
    found = squared_distance_matrix(a, b)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - found.nbytes


if __name__ == "__main__":
    main()
