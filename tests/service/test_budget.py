"""The search for the share of an edit that a budget allows, on curves of many kinds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wstar_service.budget import MAX_ROUNDS, within


@dataclass
class Measured:
    """A result of which only the distance matters."""

    squared_distance_moved: float


def searched(
    moved: Callable[[float], float], budget: float
) -> tuple[float, Measured | None, list[float]]:
    """Search the share of one edit that moves as `moved` says; also return what was tried."""
    tried: list[float] = []

    async def measure(positions: Sequence[int], shares: Sequence[float]) -> list[Measured]:
        assert list(positions) == [0]
        tried.extend(shares)
        return [Measured(moved(share)) for share in shares]

    ((share, result),) = asyncio.run(within(budget, [Measured(moved(1.0))], measure))
    return share, result, tried


def exploding(rate: float) -> Callable[[float], float]:
    """Distances that leave float64 for large rates."""

    def moved(share: float) -> float:
        return math.expm1(rate * share) ** 2 if rate * share < 350 else math.inf

    return moved


@given(
    curve=st.one_of(
        st.builds(lambda p: lambda s: s**p, st.floats(0.5, 8)),
        st.builds(lambda a, p: lambda s: s * s + 10**a * s**p, st.floats(-6, 6), st.floats(2, 12)),
        st.builds(lambda k: lambda s: math.tanh(k * s) ** 2, st.floats(0.01, 3)),
        st.builds(lambda k: exploding(10**k), st.floats(-2, 3)),
    ),
    tightness=st.floats(-8, -0.001),
)
def test_the_search_uses_99_percent_of_any_budget(
    curve: Callable[[float], float], tightness: float
) -> None:
    whole = curve(1.0)
    budget = (whole if math.isfinite(whole) else 1e4) * 10**tightness
    assume(budget > 1e-300)
    share, result, tried = searched(curve, budget)
    assert result is not None
    assert 0 < share < 1
    assert result.squared_distance_moved == curve(share)
    assert 0.99 * budget <= result.squared_distance_moved <= budget
    assert len(tried) <= MAX_ROUNDS


def test_where_distance_is_euclid_one_measure_is_enough() -> None:
    _, _, tried = searched(lambda share: 7.0 * share * share, 1e-3)
    assert len(tried) == 1


@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        (lambda share: 1e-13 + share**2, 0.0),  # A round trip that is worse than the budget.
        (lambda share: math.nan, 0.0),
        (lambda share: 0.0 if share < 0.3 else 1.0, 0.3),  # A jump: no share uses the budget up.
    ],
)
def test_a_search_without_a_good_share_keeps_to_the_budget(
    moved: Callable[[float], float], expected: float
) -> None:
    share, result, tried = searched(moved, 1e-15)
    assert len(tried) == MAX_ROUNDS
    assert share == pytest.approx(expected, abs=0.01)
    assert (result is None) == (share == 0)
    assert result is None or result.squared_distance_moved <= 1e-15


def test_results_inside_the_budget_are_left_alone_and_the_others_measured_together() -> None:
    rounds: list[list[int]] = []

    async def measure(positions: Sequence[int], shares: Sequence[float]) -> list[Measured]:
        rounds.append(list(positions))
        return [
            Measured((i * share) ** (1 + i)) for i, share in zip(positions, shares, strict=True)
        ]

    whole = [Measured(float(i) ** (1 + i)) for i in range(5)]
    found = asyncio.run(within(1.0, whole, measure))
    assert found[:2] == [(1.0, whole[0]), (1.0, whole[1])]
    assert all(0.99 <= result.squared_distance_moved <= 1 for _, result in found[2:] if result)
    assert rounds[0] == [2, 3, 4]
