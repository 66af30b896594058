"""Linear read-outs fitted by logistic regression, and C, the classifiers frozen while T trains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow

# Up to here a Hessian is cheaper than many gradients.
_DENSE = 1024
_STEPS = 1000

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Readout:
    """Logits y·weightᵀ + bias of coordinates y (N, r): float64 weight (K, r), bias (K,)."""

    weight: Float64
    bias: Float64

    def logits(self, y: NDArray[np.floating]) -> Float64:
        """Logits (N, K) of coordinates (N, r)."""
        return np.asarray(y.astype(np.float64) @ self.weight.T + self.bias)


def fit_readout(y: NDArray[np.floating], attributes: Bools, penalty: float | Float64) -> Readout:
    """Fit K logistic regressions with L2 penalty from zero.

    Parameters
    ----------
    y: (N, r), coordinates. attributes: (N, K).
    penalty: weight of ‖a‖²/2 against the mean (not the sum) of the N cross entropies; one for
    all, or (K,).

    An attribute that all or none of the faces have gets zero weights and its base rate.
    """
    y = y.astype(np.float64)
    basis = None
    if len(y) < y.shape[1]:
        # The fit lies in the span of the codes: in its coordinates it is the same and far smaller.
        basis, coordinates = np.linalg.qr(y.T)
        y = coordinates.T
    solver = "newton-cholesky" if y.shape[1] <= _DENSE else "lbfgs"
    weights, biases = [], []
    each = np.broadcast_to(penalty, attributes.shape[1])
    for wanted, strength in zip(attributes.T, each, strict=True):
        if wanted.all() or not wanted.any():
            weights.append(np.zeros(y.shape[1]))
            biases.append(base_rate_logit(wanted))
            continue
        model = LogisticRegression(C=1.0 / (strength * len(y)), solver=solver, max_iter=_STEPS)
        model.fit(y, wanted)
        weights.append(model.coef_[0])
        biases.append(float(model.intercept_[0]))
    weight = np.stack(weights)
    return Readout(weight if basis is None else weight @ basis.T, np.array(biases))


def base_rate_logit(wanted: Bools) -> float:
    """Logit of the share of True, counted with half a face more on either side."""
    positives = float(wanted.sum())
    return float(np.log((positives + 0.5) / (len(wanted) - positives + 0.5)))


def on_codes(readout: Readout, flow: Flow) -> Classifiers:
    """The same read-out of whole codes of the flow's space: A = a·B/σ, b = bias − A·μ.

    Outside the flow's basis A is exactly zero: no component that no code ever varied along.
    """
    if flow.basis is None:
        weight = readout.weight / float(flow.std)
    else:
        weight = readout.weight @ flow.basis.double().numpy() / float(flow.std)
    bias = readout.bias - weight @ flow.mean.double().flatten().numpy()
    return Classifiers(torch.from_numpy(weight).float(), torch.from_numpy(bias).float())


def on_coordinates(classifiers: Classifiers, flow: Flow) -> Readout:
    """Undo `on_codes`."""
    weight = classifiers.weight.double()
    bias = classifiers.bias.double() + weight @ flow.mean.double().flatten()
    if flow.basis is not None:
        weight = weight @ flow.basis.double().T
    return Readout((weight * float(flow.std)).numpy(), bias.numpy())
