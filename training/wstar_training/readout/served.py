"""The served read-out of a space: calibrated hyperplanes, refitted there, and its file.

What is served is not C: C was fitted in W+ and T was trained to please it. Here A and b are
fitted in the space itself, on codes T was not trained on, and calibration is folded into them, so
that sigmoid(A·w_star + b) is a probability and directions, logits and Gram matrix are one matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from wstar.space import QUANTILES
from wstar_training import checkpoint
from wstar_training.evaluation.metrics import draw_trials
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow
from wstar_training.readout.fitted import Bools, Float64, Readout, base_rate_logit, fit_readout

_FOLDS = 5


def platt(logits: Float64, wanted: Bools) -> tuple[float, float]:
    """Scale and offset under which sigmoid(scale·logit + offset) is a probability (Platt 1999).

    `logits` (N,) must come from codes the read-out was not fitted on. A scale of 0, and the
    offset of the base rate, mean that the logits tell nothing.
    """
    if wanted.any() and not wanted.all():
        model = LogisticRegression(C=np.inf, solver="newton-cholesky").fit(logits[:, None], wanted)
        if model.coef_[0, 0] > 0:
            return float(model.coef_[0, 0]), float(model.intercept_[0])
    return 0.0, base_rate_logit(wanted)


def calibrated_readout(
    y: NDArray[np.floating], attributes: Bools, penalty: float | Float64
) -> Readout:
    """Fit K logistic regressions and fold their calibration in.

    The calibration is fitted on logits of faces left out: each fifth by the other four.

    Parameters
    ----------
    y: (N, r), coordinates in the space. attributes: (N, K). penalty: as in `fit_readout`.
    """
    left_out = np.empty(attributes.shape)
    fold = np.arange(len(y)) % _FOLDS
    for part in range(_FOLDS):
        readout = fit_readout(y[fold != part], attributes[fold != part], penalty)
        left_out[fold == part] = readout.logits(y[fold == part])
    readout = fit_readout(y, attributes, penalty)
    cards = [platt(z, wanted) for z, wanted in zip(left_out.T, attributes.T, strict=True)]
    scale, offset = np.array(cards).T
    return Readout(readout.weight * scale[:, None], readout.bias * scale + offset)


def latent_distances(flow: Flow, y: NDArray[np.floating], pairs: NDArray[np.int64]) -> Float64:
    """D* (eq. 1) of pairs (..., 2) of codes given by their coordinates (N, r) in W*."""
    difference = y[pairs[..., 0]].astype(np.float64) - y[pairs[..., 1]]
    squared = (difference.reshape(*pairs.shape[:-1], -1) ** 2).sum(-1)
    return np.asarray(squared * float(flow.std) ** 2 / flow.mean.numel())


def distance_quantiles(flow: Flow, y: NDArray[np.floating], seed: int = 0) -> Float64:
    """D* of random pairs at 0, 1, ... 100 %, float64 (101,)."""
    pairs = draw_trials(len(y), 10, seed).pairs
    return np.asarray(np.quantile(latent_distances(flow, y, pairs), np.linspace(0, 1, QUANTILES)))


def save_readout(
    path: Path,
    classifiers: Classifiers,
    quantiles: Float64,
    perceptual_scale: float,
    labels: Mapping[str, str],
    evaluation: Mapping[str, float],
) -> None:
    """Write what is served of a space beside its flow."""
    content = {
        "weight": classifiers.weight,
        "bias": classifiers.bias,
        "quantiles": torch.from_numpy(quantiles),
        "perceptual_scale": perceptual_scale,
        "labels": dict(labels),
        "evaluation": dict(evaluation),
    }
    checkpoint.save(path, content)


def load_readout(path: Path) -> Classifiers:
    """The calibrated read-out of a file written by `save_readout`."""
    content = checkpoint.load(path)
    return Classifiers(content["weight"], content["bias"])
