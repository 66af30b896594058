"""The evaluation of one space: the columns of the paper's Table 1, and what stands beside them.

Codes that trained T, that fit a probe and that are asked about are disjoint. Every figure of fresh
codes has beside it the same figure on codes T was trained on: only the first says what T does; the
difference says how far it has learned its codes by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor

from wstar.geometry import sigmoid
from wstar_training.evaluation.agreement import Distances, Drawn, distance_rows, margin_bands
from wstar_training.evaluation.dci import Dci, dci
from wstar_training.evaluation.metrics import (
    Interval,
    Trials,
    averages,
    best_scale,
    interval,
    quotient,
    redraw,
    right_order,
)
from wstar_training.evaluation.probes import Faces, Scores
from wstar_training.learning.loop import round_trip_error
from wstar_training.models.flow import Flow
from wstar_training.models.perceptual import Judge
from wstar_training.readout.fitted import Readout

Float64 = NDArray[np.float64]
Pictures = Callable[[NDArray[np.int64]], Tensor]
Rows = Mapping[str, Float64]

# The paper's counts (section 4): pairs of Mean and STD, codes of DCI, four fifths of them to fit.
PAPER_PAIRS = 600
_DCI_FIT, _DCI_TEST = 1600, 400
_DCI_DRAWS = 5

_BATCH = 16
_CALIBRATION_BINS = 10
_ROUND_TRIP_CODES = 1000
_PAIRS_AT_ONCE = 500


def as_figure(rows: Float64) -> dict[str, float]:
    """Rows of a figure as value, low and high."""
    return asdict(interval(rows))


@torch.no_grad()
def perceptual_distances(judge: Judge, pictures: Pictures, trials: Trials) -> Distances:
    """What the judge says of trials; `pictures` maps rows to a batch.

    Group by group: features of a picture may take 15 MB.
    """
    candidates = _candidates(trials)
    pairs, both = np.empty(len(trials.pairs)), np.empty(candidates.shape[:2])
    for group in trials.groups:
        features = _features(judge, pictures, group)
        place = dict(zip(group.tolist(), range(len(group)), strict=True))
        for found, members in ((pairs, trials.pairs), (both, candidates)):
            for index in np.argwhere(np.isin(members[..., 0], group)):
                a, b = members[tuple(index)]
                difference = features[place[int(a)]] - features[place[int(b)]]
                found[tuple(index)] = difference.square().sum().item()
    return Distances(pairs, both)


def _features(judge: Judge, pictures: Pictures, rows: NDArray[np.int64]) -> Tensor:
    """All features of some pictures side by side, float32 (N, F)."""
    features: Tensor | None = None
    for start in range(0, len(rows), _BATCH):
        batch = torch.cat(judge.features(pictures(rows[start : start + _BATCH])), 1)
        if features is None:
            features = torch.empty(len(rows), batch.shape[1])
        features[start : start + _BATCH] = batch
    assert features is not None
    return features


def _candidates(trials: Trials) -> NDArray[np.int64]:
    """The two pairs of each triplet, (Q, 2, 2)."""
    return np.stack([trials.triplets[:, [0, 1]], trials.triplets[:, [0, 2]]], 1)


def point_distances(points: NDArray[np.floating], trials: Trials, unit: float) -> Distances:
    """unit·‖a − b‖² of trials among points (N, m)."""

    def distances(pairs: NDArray[np.int64]) -> Float64:
        flat = pairs.reshape(-1, 2)
        parts = np.array_split(flat, max(1, len(flat) // _PAIRS_AT_ONCE))
        squared = []
        for some in parts:
            difference = points[some[:, 0]] - points[some[:, 1]]
            squared.append(np.einsum("ij,ij->i", difference, difference, dtype=np.float64))
        return unit * np.concatenate(squared).reshape(pairs.shape[:-1])

    return Distances(distances(trials.pairs), distances(_candidates(trials)))


@torch.no_grad()
def space_distances(flow: Flow, w: Tensor, trials: Trials) -> Distances:
    """D* (eq. 1) of trials among codes w (N, n, 512): the mean over all numbers of T(w)."""
    w_star = (flow(w) - flow.mean).flatten(1).numpy()
    return point_distances(w_star, trials, 1.0 / flow.mean.numel())


def distance_figures(
    found: Distances, wanted: Distances, drawn: Drawn, baseline: float
) -> tuple[dict[str, Any], Rows]:
    """How well distances imitate the perceptual ones, with intervals; and the rows they come from.

    The names are those of `agreement.distance_rows`. Beside them: `scale`, the best single factor
    on D*; `mean_wanted`, the mean of d; `paper`, Mean and STD over the first 600 pairs; `bands`,
    2AFC by margin |d0 − d1| in units of the mean of d.
    """
    rows = distance_rows(found, wanted, drawn, baseline)
    unit = float(wanted.pairs.mean())
    error = found.pairs[:PAPER_PAIRS] - wanted.pairs[:PAPER_PAIRS]
    right = rows["two_alternative"][0]
    figures: dict[str, Any] = {name: as_figure(value) for name, value in rows.items()}
    figures |= {
        "scale": best_scale(found.pairs, wanted.pairs),
        "mean_wanted": unit,
        "paper": {
            "pairs": len(error),
            "mean": float(error.mean()),
            "std": float(error.std()),
            "two_alternative": float(right),
        },
        "bands": _bands(found, wanted, drawn, unit),
    }
    return figures, rows


def _bands(found: Distances, wanted: Distances, drawn: Drawn, unit: float) -> list[dict[str, Any]]:
    right = right_order(found.candidates, wanted.candidates)
    return [
        {
            "from": band.low,
            "to": band.high,
            "triplets": int(band.which.sum()),
            "two_alternative": as_figure(
                averages(drawn.triplets[:, band.which], right[band.which])
            ),
        }
        for band in margin_bands(wanted.candidates, unit)
    ]


def over_faces(values: Float64, seed: int = 0) -> Interval:
    """The mean of one number per face, with its interval."""
    faces = np.arange(len(values))[:, None]
    return interval(averages(redraw(faces, len(values), seed), values))


def mean_scores(found: Scores) -> Rows:
    """Averages over attributes by redraw; attributes that a draw cannot score are left out."""
    return {
        "avg": _finite_mean(found.accuracy),
        "balanced": _finite_mean(found.balanced),
        "auc": _finite_mean(found.auc),
    }


def _finite_mean(rows: Float64) -> Float64:
    known = np.isfinite(rows)
    return quotient(np.where(known, rows, 0.0).sum(1), known.sum(1))


def score_figures(found: Scores) -> dict[str, Any]:
    """Minimum, maximum and average accuracy over attributes, as in Table 1, and fairer averages.

    min and max are those of one attribute, whose number stands beside.
    """
    worst, best = int(found.accuracy[0].argmin()), int(found.accuracy[0].argmax())
    return {
        "min": as_figure(found.accuracy[:, worst]),
        "min_attribute": worst,
        "max": as_figure(found.accuracy[:, best]),
        "max_attribute": best,
        **{name: as_figure(rows) for name, rows in mean_scores(found).items()},
    }


def dci_draws(fit: Faces, test: Faces) -> list[Dci]:
    """DCI on the paper's 2000 codes, four fifths of them to fit, in up to 5 disjoint draws.

    One draw, of everything, where there are fewer codes.
    """
    count = min(len(fit) // _DCI_FIT, len(test) // _DCI_TEST, _DCI_DRAWS)
    if count == 0:
        return [dci(fit.rows(slice(_DCI_FIT)), test.rows(slice(_DCI_TEST)))]
    return [
        dci(
            fit.rows(slice(i * _DCI_FIT, (i + 1) * _DCI_FIT)),
            test.rows(slice(i * _DCI_TEST, (i + 1) * _DCI_TEST)),
        )
        for i in range(count)
    ]


def over_draws(values: Float64) -> dict[str, float | None]:
    """Mean of independent draws with Student's 95 % interval; none of a single draw."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return {"value": mean, "low": None, "high": None}
    half = float(student.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return {"value": mean, "low": mean - half, "high": mean + half}


def dci_rows(draws: list[Dci]) -> Rows:
    """Every figure of DCI by draw."""
    return {name: np.array([asdict(draw)[name] for draw in draws]) for name in asdict(draws[0])}


def readout_figures(readout: Readout, test: Faces) -> dict[str, float]:
    """The served read-out on fresh codes: accuracy, and how far its probabilities are off.

    calibration_error: mean over tenths of |probability − share of faces that have it|.
    """
    probability = sigmoid(readout.logits(test.y)).ravel()
    truth = test.attributes.ravel()
    bins = np.minimum((probability * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    gap = np.bincount(bins, probability - truth, _CALIBRATION_BINS)
    return {
        "accuracy": float(((probability > 0.5) == truth).mean()),
        "calibration_error": float(np.abs(gap).sum() / len(truth)),
    }


@torch.no_grad()
def conditioning(flow: Flow, w: Tensor) -> dict[str, float]:
    """Round trip in fp32 on codes w (N, n, 512), and the largest s-net standard deviation."""
    stds = [0.0]
    x = flow.coordinates(w)
    for coupling in flow.couplings:
        stds.append(coupling.s(x[..., coupling.kept]).std().item())  # type: ignore[operator, index]
        x = coupling(x)
    return {"round_trip": round_trip_error(flow, w[:_ROUND_TRIP_CODES]), "s_std": max(stds)}
