"""Every supervision gives the judge's distances, of all pairs, in one order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from wstar_training.learning.codes import sketched_features
from wstar_training.learning.supervision import (
    Exact,
    Pairwise,
    Sketched,
    Supervision,
    mean_distance,
)
from wstar_training.models.perceptual import LearnedDistance, PerceptualDistance
from wstar_training.models.vgg import BLOCK_TAPS, VGG16

COUNT, SCALE = 30, 4.0
# Neither in order, nor without gaps, nor a multiple of the blocks below.
ROWS = torch.tensor([4, 27, 0, 13, 9, 22, 1])


def set_of(seed: int) -> Callable[[NDArray[np.int64]], Tensor]:
    coarse = np.random.default_rng(seed).uniform(-1, 1, (COUNT, 3, 4, 4)).astype(np.float32)
    faces = torch.from_numpy(coarse.repeat(8, 2).repeat(8, 3))
    return lambda rows: faces[torch.from_numpy(rows)]


@pytest.fixture(scope="module")
def judge() -> PerceptualDistance:
    torch.manual_seed(0)
    return PerceptualDistance(VGG16(4, batch_norm=True), scale=10.0)


@torch.no_grad()
def one_by_one(judge: PerceptualDistance, *seeds: int) -> Tensor:
    """Mean distance over the sets, pair by pair, at SCALE."""
    each = []
    for seed in seeds:
        faces = set_of(seed)(ROWS.numpy())
        pairs = [judge(faces[a : a + 1], faces[b : b + 1]) for a, b in combinations(range(7), 2)]
        each.append(torch.cat(pairs))
    return torch.stack(each).mean(0) * SCALE / judge.scale


@pytest.mark.parametrize("block", [1, 3, 16])
@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_exact_distances_are_those_of_pairs_whatever_the_block(
    judge: PerceptualDistance, block: int, seeds: tuple[int, ...]
) -> None:
    exact = Exact(judge, [set_of(seed) for seed in seeds], SCALE, 1.0, block)
    found = exact.pairs(ROWS)
    assert found.dtype == torch.float32 and not found.requires_grad
    # Squares of float32 activations, added in another order.
    torch.testing.assert_close(found, one_by_one(judge, *seeds), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [2, 100])
def test_any_module_that_compares_pictures_will_do(judge: PerceptualDistance, block: int) -> None:
    def distance(x: Tensor, y: Tensor) -> Tensor:
        # As LPIPS answers: one number per pair, in four dimensions.
        each: Tensor = judge(x, y)
        return each[:, None, None, None] * SCALE / judge.scale

    found = Pairwise(distance, [set_of(1), set_of(2)], 1.0, block).pairs(ROWS)
    torch.testing.assert_close(found, one_by_one(judge, 1, 2), rtol=1e-4, atol=1e-5)


def test_sketches_say_what_the_pictures_do(judge: PerceptualDistance) -> None:
    features = sketched_features(judge, COUNT, 2048, set_of(1)).float() * (SCALE / 10.0) ** 0.5
    sketched, exact = Sketched(features.half()), Exact(judge, [set_of(1)], SCALE, 1.0)
    found, wanted = sketched.pairs(ROWS), exact.pairs(ROWS)
    assert found.dtype == torch.float32
    # √(2/2048) = 0.031: four standard deviations, for 21 pairs.
    assert (found / wanted - 1.0).abs().max() < 4 * (2 / 2048) ** 0.5


def test_the_mean_is_that_of_random_pairs(judge: PerceptualDistance) -> None:
    features = sketched_features(judge, COUNT, 2048, set_of(1))
    everyone: Supervision = Sketched(features)
    wanted = everyone.pairs(torch.arange(COUNT)).mean().item()
    assert everyone.mean == pytest.approx(wanted, rel=1e-4)
    exact = Exact(judge, [set_of(1)], 10.0, 1.0)
    # All of them are drawn; the sketch is 3 % off at most pairs, and less on average.
    assert mean_distance(exact.pairs, COUNT) == pytest.approx(wanted, rel=0.03)


def test_a_batch_of_one_has_no_pairs(judge: PerceptualDistance) -> None:
    for supervision in (
        Sketched(torch.randn(COUNT, 8).half()),
        Exact(judge, [set_of(1)], SCALE, 1.0),
        Pairwise(judge, [set_of(1)], 1.0),
    ):
        assert supervision.pairs(torch.tensor([3])).shape == (0,)


@torch.no_grad()
def test_learned_weights_give_the_distance_of_lpips() -> None:
    torch.manual_seed(0)
    network = VGG16(2)
    weights = [torch.rand(2 * factor) for factor in (1, 2, 4, 8, 8)]
    judge = LearnedDistance(network, weights, scale=3.0)
    x, y = set_of(1)(np.arange(5)), set_of(2)(np.arange(5))
    wanted = torch.zeros(5)
    taps = (network.taps(pictures, BLOCK_TAPS) for pictures in (x, y))
    for v, a, b in zip(weights, *taps, strict=True):
        a = a / (a.square().sum(1, keepdim=True).sqrt() + 1e-10)
        b = b / (b.square().sum(1, keepdim=True).sqrt() + 1e-10)
        wanted += 3.0 * ((a - b).square() * v[:, None, None]).sum(1).mean((1, 2))
    torch.testing.assert_close(judge(x, y), wanted)
    a, b = (torch.cat(judge.features(pictures), 1) for pictures in (x, y))
    torch.testing.assert_close((a - b).square().sum(1), wanted)
    # A slot: whatever has features supervises.
    rows = torch.arange(5)
    pair = Exact(judge, [set_of(1)], 3.0, 1.0).pairs(rows)[0]
    torch.testing.assert_close(pair, judge(x[:1], x[1:2])[0])
