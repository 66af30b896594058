"""DCI (Eastwood & Williams 2018): disentanglement, completeness and informativeness of a space.

Importance R[c, k] of code c for factor k is the absolute weight of one Lasso per attribute. All
three depend on the axes: two spaces are compared along the same ones only.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso
from sklearn.preprocessing import StandardScaler

from wstar_training.evaluation.probes import Faces

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

LASSO_ALPHA = 0.02
_PASSES = 2000


def disentanglement(importance: Float64) -> float:
    """D = Σ_c ρ_c·(1 − H_K(R[c, :])), ρ_c the share of code c in all importance.

    `importance` is (codes, factors), 0 or more. A code of no use has no entropy (0/0) and the
    weight 0: it is left out.
    """
    used = importance[importance.sum(1) > 0]
    if not len(used):
        return 0.0
    return float(np.average(1.0 - _entropy(used), weights=used.sum(1)))


def completeness(importance: Float64) -> float:
    """C of the authors: the plain mean over factors of 1 − H(R[:, k]), factors that none tells
    left out.
    """
    told = importance.T[importance.sum(0) > 0]
    return float(np.mean(1.0 - _entropy(told))) if len(told) else 0.0


def weighted_completeness(importance: Float64) -> float:
    """C of disentanglement_lib: the mean weighted by each factor's share of all importance."""
    told = importance.T[importance.sum(0) > 0]
    return float(np.average(1.0 - _entropy(told), weights=told.sum(1))) if len(told) else 0.0


def _entropy(rows: Float64) -> Float64:
    """Entropy of each row as a distribution, in units of its largest possible value."""
    shares = rows / rows.sum(1, keepdims=True)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(1) / np.log(max(2, rows.shape[1])))


def relative_error(rmse: Float64, truth: Bools) -> Float64:
    """NRMSE of the authors' code: RMSE by the standard deviation of the truth, (K,).

    NaN where the truth (N, K) is constant.
    """
    std = truth.std(0)
    return np.asarray(np.divide(rmse, std, out=np.full(len(std), np.nan), where=std > 0))


@dataclass(frozen=True)
class Dci:
    """Disentanglement, completeness and informativeness of a space in the axes it was given.

    completeness is the authors', weighted_completeness that of disentanglement_lib.
    informativeness is an error, lower is better: the RMSE of 0/1 attributes, as the paper's
    numbers are; relative_error the same as NRMSE.
    """

    disentanglement: float
    completeness: float
    weighted_completeness: float
    informativeness: float
    relative_error: float


def dci(fit: Faces, test: Faces) -> Dci:
    """DCI by one Lasso per attribute (alpha 0.02 on standardised axes and targets).

    Attributes that all or none of the fitted faces have are left out.
    """
    scaler = StandardScaler().fit(fit.y)
    told = fit.attributes.std(0) > 0
    wanted, truth = fit.attributes[:, told], test.attributes[:, told]
    if not told.any():
        return Dci(0.0, 0.0, 0.0, float("nan"), float("nan"))
    mean, std = wanted.mean(0), wanted.std(0)
    model = Lasso(alpha=LASSO_ALPHA, precompute=len(fit) > fit.y.shape[1], max_iter=_PASSES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaler.transform(fit.y), (wanted - mean) / std)
    # One attribute gives a vector.
    importance = np.abs(np.atleast_2d(model.coef_)).T
    answers = model.predict(scaler.transform(test.y)).reshape(truth.shape) * std + mean
    rmse = np.sqrt(np.mean((answers - truth) ** 2, axis=0))
    relative = relative_error(rmse, truth)
    return Dci(
        disentanglement(importance),
        completeness(importance),
        weighted_completeness(importance),
        float(rmse.mean()),
        float(np.mean(relative[np.isfinite(relative)])) if np.isfinite(relative).any() else np.nan,
    )
