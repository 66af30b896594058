"""The evaluation of one space: the columns of the paper's Table 1, on codes no network has seen.

Every figure of fresh codes has beside it the same figure on codes T was trained on: only the
first says what T does; the difference says how far it has learned its codes by heart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wstar.geometry import sigmoid
from wstar_training.directions import latent_distances
from wstar_training.loop import round_trip_error
from wstar_training.metrics import (
    Interval,
    Trials,
    best_scale,
    bootstrap,
    error_std,
    pearson,
    two_alternative,
)
from wstar_training.models.flow import Flow
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.pretrain import Readout
from wstar_training.probes import Faces, SvmResult, dci, svm

Float64 = NDArray[np.float64]
Pictures = Callable[[NDArray[np.int64]], Tensor]

_BATCH = 50
_CALIBRATION_BINS = 10
_ROUND_TRIP_CODES = 1000


@dataclass(frozen=True)
class Distances:
    """Distances of trials: of its pairs, float64 (P,), and of its candidates, (Q, 2)."""

    pairs: Float64
    candidates: Float64


@torch.no_grad()
def perceptual_distances(
    judge: PerceptualDistance, pictures: Pictures, count: int, trials: Trials
) -> Distances:
    """What the judge says of trials among `count` pictures; `pictures` maps rows to a batch."""
    features: NDArray[np.float32] | None = None
    for start in range(0, count, _BATCH):
        rows = np.arange(start, min(start + _BATCH, count))
        batch = torch.cat(judge.features(pictures(rows)), 1).numpy()
        if features is None:
            features = np.empty((count, batch.shape[1]), np.float32)
        features[rows] = batch
    assert features is not None

    def distances(pairs: NDArray[np.int64]) -> Float64:
        pieces = np.array_split(pairs, max(1, len(pairs) // 500))
        return np.concatenate(
            [((features[p[:, 0]] - features[p[:, 1]]) ** 2).sum(1) for p in pieces]
        ).astype(np.float64)

    first, second = trials.triplets[:, [0, 1]], trials.triplets[:, [0, 2]]
    return Distances(distances(trials.pairs), np.stack([distances(first), distances(second)], 1))


def space_distances(flow: Flow, y: NDArray[np.floating], trials: Trials) -> Distances:
    """D* (eq. 1) of trials among codes given by their coordinates y (N, r) in W*."""
    candidates = np.stack([trials.triplets[:, [0, 1]], trials.triplets[:, [0, 2]]], 1)
    return Distances(latent_distances(flow, y, trials.pairs), latent_distances(flow, y, candidates))


def distance_figures(
    found: Distances, wanted: Distances, trials: Trials, count: int
) -> dict[str, Any]:
    """How well distances imitate the perceptual ones: each figure with its 95 % interval.

    mean, std: of D* − d. std_rescaled: the same after the best single factor on D*, `scale`.
    mean_wanted: mean of d, the size to compare them with.
    two_alternative: 2AFC over triplets. pearson: correlation over pairs.
    """
    scale = best_scale(found.pairs, wanted.pairs)
    scaled = scale * found.pairs

    def mean(weights: Float64 | None) -> float:
        return float(np.average(found.pairs - wanted.pairs, weights=weights))

    def over_pairs(statistic: Callable[[Float64 | None], float]) -> dict[str, float]:
        return asdict(bootstrap(statistic, trials.pairs, count, seed=0))

    return {
        "mean": over_pairs(mean),
        "std": over_pairs(lambda v: error_std(found.pairs, wanted.pairs, v)),
        "std_rescaled": over_pairs(lambda v: error_std(scaled, wanted.pairs, v)),
        "scale": scale,
        "mean_wanted": float(wanted.pairs.mean()),
        "pearson": over_pairs(lambda v: pearson(found.pairs, wanted.pairs, v)),
        "two_alternative": asdict(
            bootstrap(
                lambda v: two_alternative(found.candidates, wanted.candidates, v),
                trials.triplets,
                count,
                seed=0,
            )
        ),
    }


def over_faces(values: Float64, seed: int = 0) -> Interval:
    """The mean of one number per face, with its interval."""

    def mean(weights: Float64 | None) -> float:
        return float(np.average(values, weights=weights))

    return bootstrap(mean, np.arange(len(values))[:, None], len(values), seed)


def svm_figures(result: SvmResult) -> dict[str, Any]:
    """Minimum, maximum and average over attributes, as in Table 1, and fairer scores beside."""
    accuracy = result.accuracy
    return {
        "min": float(accuracy.min()),
        "max": float(accuracy.max()),
        "avg": asdict(over_faces(result.right.mean(1))),
        "balanced": float(np.nanmean(result.balanced)),
        "auc": float(np.nanmean(result.auc)),
    }


def attribute_figures(
    probe: Faces, test: Faces, trained: Faces
) -> tuple[dict[str, Any], SvmResult]:
    """SVM and DCI on fresh codes, and the SVM fitted and tested on codes T was trained on."""
    fresh = svm(probe, test)
    half = len(trained) // 2
    train = svm(trained.rows(slice(0, half)), trained.rows(slice(half, None)))
    figures = {
        "svm": svm_figures(fresh),
        "svm_train": svm_figures(train),
        "dci": asdict(dci(probe, test)),
    }
    return figures, fresh


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
