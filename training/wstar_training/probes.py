"""Probes of a space: linear SVMs for its attributes, Lasso for its disentanglement.

Every probe is fitted on some codes and measured on others. Axes are standardised on the codes a
probe is fitted on, the same way in every space.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from wstar_training.metrics import completeness, disentanglement

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LASSO_ALPHA = 0.02
_SVM_C = 0.1


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
class SvmResult:
    """What linear SVMs tell of each attribute, on codes they were not fitted on.

    right: bool (N, K), which answers are right. balanced, auc: float64 (K,), NaN where the test
    codes hold only one of the two answers.
    """

    right: Bools
    balanced: Float64
    auc: Float64

    @property
    def accuracy(self) -> Float64:
        """Share of right answers, (K,)."""
        return np.asarray(self.right.mean(0))


def svm(fit: Faces, test: Faces) -> SvmResult:
    """Fit one linear SVM per attribute on `fit` and measure it on `test`."""
    scaler = StandardScaler().fit(fit.y)
    fit_y, test_y = scaler.transform(fit.y), scaler.transform(test.y)
    rights, balanced, auc = [], [], []
    for wanted, truth in zip(fit.attributes.T, test.attributes.T, strict=True):
        if wanted.all() or not wanted.any():
            decision = np.full(len(test_y), 1.0 if wanted.all() else -1.0)
        else:
            model = LinearSVC(C=_SVM_C, dual=False)
            decision = model.fit(fit_y, wanted).decision_function(test_y)
        rights.append((decision > 0) == truth)
        both = truth.any() and not truth.all()
        balanced.append(balanced_accuracy_score(truth, decision > 0) if both else np.nan)
        auc.append(roc_auc_score(truth, decision) if both else np.nan)
    return SvmResult(np.stack(rights, axis=1), np.array(balanced), np.array(auc))


@dataclass(frozen=True)
class Dci:
    """Disentanglement, completeness and informativeness of a space in the axes it was given.

    informativeness is an error, the RMSE of 0/1 attributes, as in the paper: lower is better.
    """

    disentanglement: float
    completeness: float
    informativeness: float


def dci(fit: Faces, test: Faces) -> Dci:
    """DCI by one Lasso per attribute (alpha 0.02 on standardised axes and targets)."""
    scaler = StandardScaler().fit(fit.y)
    fit_y, test_y = scaler.transform(fit.y), scaler.transform(test.y)
    importance, errors = [], []
    for wanted, truth in zip(fit.attributes.T, test.attributes.T, strict=True):
        mean, std = wanted.mean(), wanted.std()
        if std == 0:
            continue
        model = Lasso(alpha=_LASSO_ALPHA, precompute=True, max_iter=2000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(fit_y, (wanted - mean) / std)
        importance.append(np.abs(model.coef_))
        errors.append(np.sqrt(np.mean((model.predict(test_y) * std + mean - truth) ** 2)))
    matrix = np.stack(importance, axis=1)
    return Dci(disentanglement(matrix), completeness(matrix), float(np.mean(errors)))
