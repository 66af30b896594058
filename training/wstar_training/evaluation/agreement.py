"""How well distances imitate others: every figure over pairs and triplets, for all redraws at once.

Rows are those of `metrics`: row 0 is the figure, the others are its redraws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from wstar_training.evaluation.metrics import (
    Trials,
    averages,
    best_scale,
    quotient,
    redraw,
    right_order,
)

Float64 = NDArray[np.float64]
Rows = Mapping[str, Float64]

BANDS = 5


@dataclass(frozen=True)
class Distances:
    """Distances of trials: of its pairs, float64 (P,), and of its candidates, (Q, 2)."""

    pairs: Float64
    candidates: Float64


@dataclass(frozen=True)
class Drawn:
    """Trials among `count` pictures, and how often each is drawn in every redraw."""

    trials: Trials
    count: int
    seed: int

    @cached_property
    def pairs(self) -> Float64:
        """Weights of the pairs, (R, P)."""
        return redraw(self.trials.pairs, self.count, self.seed)

    @cached_property
    def triplets(self) -> Float64:
        """Weights of the triplets, (R, Q)."""
        return redraw(self.trials.triplets, self.count, self.seed)


@dataclass(frozen=True)
class Moments:
    """Means, variances and covariance of found and wanted distances, each (R,)."""

    found: Float64
    wanted: Float64
    found_variance: Float64
    wanted_variance: Float64
    covariance: Float64

    def mean(self, scale: float = 1.0) -> Float64:
        """Mean of scale·found − wanted."""
        return scale * self.found - self.wanted

    def std(self, scale: float = 1.0) -> Float64:
        """Standard deviation of scale·found − wanted."""
        variance = (
            scale**2 * self.found_variance - 2 * scale * self.covariance + self.wanted_variance
        )
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    def correlation(self) -> Float64:
        """Pearson's."""
        variances = np.maximum(self.found_variance * self.wanted_variance, 0.0)
        return quotient(self.covariance, np.sqrt(variances))

    def explained(self, scale: float = 1.0) -> Float64:
        """R²: 1 − mean of (scale·found − wanted)² / variance of wanted."""
        squared = self.mean(scale) ** 2 + self.std(scale) ** 2
        return 1.0 - quotient(squared, self.wanted_variance)


def moments(found: Float64, wanted: Float64, weights: Float64) -> Moments:
    """Moments of lists (P,) under weights (R, P)."""
    # Centred first: variances are small against squared means.
    f, d = found - found.mean(), wanted - wanted.mean()
    mf, md, ff, fd, dd = averages(weights, np.stack([f, d, f * f, f * d, d * d], 1)).T
    return Moments(mf + found.mean(), md + wanted.mean(), ff - mf * mf, dd - md * md, fd - mf * md)


def distance_rows(found: Distances, wanted: Distances, drawn: Drawn, baseline: float) -> Rows:
    """Rows of every figure; errors are D* − d, D* the distance found and d the one wanted.

    mean, std: of the error as it is; with `_rescaled`, after the best single factor on D*;
    with `_w_plus_scale`, after the factor `baseline`, which is best for W+.
    pearson, spearman, kendall: correlations over pairs.
    slope, intercept: of the least-squares line d = intercept + slope·D*; 1 and 0 are wanted.
    r2: 1 − mean squared error / variance of d, of D* as it is; r2_rescaled: after its best factor.
    two_alternative: 2AFC over triplets.
    """
    m = moments(found.pairs, wanted.pairs, drawn.pairs)
    own = best_scale(found.pairs, wanted.pairs)
    slope = quotient(m.covariance, m.found_variance)
    return {
        "mean": m.mean(),
        "std": m.std(),
        "mean_rescaled": m.mean(own),
        "std_rescaled": m.std(own),
        "mean_w_plus_scale": m.mean(baseline),
        "std_w_plus_scale": m.std(baseline),
        "pearson": m.correlation(),
        "spearman": spearman(found.pairs, wanted.pairs, drawn.pairs),
        "kendall": kendall(found.pairs, wanted.pairs, drawn.pairs),
        "slope": slope,
        "intercept": m.wanted - slope * m.found,
        "r2": m.explained(),
        "r2_rescaled": m.explained(own),
        "two_alternative": averages(
            drawn.triplets, right_order(found.candidates, wanted.candidates)
        ),
    }


def spearman(found: Float64, wanted: Float64, weights: Float64) -> Float64:
    """Pearson's correlation of the ranks among what each row draws, (R,)."""
    first, second = _Ranks(found), _Ranks(wanted)
    rows = []
    for row in weights:
        rows.append(moments(first.of(row), second.of(row), row[None]).correlation())
    return np.concatenate(rows)


class _Ranks:
    """Ranks of a list of which every entry may be there several times; ties share their mean."""

    def __init__(self, values: Float64) -> None:
        unique, self.group = np.unique(values, return_inverse=True)
        self.groups = len(unique)

    def of(self, weights: Float64) -> Float64:
        """Mean rank of each entry under weights (P,)."""
        total = np.bincount(self.group, weights, self.groups)
        return np.asarray((np.cumsum(total) - 0.5 * total)[self.group])


def kendall(found: Float64, wanted: Float64, weights: Float64) -> Float64:
    """Kendall's tau-b of what each row draws, (R,)."""
    rows = []
    for row in weights.astype(np.int64):
        a, b = np.repeat(found, row), np.repeat(wanted, row)
        rows.append(kendalltau(a, b).statistic if len(a) > 1 else np.nan)
    return np.array(rows)


@dataclass(frozen=True)
class Band:
    """Triplets of similar margin |d0 − d1|: which, and between what margins they lie."""

    which: NDArray[np.bool_]
    low: float
    high: float


def margin_bands(wanted: Float64, unit: float) -> list[Band]:
    """Quintiles of |d0 − d1| / unit over triplets (Q, 2), the hardest first; they leave none out.

    `unit` is the mean distance of random pairs.
    """
    margin = np.abs(wanted[:, 0] - wanted[:, 1]) / unit
    if not len(margin):
        return []
    edges = np.quantile(margin, np.linspace(0, 1, BANDS + 1))
    band = np.searchsorted(edges[1:-1], margin, side="right")
    return [Band(band == b, float(edges[b]), float(edges[b + 1])) for b in range(BANDS)]
