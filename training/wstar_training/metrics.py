"""Figures of an evaluation, from plain arrays: order and error of distances, DCI, corrections."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bools = NDArray[np.bool_]


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
    """

    pairs: Int64
    triplets: Int64


def draw_trials(count: int, rounds: int, seed: int) -> Trials:
    """Random pairs and triplets; in each of the `rounds` every picture is used at most once."""
    random = np.random.default_rng(seed)
    orders = [random.permutation(count) for _ in range(rounds)]
    pairs = [order[: count // 2 * 2].reshape(-1, 2) for order in orders]
    triplets = [order[: count // 3 * 3].reshape(-1, 3) for order in orders]
    return Trials(np.concatenate(pairs), np.concatenate(triplets))


def best_scale(found: Float64, wanted: Float64) -> float:
    """The factor c that minimises the mean of (c·found − wanted)²."""
    return float(np.sum(found * wanted) / max(np.sum(found**2), np.finfo(np.float64).tiny))


def two_alternative(found: Float64, wanted: Float64, weights: Float64 | None = None) -> float:
    """2AFC: share of triplets whose nearer candidate `found` names as `wanted` does; (Q, 2) both.

    A tie in `found` counts half.
    """
    nearer, truth = found[:, 0] - found[:, 1], wanted[:, 0] - wanted[:, 1]
    right = np.where(nearer == 0, 0.5, (nearer < 0) == (truth < 0))
    return float(np.average(right, weights=weights))


def pearson(found: Float64, wanted: Float64, weights: Float64 | None = None) -> float:
    """Correlation of two lists; 0 where one of them is constant."""
    x = found - np.average(found, weights=weights)
    y = wanted - np.average(wanted, weights=weights)
    spread = np.average(x * x, weights=weights) * np.average(y * y, weights=weights)
    return float(np.average(x * y, weights=weights) / np.sqrt(spread)) if spread > 0 else 0.0


def error_std(found: Float64, wanted: Float64, weights: Float64 | None = None) -> float:
    """Standard deviation of found − wanted."""
    error = found - wanted
    return float(
        np.sqrt(np.average((error - np.average(error, weights=weights)) ** 2, weights=weights))
    )


def bootstrap(
    statistic: Callable[[Float64 | None], float], members: Int64, count: int, seed: int
) -> Interval:
    """A statistic with its 95 % interval, redrawing pictures rather than pairs of pictures.

    Parameters
    ----------
    statistic: from weights (P,) of its terms, None for all equal, to the figure.
    members: (P, 2) or (P, 3), the pictures of each term; count: number of pictures.
    """
    random = np.random.default_rng(seed)
    figures = []
    for _ in range(_BOOTSTRAPS):
        drawn = np.bincount(random.integers(count, size=count), minlength=count)
        weights = drawn[members].prod(axis=1).astype(np.float64)
        if weights.any():
            figures.append(statistic(weights))
    low, high = np.quantile(figures, (0.025, 0.975))
    return Interval(statistic(None), float(low), float(high))


_BOOTSTRAPS = 300


def disentanglement(importance: Float64) -> float:
    """D of DCI (Eastwood & Williams 2018): 1 − entropy of each code's factors, weighted by use.

    `importance` is (codes, factors), 0 or more. Codes of no use weigh nothing.
    """
    used = importance[importance.sum(1) > 0]
    if not len(used):
        return 0.0
    each = 1.0 - _entropy(used, used.shape[1])
    return float(np.average(each, weights=used.sum(1)))


def completeness(importance: Float64) -> float:
    """C of DCI: 1 − entropy of each factor's codes, the plain mean over factors that any tells."""
    told = importance.T[importance.sum(0) > 0]
    return float(np.mean(1.0 - _entropy(told, told.shape[1]))) if len(told) else 0.0


def _entropy(rows: Float64, base: int) -> Float64:
    """Entropy of each row as a distribution, in units of its largest possible value."""
    shares = rows / rows.sum(1, keepdims=True)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(1) / np.log(base))


def mcnemar(right_first: Bools, right_second: Bools) -> float:
    """Two-sided exact p-value that two classifiers err equally often; bool (N,) per test face."""
    first_only = int((right_first & ~right_second).sum())
    second_only = int((right_second & ~right_first).sum())
    differing = first_only + second_only
    rarer = min(first_only, second_only)
    # Integers of any size, divided last: exact where floats would underflow.
    tail = sum(math.comb(differing, k) for k in range(rarer + 1))
    return min(1.0, float(2 * tail / 2**differing))


def holm(p_values: Float64) -> Float64:
    """Holm's correction: p-values adjusted for their number, (K,)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted
