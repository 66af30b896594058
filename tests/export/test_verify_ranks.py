"""Shares of order that survive: what they say of orders whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wstar_export.ranks import choice_loss, distances, kendall_loss, neighbour_loss

LOSSES = (kendall_loss, neighbour_loss, choice_loss)


def symmetric(values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    result = np.zeros((n, n))
    result[np.triu_indices(n, 1)] = values
    return result + result.T


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_is_lost_where_only_the_scale_changes(loss: type) -> None:
    d = distances(np.random.default_rng(0).normal(size=(30, 2, 512)).astype(np.float32))
    assert loss(d, 3.0 * d) == 0.0


def test_reversed_order_loses_all() -> None:
    d = symmetric(np.random.default_rng(0).permutation(20 * 19 // 2).astype(np.float64) + 1, 20)
    assert kendall_loss(d, np.where(d > 0, 1.0 / np.maximum(d, 1.0), 0.0)) == 2.0
    assert choice_loss(d, np.where(d > 0, 1.0 / np.maximum(d, 1.0), 0.0)) == 1.0


@given(st.data(), st.integers(3, 14))
def test_kendall_counts_what_every_pair_says(data: st.DataObject, n: int) -> None:
    """Against the definition, over all pairs of pairs; few values, so that many are equal."""
    pairs = n * (n - 1) // 2
    values = st.lists(st.integers(1, 40), min_size=pairs, max_size=pairs)
    a, b = (np.asarray(data.draw(values), np.float64) for _ in range(2))
    wrong = sum(
        (a[i] - a[j]) * (b[i] - b[j]) < 0 for i, j in itertools.combinations(range(pairs), 2)
    )
    found = kendall_loss(symmetric(a, n), symmetric(b, n))
    # 1e-12: one division.
    assert found == pytest.approx(2.0 * wrong / (pairs * (pairs - 1) / 2), abs=1e-12)


def test_kendall_of_many_pairs_agrees_with_the_definition() -> None:
    """More pairs than one block of the sort holds."""
    generator = np.random.default_rng(1)
    a = generator.permutation(40 * 39 // 2).astype(np.float64)
    b = a + generator.normal(0, 50, len(a))
    wrong = np.triu(np.subtract.outer(a, a) * np.subtract.outer(b, b) < 0).sum()
    tau_loss = 2.0 * wrong / (len(a) * (len(a) - 1) / 2)
    assert kendall_loss(symmetric(a, 40), symmetric(b, 40)) == pytest.approx(tau_loss, abs=1e-12)


def test_neighbours_that_change_places_among_the_ten_are_not_lost() -> None:
    codes = np.zeros((12, 1, 512), np.float32)
    codes[:, 0, 0] = 2.0 ** np.arange(12)
    d = distances(codes)
    # Ten of eleven others: the farthest is the only one left out, and swapped for the nearest.
    found = d.copy()
    found[0, 1], found[0, 11] = d[0, 11], d[0, 1]
    assert neighbour_loss(d, found) == pytest.approx(1 / 120)
    found = d.copy()
    found[0, 1], found[0, 5] = d[0, 5], d[0, 1]
    assert neighbour_loss(d, found) == 0.0
