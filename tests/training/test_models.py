"""The networks give what the original networks gave, weights and inputs being the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from wstar_training.demo.tap_weights import balanced_tap_weights
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.models.vgg import VGG16

Load = Callable[[str, tuple[str, ...]], tuple[dict[str, Any], dict[str, Tensor]]]


@torch.no_grad()
def test_perceptual_features_are_distances_in_plain_euclid() -> None:
    x, y = torch.rand(2, 3, 3, 64, 64) * 2 - 1
    distance = PerceptualDistance(VGG16(4, batch_norm=True), 3.0, (0.2, 0.3, 0.5))
    a, b = torch.cat(distance.features(x), 1), torch.cat(distance.features(y), 1)
    torch.testing.assert_close((a - b).square().sum(1), distance(x, y), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_balanced_taps_give_random_pairs_the_scale_as_mean() -> None:
    network = VGG16(4, batch_norm=True)
    pictures = torch.rand(64, 3, 64, 64) * 2 - 1
    distance = PerceptualDistance(network, 10.0, balanced_tap_weights(network, pictures))
    found = distance(pictures[1:], pictures[:-1]).mean().item()
    assert found == pytest.approx(10.0, rel=1e-3)


def test_normals_have_unit_length_and_zero_rows_stay_zero() -> None:
    weight = torch.randn(3, 1024)
    weight[1] = 0.0
    normals = Classifiers(weight, torch.zeros(3)).normals
    torch.testing.assert_close(normals.norm(dim=1), torch.tensor([1.0, 0.0, 1.0]))
