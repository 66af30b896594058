"""The losses are the equations."""

from __future__ import annotations

from itertools import combinations
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from wstar_training.losses import (
    attribute_loss,
    distance_loss,
    flow_loss,
    identity_flow_loss,
    identity_loss,
    pair_distances,
)
from wstar_training.models.flow import Coupling, Flow, half_masks
from wstar_training.sketch import CountSketch


def test_pair_distances_are_all_pairs_in_order() -> None:
    x = torch.randn(5, 7, dtype=torch.float64) + 100.0
    wanted = torch.stack([(x[i] - x[j]).square().sum() for i, j in combinations(range(5), 2)])
    torch.testing.assert_close(pair_distances(x), wanted)


def test_distance_loss_is_the_mean_over_pairs_whatever_the_batch() -> None:
    points, features = torch.zeros(4, 1), torch.eye(4)
    # Every d is 2 and every D* is 0.
    assert distance_loss(points, features).item() == pytest.approx(4.0)
    assert distance_loss(points[:2], features[:2]).item() == pytest.approx(4.0)


def test_distance_loss_vanishes_for_an_isometry() -> None:
    features = torch.randn(6, 4, dtype=torch.float64)
    turned = features @ torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    assert distance_loss(turned, features).item() < 1e-20


def test_attribute_loss_is_binary_cross_entropy() -> None:
    logits = torch.tensor([[0.0, 2.0]])
    wanted = (torch.log(torch.tensor(2.0)) + torch.log1p(torch.exp(torch.tensor(-2.0)))) / 2
    found = attribute_loss(logits, torch.tensor([[1.0, 1.0]]))
    torch.testing.assert_close(found, wanted)


def test_sums_are_weighted_as_in_equations_3_and_5() -> None:
    attribute, distance, identity = torch.tensor([0.5, 0.25, 0.125])
    total = flow_loss(attribute, distance, 10.0)
    assert total.item() == 3.0
    assert identity_flow_loss(total, identity, 8.0).item() == 4.0


class _Linear(nn.Module):
    """A picture that is two numbers of the code."""

    def forward(self, w: Tensor) -> Tensor:
        return w[:, 0, :2]


def test_identity_loss_of_an_identity_flow_is_what_the_noise_moves() -> None:
    layers = [Coupling(mask, 8) for mask in half_masks(4, 3, seed=0)]
    flow = Flow(layers, torch.zeros(1, 512), 2.0, torch.eye(4, 512))
    x, epsilon = torch.randn(6, 4), torch.randn(6, 4)
    found = identity_loss(flow, _Linear(), nn.Identity(), x, epsilon)
    # w = σ·x, so a change ε of x moves the two numbers by σ·ε.
    wanted = (2.0 * epsilon[:, :2]).square().sum(1).mean()
    torch.testing.assert_close(found, wanted)


def test_identity_loss_trains_the_flow() -> None:
    layers = [Coupling(mask, 8) for mask in half_masks(4, 3, seed=0)]
    for layer in layers:
        nn.init.normal_(cast(nn.Linear, layer.s[4]).weight)
    flow = Flow(layers, torch.zeros(1, 512), 1.0, torch.eye(4, 512))
    identity_loss(flow, _Linear(), nn.Identity(), torch.randn(6, 4), torch.randn(6, 4)).backward()
    assert sum(p.grad.abs().sum() for p in flow.parameters() if p.grad is not None) > 0


def test_a_sketch_keeps_squared_distances() -> None:
    x = torch.randn(40, 5003)
    sketch = CountSketch(5003, 1024)
    ratio = pair_distances(sketch(x)) / pair_distances(x)
    # Relative standard deviation √(2/1024) = 0.044.
    assert ratio.mean().item() == pytest.approx(1.0, abs=0.01)
    assert ratio.std().item() < 0.06
