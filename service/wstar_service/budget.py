"""The largest share of an edit that a budget of squared distance allows, found by measuring."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

MAX_ROUNDS = 12
# A result scaled down uses at least this part of the budget; the search aims at the middle.
LEAST_USED = 0.99
_AIM = 0.995
# How far to go back from where the graphs overflow and nothing can be measured.
_OVERFLOW_STEP = math.log(1e3)


class Moved(Protocol):
    """A result of an edit; not finite where the graphs overflowed."""

    @property
    def squared_distance_moved(self) -> float:
        """How far the face moved."""


Result = TypeVar("Result", bound=Moved)
Measure = Callable[[Sequence[int], Sequence[float]], Awaitable[Sequence[Result]]]


async def within(
    budget: float, whole: Sequence[Result], measure: Measure[Result]
) -> list[tuple[float, Result | None]]:
    """Scale down each result that moves farther than `budget`.

    Parameters
    ----------
    budget: largest squared distance, above 0.
    whole: what whole edits gave, each measured.
    measure: makes edits again: positions in `whole` and the share of each, below 1, to measured
        results. All that need another round are asked for together.

    Returns per edit its share, and the result measured with it: share 1 for one inside the
    budget; else the share whose result uses 99 to 100 % of the budget; where 12 rounds find none,
    because the measure is too coarse or jumps, the largest share found that keeps the budget; and
    share 0 with None where none does.
    """
    searches = {
        i: _Search(budget, result)
        for i, result in enumerate(whole)
        if not result.squared_distance_moved <= budget
    }
    for _ in range(MAX_ROUNDS):
        open_ = [i for i, search in searches.items() if not search.done]
        if not open_:
            break
        results = await measure(open_, [searches[i].next_share() for i in open_])
        for i, result in zip(open_, results, strict=True):
            searches[i].found(result)
    return [
        (searches[i].share, searches[i].best) if i in searches else (1.0, result)
        for i, result in enumerate(whole)
    ]


class _Search(Generic[Result]):
    """Looks for the share of one edit, between one inside the budget and one beyond it.

    In logarithms, where distance grows about twice as fast as the share: a straight line near
    the face, and smooth far from it. `excess` is the logarithm of distance over aim.
    """

    def __init__(self, budget: float, whole: Result) -> None:
        self.best: Result | None = None
        self.share = 0.0
        self.done = False
        self._budget = budget
        self._asked = 0.0
        self._outside, self._outside_excess = 0.0, self._excess(whole)
        self._inside = self._inside_excess = -math.inf
        # How many results in a row fell outside, or (negative) inside.
        self._run = 0

    def next_share(self) -> float:
        """Propose a share, between the two known ones."""
        self._asked = self._inner() if self.best is None else self._between()
        return math.exp(self._asked)

    def found(self, result: Result) -> None:
        """Take in what was measured with the proposed share."""
        moved, excess = result.squared_distance_moved, self._excess(result)
        # An end that stays where it is counts less and less, or the line would pivot around it.
        if moved <= self._budget:
            self._outside_excess /= 2.0 if self._run < 0 else 1.0
            self._run = min(self._run, 0) - 1
            self._inside, self._inside_excess = self._asked, excess
            self.best, self.share = result, math.exp(self._asked)
            self.done = moved >= LEAST_USED * self._budget
        else:
            self._inside_excess /= 2.0 if self._run > 0 else 1.0
            self._run = max(self._run, 0) + 1
            self._outside, self._outside_excess = self._asked, excess

    def _inner(self) -> float:
        """Go back as far as the budget says; farther each time, should the measure be flat."""
        if not math.isfinite(self._outside_excess):
            return self._outside - _OVERFLOW_STEP
        return self._outside - self._outside_excess / 2 * 2.0**self._run

    def _between(self) -> float:
        """Where a straight line between the two ends meets the aim."""
        low, high = self._inside, self._outside
        below, above = self._inside_excess, self._outside_excess
        if not (math.isfinite(below) and math.isfinite(above)):
            return (low + high) / 2
        return low + (high - low) * below / (below - above)

    def _excess(self, result: Result) -> float:
        moved = result.squared_distance_moved
        if not math.isfinite(moved):
            return math.inf
        return math.log(moved) - math.log(_AIM * self._budget) if moved > 0 else -math.inf
