"""Probes of a space against recorded answers, scikit-learn and cases with known ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from wstar.attributes import ATTRIBUTES
from wstar_training.evaluation.dci import (
    completeness,
    dci,
    disentanglement,
    relative_error,
    weighted_completeness,
)
from wstar_training.evaluation.metrics import (
    redraw,
)
from wstar_training.evaluation.probes import Answers, Faces, free_mlp, scores, svm
from wstar_training.evaluation.room import room

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.mark.parametrize("name", ["R1", "R2", "R3"])
def test_dci_is_the_recorded_one(name: str) -> None:
    with np.load(DATA / "metric_dci.npz") as golden:
        importance = golden[name]
        plain, weighted = (float(golden[f"{name}_{c}"]) for c in ("qedr_C", "dlib_C"))
        skipped, other = (float(golden[f"{name}_{d}"]) for d in ("qedr_D_nan_skipped", "dlib_D"))
        recorded = golden[f"{name}_qedr_C_per_factor"], golden[f"{name}_dlib_C_per_factor"]
        per_code = golden[f"{name}_qedr_D_per_code"]
    assert disentanglement(importance) == pytest.approx(skipped, abs=1e-9)
    # disentanglement_lib adds 1e-11 to every number: a billionth, far more where shares are tiny.
    assert disentanglement(importance) == pytest.approx(other, abs=1e-8)
    assert completeness(importance) == pytest.approx(plain, abs=1e-9)
    assert weighted_completeness(importance) == pytest.approx(weighted, abs=1e-8)
    # One factor at a time, and one code at a time: a matrix of that column or row alone.
    for k, column in enumerate(importance.T):
        for each in recorded:
            assert completeness(column[:, None]) == pytest.approx(each[k], abs=1e-8)
    for row, value in zip(importance, per_code, strict=True):
        if row.any():
            assert disentanglement(row[None]) == pytest.approx(value, abs=1e-9)
        else:
            assert np.isnan(value)


@pytest.mark.parametrize("name", ["lasso_raw", "lasso_zscored"])
def test_dci_of_lasso_weights_is_the_recorded_one(name: str) -> None:
    with np.load(DATA / "metric_dci.npz") as golden:
        importance = np.abs(golden[f"{name}_R"])
        figures = {
            key: float(golden[f"{name}_{key}"]) for key in ("D", "dlib_D", "C_mean", "C_weighted")
        }
    assert disentanglement(importance) == pytest.approx(figures["D"], abs=1e-9)
    assert disentanglement(importance) == pytest.approx(figures["dlib_D"], abs=1e-8)
    assert completeness(importance) == pytest.approx(figures["C_mean"], abs=1e-9)
    assert weighted_completeness(importance) == pytest.approx(figures["C_weighted"], abs=1e-8)


def test_the_relative_error_is_the_recorded_one() -> None:
    with np.load(DATA / "metric_dci.npz") as golden:
        # Recorded on the last fifth of the faces.
        truth = golden["lasso_Y"][480:].astype(bool)
        wanted = golden["lasso_raw_nrmse"]
        np.testing.assert_allclose(relative_error(golden["lasso_raw_rmse"], truth), wanted)
    assert np.isnan(relative_error(np.ones(1), np.ones((4, 1), bool))[0])


def faces(count: int, seed: int) -> Faces:
    """Two attributes, each the sign of one of four axes."""
    y = np.random.default_rng(seed).standard_normal((count, 4))
    return Faces(y, y[:, :2] > 0.3)


def test_dci_is_high_for_attributes_on_axes_and_falls_when_they_are_mixed() -> None:
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((4, 4)))[0]
    fit, test = faces(2000, 0), faces(500, 1)
    plain = dci(fit, test)
    mixed = dci(Faces(fit.y @ turn, fit.attributes), Faces(test.y @ turn, test.attributes))
    assert plain.disentanglement > 0.9 > mixed.disentanglement
    assert plain.completeness > 0.9 > mixed.completeness
    assert plain.informativeness == pytest.approx(mixed.informativeness, abs=0.02)
    std = test.attributes.std(0).mean()
    assert plain.relative_error == pytest.approx(plain.informativeness / std, rel=0.02)


def test_an_attribute_that_nobody_has_is_left_out_of_dci() -> None:
    fit, test = faces(400, 0), faces(100, 1)
    none, absent = np.zeros((400, 1), bool), np.zeros((100, 1), bool)
    more = dci(
        Faces(fit.y, np.hstack([fit.attributes, none])),
        Faces(test.y, np.hstack([test.attributes, absent])),
    )
    assert more == dci(fit, test)
    nothing = dci(Faces(fit.y, none), Faces(test.y, absent))
    assert nothing.disentanglement == 0.0 and np.isnan(nothing.informativeness)


def test_svm_tells_what_a_plane_separates_and_nothing_else() -> None:
    fit, test = faces(2000, 0), faces(1000, 1)
    noise = np.random.default_rng(3).random((3000, 1)) < 0.3
    answers = svm(
        Faces(fit.y, np.hstack([fit.attributes, noise[:2000]])),
        Faces(test.y, np.hstack([test.attributes, noise[2000:]])),
    )
    found = scores(answers, np.ones((1, 1000)))
    assert (found.accuracy[0, :2] > 0.97).all() and (found.auc[0, :2] > 0.99).all()
    assert found.balanced[0, 2] == pytest.approx(0.5, abs=0.05)
    assert answers.accuracy[2] == pytest.approx(0.7, abs=0.05)


def test_svm_answers_for_an_attribute_that_nobody_has() -> None:
    fit, test = faces(100, 0), faces(50, 1)
    none = np.zeros_like(fit.attributes)
    answers = svm(Faces(fit.y, none), Faces(test.y, none[:50]))
    assert (answers.accuracy == 1.0).all()
    assert np.isnan(scores(answers, np.ones((1, 50))).auc).all()


def test_a_free_network_tells_what_no_plane_does() -> None:
    random = np.random.default_rng(0)
    y = random.standard_normal((3000, 3))
    crossed = (y[:, :1] > 0) ^ (y[:, 1:2] > 0)
    every = Faces(y, np.hstack([crossed, y[:, 2:] > 0]))
    fit, test = every.rows(slice(0, 2000)), every.rows(slice(2000, None))
    linear, free = svm(fit, test).accuracy, free_mlp(fit, test, steps=200).accuracy
    assert linear[0] < 0.6 and free[0] > 0.85
    assert free[1] == pytest.approx(linear[1], abs=0.04)


def test_scores_are_those_of_scikit_learn_for_every_redraw() -> None:
    random = np.random.default_rng(0)
    truth = random.random((150, 3)) < (0.5, 0.2, 0.9)
    decision = np.round(random.standard_normal((150, 3)) + truth, 1)  # With ties.
    decision[decision == 0] = 0.05
    weights = redraw(np.arange(150)[:, None], 150, seed=0)[:4]
    found = scores(Answers(decision, truth), weights)
    for row, weight in enumerate(weights):
        for k in range(3):
            d, t = decision[:, k], truth[:, k]
            assert found.accuracy[row, k] == pytest.approx(np.average((d > 0) == t, weights=weight))
            assert found.balanced[row, k] == pytest.approx(
                balanced_accuracy_score(t, d > 0, sample_weight=weight)
            )
            assert found.auc[row, k] == pytest.approx(roc_auc_score(t, d, sample_weight=weight))


def test_room_is_where_a_free_network_is_ahead_and_a_space_takes_its_share_of_it() -> None:
    random = np.random.default_rng(0)
    truth = random.random((4000, len(ATTRIBUTES))) < 0.5

    def answers(*right: float) -> Answers:
        """Attribute 0 and 1 are answered rightly so often, all others always."""
        share = np.array([*right, *np.ones(len(ATTRIBUTES) - 2)])
        wrong = random.random(truth.shape) >= share
        return Answers(np.where(truth ^ wrong, 1.0, -1.0), truth)

    spaces = {"plus": answers(0.7, 0.98), "star": answers(0.8, 0.98)}
    found = room("plus", spaces, answers(0.9, 0.99))
    assert found["attributes"] == [ATTRIBUTES[0]]
    assert found["faces"] == 2000
    # 2000 faces tell a share of 0.7 to 0.01, and the half of a room of 0.2 to about 0.08.
    assert found["accuracy"]["plus"]["value"] == pytest.approx(0.7, abs=0.04)
    assert found["taken"]["star"]["value"] == pytest.approx(0.5, abs=0.2)
    assert found["taken"]["star"]["low"] < 0.5 < found["taken"]["star"]["high"]


def test_where_nothing_is_ahead_there_is_no_room() -> None:
    truth = np.random.default_rng(0).random((100, len(ATTRIBUTES))) < 0.5
    same = Answers(np.where(truth, 1.0, -1.0), truth)
    found = room("plus", {"plus": same, "star": same}, same)
    assert found["attributes"] == []
    assert found["taken"] == found["accuracy"] == {}
