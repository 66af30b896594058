"""Distances of codes of full size: as precise as differences in float64, bounded in memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wstar import geometry
from wstar.geometry import squared_distance, squared_distance_matrix

Codes = NDArray[Any]
Float64 = NDArray[np.float64]

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from([np.float16, np.float32, np.float64])
MIB = 2**20


def drawn(seed: int, count: int, spread: float, dtype: type) -> Codes:
    """Codes around a mean of norm 300, as those of W+ are."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(18, 512))
    mean *= 300 / np.linalg.norm(mean)
    return np.asarray(mean + spread * rng.normal(size=(count, 18, 512)), dtype)


def reference(a: Codes, b: Codes) -> Float64:
    """Every pair by itself, in float64, as the formula is written."""
    pairs = [[np.mean((x - y) ** 2) for y in b.astype(np.float64)] for x in a.astype(np.float64)]
    return np.asarray(pairs, np.float64).reshape(len(a), len(b))


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 6), st.integers(1, 9), st.floats(-4, 1), DTYPES, DTYPES)
def test_a_long_mean_costs_no_precision(
    seed: int, rows: int, columns: int, exponent: float, of_a: type, of_b: type
) -> None:
    codes = drawn(seed, rows + columns, 10.0**exponent, np.float64)
    a: Codes = codes[:rows].astype(of_a)
    b: Codes = codes[rows:].astype(of_b)
    # A code and itself, and a code and its rounding to another type.
    b[-1] = codes[0]
    found = squared_distance_matrix(a, b)
    assert found.dtype == np.float64
    assert (found >= 0).all()
    np.testing.assert_array_equal(found[0, -1] == 0, (a[0] == b[-1]).all())
    # Twelve of float64's sixteen digits are left above the share where differences take over.
    np.testing.assert_allclose(found, reference(a, b), rtol=1e-9)
    np.testing.assert_allclose(squared_distance(a[:, None], b), reference(a, b), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_one_to_many_is_the_same_over_threads(dtype: type) -> None:
    # 320 codes are five blocks, enough for threads; no two blocks are alike.
    codes = drawn(1, 320, 2.0, dtype)
    expected = reference(codes[:1], codes)
    for found in (
        squared_distance_matrix(codes[:1], codes),
        squared_distance_matrix(codes, codes[:1]).T,
        squared_distance(codes[:1], codes)[None],
    ):
        assert found[0, 0] == 0
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("count", [1, 5])
def test_a_broken_code_falsifies_no_other_distance(broken: float, count: int) -> None:
    codes = drawn(2, 70, 1.0, np.float32)
    codes[[0, 66], 3, 7] = broken
    found = squared_distance_matrix(codes[-count:], codes)
    whole = np.setdiff1d(np.arange(70), [0, 66])
    for i, row in enumerate(found, start=70 - count):
        if i == 66:
            # Infinity less the same infinity is NaN.
            assert np.isnan(row[[0, 66]]).all()
            assert np.isnan(row[whole]).all() if np.isnan(broken) else np.isinf(row[whole]).all()
            continue
        assert np.isnan(row[[0, 66]]).all() if np.isnan(broken) else np.isinf(row[[0, 66]]).all()
        np.testing.assert_allclose(row[whole], reference(codes[[i]], codes[whole])[0], rtol=1e-9)


def extra_bytes(work: Callable[[], Float64]) -> int:
    """Peak of what a call allocates, less its result."""
    tracemalloc.start()
    try:
        result = work()
        return tracemalloc.get_traced_memory()[1] - result.nbytes
    finally:
        tracemalloc.stop()


def test_one_to_many_takes_a_buffer_for_each_cpu() -> None:
    codes: Codes = np.zeros((4000, 18, 512), np.float32)
    codes[:, 0, 0] = np.arange(4000)
    cpus = min(8, os.cpu_count() or 1)
    # The stated 10 MiB for each CPU; in float64 the codes are 281 MiB.
    assert extra_bytes(lambda: squared_distance_matrix(codes[:1], codes)) < cpus * 10 * MIB
    assert extra_bytes(lambda: squared_distance(codes[:1], codes)) < cpus * 10 * MIB
    assert extra_bytes(lambda: squared_distance(codes, codes)) < cpus * 10 * MIB
    found = squared_distance_matrix(codes[:1], codes)[0]
    np.testing.assert_allclose(found, np.arange(4000) ** 2 / 9216)


def test_many_to_many_takes_a_block_of_each_side() -> None:
    codes = np.random.default_rng(3).normal(size=(1300, 9, 512)).astype(np.float16)
    codes = np.concatenate([codes, codes[::-1]], axis=1)
    # The stated 320 MiB, of which two blocks of 72 are the most.
    assert extra_bytes(lambda: squared_distance_matrix(codes[:200], codes)) < 120 * MIB
    assert extra_bytes(lambda: squared_distance_matrix(codes, codes)) < 320 * MIB


def test_pairs_that_cancel_are_counted_in_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "_BLOCK_BYTES", 6 * MIB)
    near = drawn(4, 120, 1e-5, np.float64)
    far = near[:1] + 300.0
    codes = np.concatenate([near, np.repeat(far, 120, axis=0)])
    peak = extra_bytes(lambda: squared_distance_matrix(codes, codes))
    # Two blocks, and for each CPU both codes of 32 pairs, thrice.
    assert peak < (12 + 14 * min(8, os.cpu_count() or 1)) * MIB
    found = squared_distance_matrix(near, codes)
    np.testing.assert_allclose(found[:, :120], reference(near, near), rtol=1e-9)
