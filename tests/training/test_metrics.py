"""Statistics on data whose answer is known: recorded, computed by scipy, or a closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from wstar_training.evaluation.agreement import (
    Distances,
    Drawn,
    distance_rows,
    kendall,
    margin_bands,
    moments,
    spearman,
)
from wstar_training.evaluation.metrics import (
    REDRAWS,
    Float64,
    averages,
    best_scale,
    draw_trials,
    holm,
    interval,
    mcnemar,
    pearson,
    redraw,
    right_order,
    two_alternative,
)

DATA = Path(__file__).resolve().parents[1] / "data"


def test_two_alternative_counts_right_answers_and_half_of_ties() -> None:
    wanted = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [2.0, 1.0], [3.0, 3.0]])
    found = np.array([[1.0, 3.0], [5.0, 5.0], [1.0, 3.0], [4.0, 0.5], [1.0, 2.0]])
    np.testing.assert_array_equal(right_order(found, wanted), [1, 0.5, 0, 1, 0.5])
    assert two_alternative(found, wanted) == 3 / 5


def test_two_alternative_is_the_formula_of_lpips() -> None:
    random = np.random.default_rng(0)
    found = random.integers(0, 4, (500, 2)).astype(np.float64)
    wanted = random.integers(0, 4, (500, 2)).astype(np.float64)
    for (d0, d1), (w0, w1), right in zip(found, wanted, right_order(found, wanted), strict=True):
        j = 1.0 if w1 < w0 else 0.0 if w0 < w1 else 0.5
        assert right == (d0 < d1) * (1 - j) + (d1 < d0) * j + 0.5 * (d0 == d1)


def test_simple_figures_agree_with_numpy() -> None:
    random = np.random.default_rng(0)
    a, b = random.random(50), random.random(50)
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert pearson(a, np.ones(50)) == 0.0


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


def test_trials_stay_within_their_groups() -> None:
    trials = draw_trials(1000, 4, seed=0)
    group = np.empty(1000, np.int64)
    for number, members in enumerate(trials.groups):
        group[members] = number
    assert sorted(np.concatenate(trials.groups).tolist()) == list(range(1000))
    assert (group[trials.pairs] == group[trials.pairs[:, :1]]).all()
    assert (group[trials.triplets] == group[trials.triplets[:, :1]]).all()
    # The first pairs are of one round: no picture is in two of them.
    assert len(np.unique(trials.pairs[:400])) == 800


def test_every_pair_is_as_likely_as_any_other() -> None:
    """Groups are drawn too: over seeds, pairs spread evenly."""
    counts = np.zeros((100, 100))
    for seed in range(400):
        for a, b in draw_trials(100, 4, seed).pairs:
            counts[a, b] += 1
            counts[b, a] += 1
    near = np.mean([counts[i, (i + 1) % 100] for i in range(100)])
    far = np.mean([counts[i, (i + 50) % 100] for i in range(100)])
    # About 16 each with a standard deviation of 0.4 of such a mean.
    assert near == pytest.approx(far, rel=0.15)


def repeated(values: Float64, row: Float64) -> Float64:
    return np.repeat(values, row.astype(np.int64))


def test_every_row_is_the_figure_of_the_pictures_drawn() -> None:
    """Weights and repeated terms are the same thing; ties included."""
    random = np.random.default_rng(0)
    found = np.round(random.random(200), 1)
    wanted = np.round(found + 0.5 * random.random(200), 1)
    weights = random.integers(0, 3, (4, 200)).astype(np.float64)
    weights[0] = 1.0
    m = moments(found, wanted, weights)
    for index, row in enumerate(weights):
        a, b = repeated(found, row), repeated(wanted, row)
        assert spearman(found, wanted, weights)[index] == pytest.approx(
            stats.spearmanr(a, b).statistic
        )
        assert kendall(found, wanted, weights)[index] == pytest.approx(
            stats.kendalltau(a, b).statistic
        )
        assert m.mean(2.0)[index] == pytest.approx(np.mean(2.0 * a - b))
        assert m.std(2.0)[index] == pytest.approx(np.std(2.0 * a - b))


def drawn(count: int) -> Drawn:
    return Drawn(draw_trials(count, 2, seed=0), count, seed=0)


def test_distance_rows_agree_with_scipy() -> None:
    random = np.random.default_rng(0)
    of = drawn(90)
    pairs, triplets = len(of.trials.pairs), len(of.trials.triplets)
    found = Distances(random.random(pairs), random.random((triplets, 2)))
    wanted = Distances(0.3 * random.random(pairs) + found.pairs, random.random((triplets, 2)))
    rows = distance_rows(found, wanted, of, baseline=1.5)
    line = stats.linregress(found.pairs, wanted.pairs)
    error = found.pairs - wanted.pairs
    scale = best_scale(found.pairs, wanted.pairs)
    expected = {
        "mean": error.mean(),
        "std": error.std(),
        "mean_rescaled": (scale * found.pairs - wanted.pairs).mean(),
        "std_rescaled": (scale * found.pairs - wanted.pairs).std(),
        "mean_w_plus_scale": (1.5 * found.pairs - wanted.pairs).mean(),
        "std_w_plus_scale": (1.5 * found.pairs - wanted.pairs).std(),
        "pearson": stats.pearsonr(found.pairs, wanted.pairs).statistic,
        "spearman": stats.spearmanr(found.pairs, wanted.pairs).statistic,
        "kendall": stats.kendalltau(found.pairs, wanted.pairs).statistic,
        "slope": line.slope,
        "intercept": line.intercept,
        "r2": 1 - np.mean(error**2) / np.var(wanted.pairs),
        "r2_rescaled": 1
        - np.mean((scale * found.pairs - wanted.pairs) ** 2) / np.var(wanted.pairs),
        "two_alternative": two_alternative(found.candidates, wanted.candidates),
    }
    assert set(rows) == set(expected)
    for name, value in expected.items():
        assert rows[name].shape == (1 + REDRAWS,)
        assert rows[name][0] == pytest.approx(value), name


def test_bands_are_fifths_that_leave_no_triplet_out() -> None:
    wanted = np.random.default_rng(0).random((1000, 2))
    bands = margin_bands(wanted, unit=2.0)
    assert (np.sum([band.which for band in bands], axis=0) == 1).all()
    assert [int(band.which.sum()) for band in bands] == [200] * 5
    margin = np.abs(wanted[:, 0] - wanted[:, 1]) / 2.0
    for band, after in zip(bands, [*bands[1:], None], strict=True):
        assert band.low <= margin[band.which].min() and margin[band.which].max() <= band.high
        assert after is None or band.high == after.low
    assert margin_bands(np.empty((0, 2)), 1.0) == []


def test_intervals_cover_the_truth_in_a_simulation() -> None:
    """Mean distance of random pairs of points: the truth is 2, known; pictures are redrawn."""
    random = np.random.default_rng(0)
    covered = 0
    rounds = 60
    for seed in range(rounds):
        x = random.standard_normal(80)
        trials = draw_trials(80, 5, seed)
        squared = (x[trials.pairs[:, 0]] - x[trials.pairs[:, 1]]) ** 2
        found = interval(averages(redraw(trials.pairs, 80, seed), squared))
        covered += found.low <= 2.0 <= found.high
    # 95 % in the limit; the bootstrap of 80 pictures is a little narrow. 3 sd of 60 draws are 8 %.
    assert covered / rounds >= 0.85


def test_intervals_of_pairs_alone_would_be_too_narrow() -> None:
    """Every picture is in twenty pairs: what redraws pictures must be wider."""
    x = np.random.default_rng(0).standard_normal(60)
    trials = draw_trials(60, 20, seed=0)
    squared = (x[trials.pairs[:, 0]] - x[trials.pairs[:, 1]]) ** 2
    pictures = interval(averages(redraw(trials.pairs, 60, 0), squared))
    each = np.arange(len(squared))[:, None]
    pairs = interval(averages(redraw(each, len(squared), 0), squared))
    assert pictures.high - pictures.low > 1.5 * (pairs.high - pairs.low)


def test_the_difference_of_rows_is_paired() -> None:
    values = np.random.default_rng(0).standard_normal(300)
    weights = redraw(np.arange(300)[:, None], 300, seed=0)
    better = averages(weights, values + 0.1) - averages(weights, values)
    found = interval(better)
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.1)


def test_the_bootstrap_of_a_mean_has_the_textbook_width() -> None:
    values = np.random.default_rng(0).standard_normal(400)
    found = interval(averages(redraw(np.arange(400)[:, None], 400, seed=0), values))
    assert found.low < found.value < found.high
    # 2·1.96/√400; the interval itself is estimated from 300 draws.
    assert found.high - found.low == pytest.approx(0.196, rel=0.25)


def test_what_no_redraw_can_measure_has_no_interval() -> None:
    weights = redraw(np.empty((0, 3), np.int64), 2, seed=0)
    found = interval(averages(weights, np.empty(0)))
    assert np.isnan(found.value) and np.isnan(found.low)


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
