"""T written for speed is T."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wstar.graphs import Space
from wstar_export.fused import FusedFlow
from wstar_export.run import Run
from wstar_training.models.flow import Coupling, Flow, half_masks

DIM = 512


def flow(masks: list[Tensor], tanh_t: bool) -> Flow:
    couplings = [Coupling(mask, hidden=24, tanh_t=tanh_t) for mask in masks]
    for parameter in nn.ModuleList(couplings).parameters():
        nn.init.normal_(parameter, std=0.1)
    return Flow(couplings, torch.randn(3, DIM), 1.7).double().eval().requires_grad_(False)


def thirds(count: int) -> list[Tensor]:
    """Masks that are nobody's complement, with more kept than moved."""
    return [torch.randperm(DIM) < 2 * DIM // 3 for _ in range(count)]


@pytest.mark.parametrize("tanh_t", [False, True])
@pytest.mark.parametrize(
    "masks", [[], half_masks(DIM, 1, 0), half_masks(DIM, 5, 1), half_masks(DIM, 4, 2), thirds(3)]
)
def test_same_both_ways(masks: list[Tensor], tanh_t: bool) -> None:
    t = flow(masks, tanh_t)
    fused = FusedFlow(t).double()
    w = torch.randn(4, 3, DIM, dtype=torch.float64)
    # 1e-12: float64, some hundred terms of order 1.
    torch.testing.assert_close(fused(w), t(w), rtol=0, atol=1e-12)
    torch.testing.assert_close(fused.inverse(w), t.inverse(w), rtol=0, atol=1e-12)


def test_same_on_the_coordinates_of_a_run(run: Run) -> None:
    t = run.flows[Space.W_STAR]
    w = run.codes[:8]
    # 1e-5: fp32, codes of standard deviation 1 around a mean of 2.
    torch.testing.assert_close(FusedFlow(t)(w), t(w), rtol=0, atol=1e-5)
