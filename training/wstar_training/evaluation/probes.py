"""Probes of attributes in a space: linear SVMs, and a free network that need not be linear.

Every probe is fitted on some codes and asked about others. Axes are standardised on the codes a
probe is fitted on, the same way in every space.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, nn
from torch.nn import functional

from wstar_training.evaluation.metrics import averages, quotient
from wstar_training.readout.fitted import Readout, fit_readout

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SVM_C = 0.1
# Bytes that SVMs which are fitted at once may take, and that each takes per number it is fitted on.
_MEMORY, _COPIED = 8 * 2**30, 24
_PENALTY = 1e-3
_WIDTH = 256
_BATCH = 256
_RATE = 2e-3
_WEIGHT_DECAY = 0.3
_DROPOUT = 0.3
_VALIDATED_BY = 10
_VALIDATE_EVERY = 100


@dataclass(frozen=True)
class Faces:
    """Coordinates (N, r) in one space and attributes bool (N, K) of the same faces."""

    y: NDArray[np.floating]
    attributes: Bools

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, rows: slice) -> Faces:
        """Some of the faces."""
        return Faces(self.y[rows], self.attributes[rows])


@dataclass(frozen=True)
class Answers:
    """What a probe says of faces it was not fitted on.

    decision: float64 (N, K), above 0 for yes. truth: bool (N, K).
    """

    decision: Float64
    truth: Bools

    @property
    def right(self) -> Bools:
        """Which answers are right, (N, K)."""
        return np.asarray((self.decision > 0) == self.truth)

    @property
    def accuracy(self) -> Float64:
        """Share of right answers, (K,)."""
        return np.asarray(self.right.mean(0))


@dataclass(frozen=True)
class Scores:
    """Accuracy, balanced accuracy and area under the ROC curve by attribute, each (R, K).

    Row 0 is the figure, the others are its redraws (`metrics`). balanced and auc are NaN where the
    faces drawn hold only one of the two answers.
    """

    accuracy: Float64
    balanced: Float64
    auc: Float64


def scores(answers: Answers, weights: Float64) -> Scores:
    """Score answers under weights (R, N) of the faces."""
    right, truth = answers.right.astype(np.float64), answers.truth.astype(np.float64)
    yes = quotient(weights @ (right * truth), weights @ truth)
    no = quotient(weights @ (right * (1 - truth)), weights @ (1 - truth))
    auc = [_auc(d, t, weights) for d, t in zip(answers.decision.T, answers.truth.T, strict=True)]
    return Scores(averages(weights, right), 0.5 * (yes + no), np.stack(auc, axis=1))


def _auc(decision: Float64, truth: Bools, weights: Float64) -> Float64:
    """Chance that a face with the attribute ranks above one without; a tie counts half; (R,)."""
    order = np.argsort(decision, kind="stable")
    starts = np.flatnonzero(np.diff(decision[order], prepend=-np.inf) > 0)
    drawn = weights[:, order]
    positive, negative = drawn * truth[order], drawn * ~truth[order]
    if len(starts) < len(order):
        positive, negative = (np.add.reduceat(p, starts, axis=1) for p in (positive, negative))
    below = np.cumsum(negative, axis=1) - 0.5 * negative
    return quotient((positive * below).sum(1), positive.sum(1) * negative.sum(1))


def svm(fit: Faces, test: Faces) -> Answers:
    """Fit one linear SVM per attribute on `fit` and ask it about `test`."""
    scaler = StandardScaler().fit(fit.y)
    fit_y, test_y = scaler.transform(fit.y), scaler.transform(test.y)
    if len(fit_y) < fit_y.shape[1]:
        # The plane lies in the span of the codes: in its coordinates it is the same.
        basis = np.linalg.qr(fit_y.T).Q
        fit_y, test_y = fit_y @ basis, test_y @ basis

    def decision(wanted: Bools) -> Float64:
        if wanted.all() or not wanted.any():
            return np.full(len(test_y), 1.0 if wanted.all() else -1.0)
        model = LinearSVC(C=_SVM_C, dual=False).fit(fit_y, wanted)
        return np.asarray(model.decision_function(test_y))

    # liblinear works outside Python's lock, on copies of its own.
    at_once = max(1, min(torch.get_num_threads(), _MEMORY // (_COPIED * fit_y.size)))
    with ThreadPoolExecutor(at_once) as threads:
        decisions = list(threads.map(decision, fit.attributes.T))
    return Answers(np.stack(decisions, axis=1), test.attributes)


class _Free(nn.Module):
    """A fixed linear read-out, and layers beside it that start at nothing."""

    weight: Tensor
    bias: Tensor

    def __init__(self, linear: Readout) -> None:
        super().__init__()
        self.register_buffer("weight", torch.from_numpy(linear.weight).float())
        self.register_buffer("bias", torch.from_numpy(linear.bias).float())
        outputs, dim = linear.weight.shape
        last = nn.Linear(_WIDTH, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.rest = nn.Sequential(
            nn.Linear(dim, _WIDTH), nn.SiLU(), nn.Dropout(_DROPOUT),
            nn.Linear(_WIDTH, _WIDTH), nn.SiLU(), nn.Dropout(_DROPOUT),
            last,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of standardised coordinates (N, r)."""
        out: Tensor = functional.linear(x, self.weight, self.bias) + self.rest(x)
        return out


def free_mlp(fit: Faces, test: Faces, steps: int, seed: int = 0) -> Answers:
    """Train a free network on `fit`, a tenth of which validates it, and ask it about `test`.

    It starts as a linear read-out, and each attribute is answered by the step that was validated
    best: what it cannot tell, the codes hardly hold.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    scaler = StandardScaler().fit(fit.y)
    coordinates = scaler.transform(fit.y)
    order = random.permutation(len(fit))
    held = order[: max(1, len(order) // _VALIDATED_BY)]
    trained = order[len(held) :] if len(held) < len(order) else order
    x, wanted = torch.from_numpy(coordinates).float(), torch.from_numpy(fit.attributes).float()
    asked = torch.from_numpy(scaler.transform(test.y)).float()
    network = _Free(fit_readout(coordinates[trained], fit.attributes[trained], _PENALTY))
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_WEIGHT_DECAY)
    best = torch.full((wanted.shape[1],), math.inf)
    decision = torch.zeros(len(asked), wanted.shape[1])
    for step in range(steps + 1):
        if step % _VALIDATE_EVERY == 0 or step == steps:
            network.eval()
            with torch.no_grad():
                errors = functional.binary_cross_entropy_with_logits(
                    network(x[held]), wanted[held], reduction="none"
                ).mean(0)
                better = errors < best
                best[better], decision[:, better] = errors[better], network(asked)[:, better]
            network.train()
        for group in optimizer.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        rows = trained[random.choice(len(trained), min(_BATCH, len(trained)), replace=False)]
        loss = functional.binary_cross_entropy_with_logits(network(x[rows]), wanted[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return Answers(decision.double().numpy(), test.attributes)
