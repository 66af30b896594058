"""Clusters of codes: what is promised about each, whatever the codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wstar import clusters
from wstar.clusters import Labels, into, within
from wstar.errors import InvalidInput, LimitExceeded
from wstar.geometry import squared_distance_matrix

Codes = NDArray[Any]

SEEDS = st.integers(0, 2**32 - 1)
# Distances by product differ from each other in the last digits.
ROUNDING = 1 + 1e-9


def drawn(seed: int, count: int, dtype: type = np.float32) -> Codes:
    return np.random.default_rng(seed).normal(size=(count, 3, 8)).astype(dtype)


def blobs(seed: int) -> tuple[Codes, Labels]:
    """Twelve codes around one place and seven around another, mixed, with the right labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], [12, 7]))
    places = 50 * rng.normal(size=(2, 3, 8))
    return (places[labels] + rng.normal(size=(19, 3, 8))).astype(np.float32), labels


def partition(labels: Labels) -> set[frozenset[int]]:
    """Groups without their numbers."""
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


def assert_ordered(labels: Labels) -> None:
    """Labels are 0, 1, ...: largest first, then by first member."""
    assert labels.dtype == np.int64
    numbers, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    assert numbers.tolist() == list(range(len(numbers)))
    order = list(zip((-sizes).tolist(), first.tolist(), strict=True))
    assert order == sorted(order)


@given(SEEDS, st.integers(1, 40), st.floats(0, 6))
def test_no_two_of_a_group_are_too_far_apart_and_no_two_groups_fit_together(
    seed: int, count: int, limit: float
) -> None:
    codes = drawn(seed, count)
    labels = within(codes, limit)
    assert_ordered(labels)
    apart = squared_distance_matrix(codes, codes)
    groups = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    for i, group in enumerate(groups):
        assert apart[np.ix_(group, group)].max() <= limit * ROUNDING
        for other in groups[:i]:
            assert apart[np.ix_(group, other)].max() > limit / ROUNDING


@given(SEEDS, st.floats(0.5, 4))
def test_groups_do_not_depend_on_the_order_of_codes(seed: int, limit: float) -> None:
    codes = drawn(seed, 25)
    order = np.random.default_rng(seed).permutation(25)
    shuffled = within(codes[order], limit)
    restored = np.empty_like(shuffled)
    restored[order] = shuffled
    assert partition(restored) == partition(within(codes, limit))


@settings(max_examples=20)
@given(SEEDS)
def test_two_separate_blobs_are_found(seed: int) -> None:
    codes, labels = blobs(seed)
    # Two normal codes are 2 apart on average; the places some thousands.
    np.testing.assert_array_equal(within(codes, 10.0), labels)
    np.testing.assert_array_equal(into(codes, 2, seed), labels)


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 12))
def test_means_give_the_same_groups_for_the_same_seed(seed: int, count: int) -> None:
    codes = drawn(seed, 12, np.float16)
    labels = into(codes, count, seed)
    assert_ordered(labels)
    assert len(partition(labels)) == count
    np.testing.assert_array_equal(labels, into(codes, count, seed))


def test_equal_codes_share_a_group() -> None:
    codes = np.repeat(drawn(1, 4), [1, 3, 2, 1], axis=0)
    # Of the two alone, the earlier one comes first.
    expected = [2, 0, 0, 0, 1, 1, 3]
    assert within(codes, 0.0).tolist() == expected
    # More groups than codes that differ: there are as many as can be.
    assert into(codes, 6, 0).tolist() == expected


def test_a_limit_is_part_of_what_is_allowed() -> None:
    codes = np.zeros((2, 3, 8))
    codes[1] = 2.0
    assert within(codes, 4.0).tolist() == [0, 0]
    assert within(codes, 3.999).tolist() == [0, 1]
    assert within(codes, np.inf).tolist() == [0, 0]


def test_pairs_in_blocks_are_those_of_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = drawn(3, 30)
    monkeypatch.setattr(clusters, "_AT_ONCE", 7)
    upper = squared_distance_matrix(codes, codes)[np.triu_indices(30, 1)]
    np.testing.assert_allclose(clusters._pairs(codes), upper, rtol=1e-12)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_cannot_be_grouped_is_refused(wrong: float) -> None:
    codes = drawn(4, 5)
    with pytest.raises(LimitExceeded, match="20001 codes, allowed: at most 20000"):
        within(np.zeros((20_001, 1, 1), np.float16), 1.0)
    for limit in (-1.0, float("nan")):
        with pytest.raises(InvalidInput, match="squared_distance"):
            within(codes, limit)
    for count in (0, 6):
        with pytest.raises(InvalidInput, match="count.*1 to 5"):
            into(codes, count, 0)
    with pytest.raises(InvalidInput, match="seed"):
        into(codes, 2, -1)
    codes[3, 1, 2] = wrong
    for broken in (codes, codes[0], codes[:0]):
        with pytest.raises(InvalidInput, match="codes"):
            within(broken, 1.0)
        with pytest.raises(InvalidInput, match="codes"):
            into(broken, 1, 0)
