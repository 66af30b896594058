"""Nearest codes: the same distances and the same order as looking at every pair."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wstar import neighbors
from wstar.errors import InvalidInput
from wstar.geometry import squared_distance, squared_distance_matrix
from wstar.neighbors import nearest

Codes = NDArray[Any]

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from([np.float16, np.float32])


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Any:  # noqa: ANN401
    """Blocks of 5 codes of 3 x 8 and of 4 queries, so that small lists cross their borders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbors, "_BLOCK_BYTES", 5 * 24 * 8)
        patch.setattr(neighbors, "_QUERIES", 4)
        yield


def drawn(rng: np.random.Generator, count: int, dtype: type) -> Codes:
    return np.asarray(10 + rng.normal(size=(count, 3, 8)), dtype)


def sorted_pairs(queries: Codes, codes: Codes) -> tuple[Any, Any]:
    """Every code for every query, by distance, then by position."""
    squared = squared_distance(queries[:, None], codes)
    order = np.argsort(squared, axis=1, kind="stable")
    return order, np.take_along_axis(squared, order, axis=1)


@given(SEEDS, st.integers(0, 9), st.integers(1, 30), DTYPES, DTYPES, st.data())
def test_the_nearest_are_those_of_all_pairs(
    seed: int, asked: int, stored: int, of_queries: type, of_codes: type, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    queries, codes = drawn(rng, asked, of_queries), drawn(rng, stored, of_codes)
    count = data.draw(st.integers(1, stored))
    indices, squared = nearest(queries, codes, count)
    assert indices.dtype == np.int64 and squared.dtype == np.float64
    order, sorted_squared = sorted_pairs(queries, codes)
    np.testing.assert_array_equal(indices, order[:, :count])
    np.testing.assert_array_equal(squared, sorted_squared[:, :count])
    matrix = squared_distance_matrix(queries, codes)
    # The matrix is computed by a product, whose rounding differs.
    np.testing.assert_allclose(squared, np.take_along_axis(matrix, indices, 1), rtol=1e-10)


@given(SEEDS, st.integers(1, 24))
def test_equally_near_codes_come_in_their_order(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    different = drawn(rng, 3, np.float32)
    codes = different[rng.integers(0, 3, size=24)]
    queries = np.concatenate([drawn(rng, 2, np.float32), codes[:2]])
    indices, squared = nearest(queries, codes, count)
    order, sorted_squared = sorted_pairs(queries, codes)
    np.testing.assert_array_equal(indices, order[:, :count])
    np.testing.assert_array_equal(squared, sorted_squared[:, :count])
    assert not squared[2:, 0].any()


def test_codes_that_are_no_numbers_come_last() -> None:
    codes = drawn(np.random.default_rng(1), 12, np.float32)
    codes[[0, 7]] = np.nan
    codes[3, 1, 1] = np.inf
    indices, squared = nearest(codes[4:6], codes, 12)
    assert indices[:, -3:].tolist() == [[3, 0, 7]] * 2
    assert np.isinf(squared[:, -3]).all() and np.isnan(squared[:, -2:]).all()
    assert nearest(codes[:1], codes, 12)[0].tolist() == [list(range(12))]


def test_codes_mapped_from_a_file_are_never_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbors, "_BLOCK_BYTES", 100 * 18 * 512 * 8)
    codes = np.random.default_rng(2).normal(size=(1000, 18, 512)).astype(np.float16)
    np.save(tmp_path / "codes.npy", codes)
    mapped = np.load(tmp_path / "codes.npy", mmap_mode="r")
    expected = nearest(codes[:3], codes, 4)
    tracemalloc.start()
    found = nearest(mapped[:3], mapped, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, expected)
    # 100 codes and 3 queries in float64 are 7.6 MB, in a list of 73.7 MB.
    assert peak < 20e6


@pytest.mark.parametrize("count", [0, -1, 4])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(InvalidInput, match="count: found .*, allowed: 1 to 3"):
        nearest(np.zeros((1, 3, 8)), np.zeros((3, 3, 8)), count)


@pytest.mark.parametrize("shape", [(3, 8), (2, 3, 7)])
def test_queries_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput):
        nearest(np.zeros(shape), np.zeros((3, 3, 8)), 1)
