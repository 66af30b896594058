"""Figures on data whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from wstar_training.evaluation import (
    Distances,
    conditioning,
    distance_figures,
    over_faces,
    perceptual_distances,
    readout_figures,
)
from wstar_training.metrics import (
    best_scale,
    bootstrap,
    completeness,
    disentanglement,
    draw_trials,
    error_std,
    holm,
    mcnemar,
    pearson,
    two_alternative,
)
from wstar_training.models.flow import Flow, principal_axes
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.models.vgg import VGG16
from wstar_training.pretrain import Readout
from wstar_training.probes import Faces, dci, svm

DATA = Path(__file__).resolve().parents[1] / "data"


def test_two_alternative_counts_right_answers_and_half_of_ties() -> None:
    wanted = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [2.0, 1.0]])
    found = np.array([[1.0, 3.0], [5.0, 5.0], [1.0, 3.0], [4.0, 0.5]])
    assert two_alternative(found, wanted) == (1 + 0.5 + 0 + 1) / 4
    assert two_alternative(found, wanted, np.array([1.0, 0, 0, 1.0])) == 1.0


def test_pearson_and_error_agree_with_numpy() -> None:
    random = np.random.default_rng(0)
    a, b = random.random(50), random.random(50)
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert pearson(a, np.ones(50)) == 0.0
    assert error_std(a, b) == pytest.approx(np.std(a - b))
    repeats = random.integers(0, 3, 50)
    weights = repeats.astype(np.float64)
    again = np.repeat(a, repeats), np.repeat(b, repeats)
    assert pearson(a, b, weights) == pytest.approx(np.corrcoef(*again)[0, 1])
    assert error_std(a, b, weights) == pytest.approx(np.std(again[0] - again[1]))


def test_best_scale_leaves_no_better_one() -> None:
    random = np.random.default_rng(0)
    a, b = random.random(50), random.random(50)
    best = best_scale(a, b)
    errors = [np.mean((factor * best * a - b) ** 2) for factor in (0.99, 1.0, 1.01)]
    assert errors[1] == min(errors)


def test_trials_use_a_picture_once_a_round() -> None:
    trials = draw_trials(11, 3, seed=0)
    assert trials.pairs.shape == (15, 2) and trials.triplets.shape == (9, 3)
    assert len(np.unique(trials.pairs[:5])) == 10
    assert len(np.unique(trials.triplets[:3])) == 9


def test_the_bootstrap_of_a_mean_has_the_textbook_width() -> None:
    values = np.random.default_rng(0).standard_normal(400)
    interval = over_faces(values)
    assert interval.low < interval.value < interval.high
    # 2·1.96/√400; the interval itself is estimated from 300 draws.
    assert interval.high - interval.low == pytest.approx(0.196, rel=0.25)


def test_the_bootstrap_redraws_pictures_not_pairs() -> None:
    """Pairs that all share picture 0 depend on it, so their share of draws may be empty."""
    members = np.array([[0, 1], [0, 2], [0, 3]])
    interval = bootstrap(lambda w: 1.0 if w is None else float((w > 0).mean()), members, 4, 0)
    assert interval.low < 1.0


@pytest.mark.parametrize("name", ["R1", "R2", "R3"])
def test_dci_is_the_recorded_one(name: str) -> None:
    with np.load(DATA / "metric_dci.npz") as golden:
        importance = golden[name]
        assert disentanglement(importance) == pytest.approx(
            float(golden[f"{name}_qedr_D_nan_skipped"]), abs=1e-9
        )
        assert completeness(importance) == pytest.approx(float(golden[f"{name}_qedr_C"]), abs=1e-9)


@pytest.mark.parametrize("name", ["lasso_raw", "lasso_zscored"])
def test_dci_of_lasso_weights_is_the_recorded_one(name: str) -> None:
    with np.load(DATA / "metric_dci.npz") as golden:
        importance = np.abs(golden[f"{name}_R"])
        assert disentanglement(importance) == pytest.approx(float(golden[f"{name}_D"]), abs=1e-9)
        assert completeness(importance) == pytest.approx(float(golden[f"{name}_C_mean"]), abs=1e-9)


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


def test_svm_tells_what_a_plane_separates_and_nothing_else() -> None:
    fit, test = faces(2000, 0), faces(1000, 1)
    noise = np.random.default_rng(3).random((3000, 1)) < 0.3
    result = svm(
        Faces(fit.y, np.hstack([fit.attributes, noise[:2000]])),
        Faces(test.y, np.hstack([test.attributes, noise[2000:]])),
    )
    assert (result.accuracy[:2] > 0.97).all() and (result.auc[:2] > 0.99).all()
    assert result.balanced[2] == pytest.approx(0.5, abs=0.05)
    assert result.accuracy[2] == pytest.approx(0.7, abs=0.05)


def test_svm_answers_for_an_attribute_that_nobody_has() -> None:
    fit, test = faces(100, 0), faces(50, 1)
    none = np.zeros_like(fit.attributes)
    result = svm(Faces(fit.y, none), Faces(test.y, none[:50]))
    assert (result.accuracy == 1.0).all()
    assert np.isnan(result.auc).all()


def test_mcnemar_is_the_exact_binomial() -> None:
    first = np.array([True] * 9 + [False] * 1 + [True] * 20)
    second = np.array([False] * 9 + [True] * 1 + [True] * 20)
    # P(at most 1 of 10 coins) · 2 = 2·11/1024.
    assert mcnemar(first, second) == pytest.approx(22 / 1024)
    assert mcnemar(first, first) == 1.0
    # Thousands of differing answers do not overflow.
    assert mcnemar(np.ones(5000, bool), np.arange(5000) % 2 == 0) == 0.0


def test_holm_is_the_textbook_example() -> None:
    found = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(found, [0.03, 0.06, 0.06, 0.02])


def test_distance_figures_of_a_perfect_space() -> None:
    trials = draw_trials(60, 2, seed=0)
    x = np.random.default_rng(0).standard_normal((60, 3))
    first, second = trials.triplets[:, [0, 1]], trials.triplets[:, [0, 2]]
    each = [((x[p[:, 0]] - x[p[:, 1]]) ** 2).sum(1) for p in (trials.pairs, first, second)]
    wanted = Distances(each[0], np.stack(each[1:], 1))
    twice = Distances(2 * wanted.pairs, 2 * wanted.candidates)
    figures = distance_figures(twice, wanted, trials, 60)
    assert figures["two_alternative"]["value"] == 1.0
    assert figures["pearson"]["value"] == pytest.approx(1.0)
    assert figures["scale"] == pytest.approx(0.5)
    assert figures["std_rescaled"]["value"] == pytest.approx(0.0, abs=1e-12)
    assert figures["mean"]["value"] == pytest.approx(wanted.pairs.mean())


def test_perceptual_distances_of_trials_are_those_of_the_judge() -> None:
    judge = PerceptualDistance(VGG16(4, batch_norm=True), 10.0)
    pictures = torch.rand(60, 3, 64, 64) * 2 - 1
    trials = draw_trials(60, 1, seed=0)
    found = perceptual_distances(judge, lambda rows: pictures[torch.from_numpy(rows)], 60, trials)
    a, b = trials.pairs.T
    with torch.no_grad():
        wanted = judge(pictures[torch.from_numpy(a)], pictures[torch.from_numpy(b)]).numpy()
    np.testing.assert_allclose(found.pairs, wanted, rtol=1e-4)
    assert found.candidates.shape == (20, 2)


def test_a_calibrated_readout_has_no_calibration_error() -> None:
    random = np.random.default_rng(0)
    y = 2.0 * random.standard_normal((20000, 1))
    attributes = random.random((20000, 1)) < 1 / (1 + np.exp(-y))
    test = Faces(y, attributes)
    good = readout_figures(Readout(np.ones((1, 1)), np.zeros(1)), test)
    bad = readout_figures(Readout(5 * np.ones((1, 1)), np.zeros(1)), test)
    assert good["calibration_error"] < 0.02 < bad["calibration_error"]
    assert good["accuracy"] == bad["accuracy"]


def test_the_identity_is_perfectly_conditioned() -> None:
    w = torch.randn(50, 2, 512)
    assert conditioning(Flow([], *principal_axes(w, 5)), w) == {"round_trip": 0.0, "s_std": 0.0}
