"""T is a bijection: shape, inverse, gradients, identity at the start, checkpoints, axes."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.models.flow import (
    Coupling,
    Flow,
    flow_checkpoint,
    flow_from_checkpoint,
    half_masks,
    principal_axes,
)

N = 10
# Standard deviations of the rows of published W+ codes reach from 0.8 to 10.
ROW_STD = torch.linspace(0.8, 10.0, N)[:, None]
RANK = 24


def codes(count: int, seed: int = 0) -> Tensor:
    """Codes (count, N, 512) of rank RANK about a long mean, float64, scaled like real ones."""
    generator = torch.Generator().manual_seed(seed)
    frame = torch.randn(RANK, N * 512, dtype=torch.float64, generator=torch.Generator())
    factors = torch.randn(count, RANK, dtype=torch.float64, generator=generator)
    directions = (factors @ frame).unflatten(1, (N, 512)) / RANK**0.5
    w: Tensor = 5.0 + ROW_STD.double() * directions
    return w


def randomise(layer: Coupling, std: float) -> None:
    """Fill the last layers of s and t, which start at zero."""
    for net in (layer.s, layer.t):
        nn.init.normal_(cast(nn.Linear, net[4]).weight, std=std)


def flow(layout: str, couplings: int = 13, tanh_t: bool = False, std: float = 0.3) -> Flow:
    """A flow whose last layers are random: s-nets vary by about `std`."""
    torch.manual_seed(1)
    mean, deviation, basis = principal_axes(codes(200), RANK)
    dim = 512 if layout == "rows" else RANK
    layers = [Coupling(mask, 32, tanh_t) for mask in half_masks(dim, couplings, seed=0)]
    for layer in layers:
        randomise(layer, std)
    t = Flow(layers, mean, deviation, None if layout == "rows" else basis).double()
    if t.basis is not None:
        # Orthonormal in float64 too, or the inverse is only as exact as a float32 basis.
        t.basis = torch.linalg.qr(t.basis.T).Q.T.contiguous()
    return t


FLOWS = [
    ("principal", 13, False),
    ("principal", 13, True),
    ("principal", 3, False),
    ("principal", 1, False),
    ("principal", 0, False),
    ("rows", 13, False),
    ("rows", 3, True),
]


@pytest.mark.parametrize(("layout", "couplings", "tanh_t"), FLOWS)
def test_inverse_undoes_forward_and_forward_undoes_inverse(
    layout: str, couplings: int, tanh_t: bool
) -> None:
    t, w = flow(layout, couplings, tanh_t), codes(7, seed=3)
    w_star = t(w)
    assert w_star.shape == w.shape
    # float64 through at most 13 couplings: far above its rounding, far below any real error.
    torch.testing.assert_close(t.inverse(w_star), w, rtol=0, atol=1e-9)
    torch.testing.assert_close(t(t.inverse(w)), w, rtol=0, atol=1e-9)


@pytest.mark.parametrize("layout", ["principal", "rows"])
def test_every_parameter_gets_a_gradient(layout: str) -> None:
    t = flow(layout)
    t(codes(8)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in t.parameters())


@pytest.mark.parametrize("layout", ["principal", "rows"])
def test_a_fresh_flow_is_the_identity(layout: str) -> None:
    t = flow(layout, std=0.0)
    w = codes(5)
    assert torch.equal(t(w), w)
    assert torch.equal(t.inverse(w), w)


def test_the_part_outside_the_basis_passes_unchanged() -> None:
    t, w = flow("principal"), codes(4)
    outside = torch.randn(4, N * 512, dtype=torch.float64)
    basis = t.basis
    assert basis is not None
    outside -= outside @ basis.T @ basis
    moved = t(w + outside.unflatten(1, (N, 512))) - t(w)
    torch.testing.assert_close(moved.flatten(1), outside, rtol=0, atol=1e-9)


def test_forward_is_the_map_on_coordinates() -> None:
    t, w = flow("principal"), codes(6)
    torch.testing.assert_close(t.coordinates(t(w)), t.map(t.coordinates(w)), rtol=0, atol=1e-9)
    # Mean and basis are those of the codes, rounded to float32.
    torch.testing.assert_close(t.codes(t.coordinates(w)), w, rtol=0, atol=1e-4)


def test_float32_round_trip_on_codes_of_realistic_scale() -> None:
    t, w = flow("principal", std=0.05).float(), codes(64).float()
    error = (t.inverse(t(w)) - w).abs().max() / w.std()
    # The figure that an exported flow must reach.
    assert error < 1e-5


def test_coupling_is_the_formula_of_real_nvp() -> None:
    mask = torch.tensor([True, False, True, False])
    layer = Coupling(mask, 8).double()
    randomise(layer, 1.0)
    x = torch.randn(5, 4, dtype=torch.float64)
    y = layer(x)
    kept = x[:, mask]
    assert torch.equal(y[:, mask], kept)
    torch.testing.assert_close(y[:, ~mask], x[:, ~mask] * torch.exp(layer.s(kept)) + layer.t(kept))
    assert layer.s(100 * kept).abs().max() <= 1.0


def test_masks_move_every_coordinate_in_every_pair() -> None:
    masks = half_masks(9, 5, seed=0)
    assert len(masks) == 5
    for even, odd in zip(masks[::2], masks[1::2], strict=False):
        assert torch.equal(even, ~odd)


@pytest.mark.parametrize("fill", [True, False])
def test_a_mask_that_moves_all_or_nothing_is_refused(fill: bool) -> None:
    with pytest.raises(InvalidInput, match="mask"):
        Coupling(torch.full((4,), fill), 8)


@pytest.mark.parametrize(("layout", "couplings", "tanh_t"), FLOWS)
def test_a_checkpoint_rebuilds_the_same_flow(layout: str, couplings: int, tanh_t: bool) -> None:
    t = flow(layout, couplings, tanh_t).float()
    again = flow_from_checkpoint(flow_checkpoint(t))
    w = codes(3).float()
    assert torch.equal(again(w), t(w))
    assert not any(p.requires_grad for p in again.parameters())


def test_a_checkpoint_without_its_masks_is_refused() -> None:
    content = flow_checkpoint(flow("principal", 3))
    del content["masks"]
    with pytest.raises(CheckpointError, match="masks"):
        flow_from_checkpoint(content)


def test_principal_axes_are_those_of_the_singular_value_decomposition() -> None:
    w = codes(300)
    mean, std, basis = principal_axes(w, RANK)
    centred = (w - w.mean(0)).flatten(1)
    _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(mean.double(), w.mean(0), rtol=0, atol=1e-5)
    # Axes are defined up to their sign.
    overlap = (basis.double() * axes[:RANK]).sum(1).abs()
    torch.testing.assert_close(overlap, torch.ones(RANK, dtype=torch.float64), rtol=0, atol=1e-5)
    variance = singular[:RANK].square() / (len(w) - 1)
    assert std == pytest.approx(variance.mean().sqrt().item(), rel=1e-6)
    coordinates = centred @ basis.double().T / std
    assert coordinates.square().mean().item() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("r", [0, 20])
def test_axes_that_codes_cannot_have_are_refused(r: int) -> None:
    with pytest.raises(InvalidInput, match="r: "):
        principal_axes(codes(20), r)
