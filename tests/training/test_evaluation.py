"""Figures of one space on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wstar_training.evaluation.agreement import Distances, Drawn
from wstar_training.evaluation.dci import Dci
from wstar_training.evaluation.metrics import draw_trials, redraw
from wstar_training.evaluation.probes import Answers, Faces, scores
from wstar_training.evaluation.space import (
    conditioning,
    dci_draws,
    dci_rows,
    distance_figures,
    mean_scores,
    over_draws,
    over_faces,
    perceptual_distances,
    point_distances,
    readout_figures,
    score_figures,
    space_distances,
)
from wstar_training.models.flow import Flow, principal_axes
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.models.vgg import VGG16
from wstar_training.readout.fitted import Readout


def test_distance_figures_of_a_perfect_space() -> None:
    drawn = Drawn(draw_trials(60, 2, seed=0), 60, seed=0)
    x = np.random.default_rng(0).standard_normal((60, 3))
    wanted = point_distances(x, drawn.trials, 1.0)
    twice = Distances(2 * wanted.pairs, 2 * wanted.candidates)
    figures, rows = distance_figures(twice, wanted, drawn, baseline=0.5)
    for name in ("two_alternative", "pearson", "spearman", "kendall", "r2_rescaled"):
        assert figures[name]["value"] == pytest.approx(1.0)
        assert rows[name][0] == figures[name]["value"]
    assert figures["scale"] == figures["slope"]["value"] == pytest.approx(0.5)
    # The root of a variance that cancels: about the root of float64's precision.
    for name in ("std_rescaled", "std_w_plus_scale", "intercept"):
        assert figures[name]["value"] == pytest.approx(0.0, abs=1e-6)
    assert figures["mean"]["value"] == pytest.approx(wanted.pairs.mean())
    assert figures["paper"]["pairs"] == 60
    assert [band["two_alternative"]["value"] for band in figures["bands"]] == [1.0] * 5
    assert sum(band["triplets"] for band in figures["bands"]) == len(drawn.trials.triplets)


def test_perceptual_distances_of_trials_are_those_of_the_judge() -> None:
    torch.manual_seed(0)
    judge = PerceptualDistance(VGG16(4, batch_norm=True), 10.0)
    pictures = torch.rand(70, 3, 32, 32) * 2 - 1
    trials = draw_trials(70, 1, seed=0)
    assert len(trials.groups) == 2
    found = perceptual_distances(judge, lambda rows: pictures[torch.from_numpy(rows)], trials)
    for distances, members in (
        (found.pairs, trials.pairs),
        (found.candidates[:, 0], trials.triplets[:, [0, 1]]),
        (found.candidates[:, 1], trials.triplets[:, [0, 2]]),
    ):
        a, b = torch.from_numpy(members.T.copy())
        with torch.no_grad():
            wanted = judge(pictures[a], pictures[b]).numpy()
        # float32 sums in another order.
        np.testing.assert_allclose(distances, wanted, rtol=1e-4)


def test_space_distances_are_eq_1_on_whole_codes() -> None:
    """What lies outside of the axes of T counts too, as it does in what is served."""
    torch.manual_seed(0)
    w = 5.0 + torch.randn(40, 2, 512)
    flow = Flow([], *principal_axes(w, 5))
    trials = draw_trials(40, 2, seed=0)
    found = space_distances(flow, w, trials)
    a, b = w.double()[torch.from_numpy(trials.pairs.T.copy())]
    wanted = (a - b).square().mean((1, 2)).numpy()
    # float32 codes.
    np.testing.assert_allclose(found.pairs, wanted, rtol=1e-5)


def test_no_triplets_are_no_figure() -> None:
    drawn = Drawn(draw_trials(2, 1, seed=0), 2, seed=0)
    one = Distances(np.ones(1), np.empty((0, 2)))
    figures, _ = distance_figures(one, one, drawn, 1.0)
    assert np.isnan(figures["two_alternative"]["value"]) and figures["bands"] == []
    assert figures["mean"]["value"] == 0.0


def test_over_faces_is_the_mean_with_its_interval() -> None:
    values = np.random.default_rng(0).standard_normal(400)
    interval = over_faces(values)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low < interval.value < interval.high


def test_averages_leave_out_what_cannot_be_scored() -> None:
    truth = np.array([[True, False], [False, False], [True, False], [False, False]])
    decision = np.array([[1.0, -1.0], [-1.0, -1.0], [-1.0, -1.0], [-2.0, -1.0]])
    found = scores(Answers(decision, truth), redraw(np.arange(4)[:, None], 4, seed=0))
    assert mean_scores(found)["avg"][0] == 7 / 8
    assert mean_scores(found)["balanced"][0] == 0.75
    figures = score_figures(found)
    assert (figures["min"]["value"], figures["min_attribute"]) == (0.75, 0)
    assert (figures["max"]["value"], figures["max_attribute"]) == (1.0, 1)


def test_dci_is_drawn_as_often_as_there_are_disjoint_codes() -> None:
    random = np.random.default_rng(0)
    y = random.standard_normal((4000, 3))
    every = Faces(y, y[:, :2] > 0)
    assert len(dci_draws(every, every)) == 2
    assert len(dci_draws(every.rows(slice(0, 100)), every.rows(slice(100, 150)))) == 1
    rows = dci_rows([Dci(0.1, 0.2, 0.3, 0.4, 0.5), Dci(0.3, 0.2, 0.3, 0.4, 0.5)])
    assert rows["disentanglement"].tolist() == [0.1, 0.3]


def test_the_interval_over_draws_is_students() -> None:
    found = over_draws(np.array([1.0, 2.0, 3.0]))
    # t(2) at 97.5 % is 4.303; the standard error is 1/√3.
    assert found["value"] == 2.0
    assert found["high"] == pytest.approx(2.0 + 4.303 / np.sqrt(3), abs=1e-3)
    assert over_draws(np.array([1.0])) == {"value": 1.0, "low": None, "high": None}


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
