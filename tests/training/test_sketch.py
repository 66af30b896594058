"""A sketch keeps squared distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from wstar.errors import InvalidInput
from wstar_training.evaluation.sketch_error import sketch_error
from wstar_training.learning.codes import sketched_features
from wstar_training.learning.losses import pair_distances
from wstar_training.learning.sketch import CountSketch
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.models.vgg import VGG16


def alike(count: int, features: int) -> Tensor:
    """Features as activations are: none below zero, alike from face to face, uneven in size."""
    size = torch.logspace(-1, 1, features, dtype=torch.float64)[torch.randperm(features)]
    return size * (1.0 + 0.3 * torch.randn(count, features, dtype=torch.float64)).relu()


@pytest.mark.parametrize("features", [1000, 4096, 5003])
def test_it_is_linear(features: int) -> None:
    a, b = alike(2, features)[:, None]
    sketch = CountSketch(features, 1024)
    torch.testing.assert_close(sketch(2.0 * a - 3.0 * b), 2.0 * sketch(a) - 3.0 * sketch(b))
    assert sketch(a).shape == (1, 1024)


def test_it_is_a_function_of_its_seed() -> None:
    x = alike(3, 5000)
    assert torch.equal(CountSketch(5000, 512, seed=4)(x), CountSketch(5000, 512, seed=4)(x))
    assert not torch.equal(CountSketch(5000, 512, seed=4)(x), CountSketch(5000, 512, seed=5)(x))


def test_pictures_one_by_one_have_the_sketch_of_a_batch() -> None:
    x, sketch = alike(4, 3000), CountSketch(3000, 700)
    each = torch.cat([sketch(row[None]) for row in x])
    torch.testing.assert_close(sketch(x), each, rtol=0.0, atol=0.0)


def test_every_feature_goes_to_one_place_with_its_sign() -> None:
    sketch = CountSketch(300, 64)
    matrix = sketch(torch.eye(300))
    assert torch.equal(matrix.abs().sum(1), torch.ones(300))
    assert set(matrix.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_no_fewer_numbers_than_features_lose_nothing() -> None:
    x = alike(10, 500)
    torch.testing.assert_close(pair_distances(CountSketch(500, 500)(x)), pair_distances(x))


def test_distances_are_right_on_average_over_seeds() -> None:
    torch.manual_seed(0)
    x = alike(6, 2000)
    exact = pair_distances(x)
    seeds = 400
    found = torch.stack([pair_distances(CountSketch(2000, 128, seed)(x)) for seed in range(seeds)])
    ratio = (found / exact).mean(0)
    # One draw has the standard deviation √(2/128) = 0.125 at most; 4 of those of the mean.
    assert (ratio - 1.0).abs().max() < 4.0 * 0.125 / seeds**0.5


def test_the_error_shrinks_with_the_root_of_the_size() -> None:
    torch.manual_seed(0)
    x = alike(60, 20_000)
    exact = pair_distances(x)
    for size in (256, 1024, 4096):
        error = pair_distances(CountSketch(20_000, size)(x)) / exact - 1.0
        # Features of one block never meet, which takes size/features off the variance.
        expected = (2.0 / size * (1.0 - size / 20_000)) ** 0.5
        # 1770 pairs of 60 faces are far from independent.
        assert expected / 1.5 < error.std().item() < 1.5 * expected


def pictures(side: int) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    coarse = random.uniform(-1, 1, (40, 3, side // 8, side // 8))
    return coarse.repeat(8, 2).repeat(8, 3).astype(np.float32)


def test_its_error_is_measured_against_the_judge() -> None:
    torch.manual_seed(0)
    judge = PerceptualDistance(VGG16(4, batch_norm=True))
    faces = pictures(32)

    def batch(rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(faces[rows])

    rows = sketch_error(judge, batch, 40, sizes=(64, 1024), pairs=500)
    assert [row.size for row in rows] == [64, 1024]
    # Two groups of 25 faces.
    assert all(row.pairs == 600 for row in rows)
    small, large = rows
    assert large.mean < 0.5 * small.mean
    assert all(row.mean < row.p95 < 4.0 * row.expected for row in rows)
    # What is kept of a set is what was measured.
    kept = sketched_features(judge, 40, 1024, batch)
    assert kept.dtype == torch.float16
    with torch.no_grad():
        exact = pair_distances(torch.cat(judge.features(batch(np.arange(40))), 1))
    error = (pair_distances(kept.float()) / exact - 1.0).abs()
    assert error.mean().item() < 2.0 * large.mean + 1e-3


@pytest.mark.parametrize(
    ("count", "pairs", "field"), [(1, 10, "count"), (5, 0, "pairs"), (5, 10, "pictures")]
)
def test_what_has_no_distances_is_refused(count: int, pairs: int, field: str) -> None:
    judge = PerceptualDistance(VGG16(2))
    with pytest.raises(InvalidInput, match=field):
        sketch_error(judge, lambda rows: torch.zeros(len(rows), 3, 8, 8), count, (16,), pairs)
