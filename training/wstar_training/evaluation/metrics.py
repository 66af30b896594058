"""Figures of an evaluation, from plain arrays: order and error of distances, their intervals.

A figure with an interval is an array of rows: row 0 is the figure itself, every other row the same
figure after the pictures were drawn again with replacement. Rows of two spaces belong to the same
draws, so their difference is paired.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

REDRAWS = 300
# Pictures that are compared with each other; their features fit into memory together.
_GROUP = 64


@dataclass(frozen=True)
class Interval:
    """A figure with the 2.5 and 97.5 % quantiles of its bootstrap."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Trials:
    """Which pictures are compared: pairs int64 (P, 2), and triplets int64 (Q, 3) of one picture
    and the two candidates whose nearer one is asked for.

    groups: disjoint pictures; no pair and no triplet reaches from one group into another.
    """

    pairs: Int64
    triplets: Int64
    groups: tuple[Int64, ...]

    def first(self, pairs: int, triplets: int) -> Trials:
        """The first of the pairs and of the triplets."""
        return Trials(self.pairs[:pairs], self.triplets[:triplets], self.groups)


def draw_trials(count: int, rounds: int, seed: int) -> Trials:
    """Random pairs and triplets; in each of the `rounds` every picture is used at most once.

    Groups are drawn first: every pair of pictures is as likely as any other.
    """
    random = np.random.default_rng(seed)
    groups = np.array_split(random.permutation(count), max(1, math.ceil(count / _GROUP)))
    pairs, triplets = [], []
    for _ in range(rounds):
        for group in groups:
            order = random.permutation(group)
            pairs.append(order[: len(order) // 2 * 2].reshape(-1, 2))
            triplets.append(order[: len(order) // 3 * 3].reshape(-1, 3))
    return Trials(np.concatenate(pairs), np.concatenate(triplets), tuple(groups))


def redraw(members: Int64, count: int, seed: int) -> Float64:
    """Weights of terms under redraws of `count` pictures, (1 + REDRAWS, P); row 0 is all ones.

    `members` (P, m) are the pictures of each term: a term weighs as often as all of them are
    drawn together. Pictures are redrawn rather than terms, for terms that share one depend on it.
    """
    random = np.random.default_rng(seed)
    weights = np.ones((1 + REDRAWS, len(members)))
    for row in weights[1:]:
        drawn = np.bincount(random.integers(count, size=count), minlength=count)
        row[:] = drawn[members].prod(axis=1)
    return weights


def quotient(a: Float64, b: Float64) -> Float64:
    """Quotient a / b, NaN where b is not above 0: a figure that a redraw cannot have."""
    b = np.broadcast_to(b, a.shape)
    return np.asarray(np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0))


def averages(weights: Float64, terms: Float64) -> Float64:
    """Weighted means of terms (P,) or (P, k) by row of weights (R, P); NaN where none weighs."""
    return quotient((weights @ terms).T, weights.sum(1)).T


def interval(rows: Float64) -> Interval:
    """The figure in row 0 with its interval; redraws that could not be measured are left out."""
    drawn = rows[1:][np.isfinite(rows[1:])]
    if not len(drawn):
        return Interval(float(rows[0]), float(rows[0]), float(rows[0]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(float(rows[0]), float(low), float(high))


def best_scale(found: Float64, wanted: Float64) -> float:
    """The factor c that minimises the mean of (c·found − wanted)²."""
    return float(np.sum(found * wanted) / max(np.sum(found**2), np.finfo(np.float64).tiny))


def right_order(found: Float64, wanted: Float64) -> Float64:
    """The answer of `found` to each triplet, (Q,) of 0, ½ or 1; both are distances (Q, 2).

    (d0 < d1)·(1 − j) + (d1 < d0)·j + ½·(d0 = d1) of LPIPS, j = 1 where `wanted` says that candidate
    1 is nearer, ½ where it says that they are equally near.
    """
    first, second = found.T
    j = 0.5 + 0.5 * np.sign(wanted[:, 0] - wanted[:, 1])
    return np.asarray((first < second) * (1 - j) + (second < first) * j + 0.5 * (first == second))


def two_alternative(found: Float64, wanted: Float64) -> float:
    """2AFC: share of triplets (Q, 2) whose nearer candidate `found` names as `wanted` does."""
    return float(right_order(found, wanted).mean())


def pearson(found: Float64, wanted: Float64) -> float:
    """Correlation of two lists; 0 where one of them is constant."""
    if np.ptp(found) == 0 or np.ptp(wanted) == 0:
        return 0.0
    return float(np.corrcoef(found, wanted)[0, 1])


def mcnemar(right_first: Bools, right_second: Bools) -> float:
    """Two-sided exact p-value that two classifiers err equally often; bool (N,) per test face."""
    first_only = int((right_first & ~right_second).sum())
    second_only = int((right_second & ~right_first).sum())
    if first_only + second_only == 0:
        return 1.0
    return float(binomtest(first_only, first_only + second_only).pvalue)


def holm(p_values: Float64) -> Float64:
    """Holm's correction: p-values adjusted for their number, (K,)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted
