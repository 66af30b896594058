"""T is a bijection: shape, inverse, gradients, identity at the start, checkpoints, axes."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.learning.codes import Axes, load_codes, save_codes
from wstar_training.learning.config import FlowOptions, Layout
from wstar_training.learning.loop import FlowData, train
from wstar_training.learning.supervision import Sketched
from wstar_training.models.flow import (
    Coupling,
    Flow,
    Masks,
    alternating_masks,
    flow_checkpoint,
    flow_from_checkpoint,
    half_masks,
    principal_axes,
)
from wstar_training.readout.fitted import Readout, on_codes, on_coordinates

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


def flow(
    layout: str,
    couplings: int = 13,
    tanh_t: bool = False,
    masks: Masks = "half",
    std: float = 0.3,
) -> Flow:
    """A flow whose last layers are random: s-nets vary by about `std`."""
    torch.manual_seed(1)
    mean, deviation, basis = principal_axes(codes(200), RANK)
    axes = Axes(mean, deviation, basis if layout == "principal" else None, layout == "flat")
    t = axes.flow(couplings, 32, 0, masks, tanh_t)
    for layer in t.couplings:
        randomise(cast(Coupling, layer), std)
    t = t.double()
    if t.basis is not None:
        # Orthonormal in float64 too, or the inverse is only as exact as a float32 basis.
        t.basis = torch.linalg.qr(t.basis.T).Q.T.contiguous()
    return t


LAYOUTS = ["principal", "rows", "flat"]
FLOWS: list[tuple[str, int, bool, Masks]] = [
    ("principal", 13, False, "half"),
    ("principal", 13, True, "half"),
    ("principal", 13, False, "alternating"),
    ("principal", 3, False, "half"),
    ("principal", 1, False, "half"),
    ("principal", 0, False, "half"),
    ("rows", 13, False, "half"),
    ("rows", 13, True, "alternating"),
    ("rows", 3, True, "half"),
    ("flat", 13, False, "half"),
    ("flat", 13, True, "alternating"),
    ("flat", 0, False, "half"),
]


@pytest.mark.parametrize(("layout", "couplings", "tanh_t", "masks"), FLOWS)
def test_inverse_undoes_forward_and_forward_undoes_inverse(
    layout: str, couplings: int, tanh_t: bool, masks: Masks
) -> None:
    t, w = flow(layout, couplings, tanh_t, masks), codes(7, seed=3)
    w_star = t(w)
    assert w_star.shape == w.shape
    # float64 through at most 13 couplings: far above its rounding, far below any real error.
    torch.testing.assert_close(t.inverse(w_star), w, rtol=0, atol=1e-9)
    torch.testing.assert_close(t(t.inverse(w)), w, rtol=0, atol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_parameter_gets_a_gradient(layout: str) -> None:
    t = flow(layout)
    t(codes(8)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in t.parameters())


@pytest.mark.parametrize("layout", LAYOUTS)
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_forward_is_the_map_on_coordinates(layout: str) -> None:
    t, w = flow(layout), codes(6)
    torch.testing.assert_close(t.coordinates(t(w)), t.map(t.coordinates(w)), rtol=0, atol=1e-9)
    # Mean and basis are those of the codes, rounded to float32.
    torch.testing.assert_close(t.codes(t.coordinates(w)), w, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_float32_round_trip_on_codes_of_realistic_scale(layout: str) -> None:
    t, w = flow(layout, std=0.05).float(), codes(64).float()
    error = (t.inverse(t(w)) - w).abs().max() / w.std()
    # The figure that an exported flow must reach.
    assert error < 1e-5


# Overall deviation of each row of published W+ codes, and their deviation between images.
ROWS_OVERALL = torch.tensor(
    [2.76, 1.86, 10.1, 2.30, 5.50, 1.72, 2.55, 1.79, 4.08, 1.71, 2.51, 1.40, 2.46, 1.54, 1.80, 1.71,
     1.08, 0.83]
)  # fmt: skip
ROWS_BETWEEN = torch.tensor(
    [0.72, 0.52, 2.07, 0.72, 1.62, 0.75, 1.03, 0.88, 1.44, 0.90, 0.90, 0.65, 0.85, 0.63, 0.61, 0.52,
     0.35, 0.45]
)  # fmt: skip


def published_codes(count: int) -> Tensor:
    """Codes (count, 18, 512) with the mean and spread that published ones have, row by row."""
    random = torch.Generator().manual_seed(0)
    centre = (ROWS_OVERALL**2 - ROWS_BETWEEN**2).sqrt()[:, None]
    mean = centre * torch.randn(18, 512, generator=random)
    # A few factors move all of a row: codes lie near a subspace.
    factors = torch.randn(count, 40, generator=random)
    axes = torch.randn(40, 18 * 512, generator=random) / 40**0.5
    common = (factors @ axes).unflatten(1, (18, 512))
    own = torch.randn(count, 18, 512, generator=random)
    w: Tensor = mean + ROWS_BETWEEN[:, None] * (0.9 * common + 0.19**0.5 * own)
    return w


@pytest.mark.parametrize("tanh_t", [False, True])
@pytest.mark.parametrize("masks", ["half", "alternating"])
@pytest.mark.parametrize("layout", ["rows", "flat", 32])
def test_a_trained_flow_inverts_on_codes_like_published_ones(
    layout: Layout, masks: Masks, tanh_t: bool, tmp_path: Path
) -> None:
    w = published_codes(60)
    save_codes(tmp_path / "codes.pt", {"flow": w}, "flow", layout)
    axes = load_codes(tmp_path / "codes.pt").axes
    random = torch.Generator().manual_seed(1)
    x = axes.flow(0, 1, 0).coordinates(w)
    attributes = (torch.randn(60, 40, generator=random) > 0).float()
    # Perceptual distances unlike those of codes, so that T has something to do.
    features = torch.randn(60, 64, generator=random) / 8.0
    data = FlowData(x, attributes, Sketched(features.half()))
    readout = Readout(0.01 * np.ones((40, x[0].numel())), np.zeros(40))
    options = FlowOptions(
        couplings=6, steps=8, hidden=24, masks=masks, tanh_t=tanh_t, batch=8, rate=3e-3
    )
    torch.manual_seed(0)
    start = axes.flow(6, 24, 0, masks, tanh_t)
    t = train(tmp_path / "t.pt", options, start, data, data, readout)
    moved = (t(w) - w).std() / w.std()
    assert moved > 1e-3
    # In float32 as served; in float64 what is left is rounding of the basis, which is float32.
    assert (t.inverse(t(w)) - w).abs().max() / w.std() < 1e-5
    exact = t.double()
    assert (exact.inverse(exact(w.double())) - w).abs().max() / w.std() < 1e-6


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


@pytest.mark.parametrize("kind", ["half", "alternating"])
def test_masks_move_every_coordinate_in_every_pair(kind: Masks) -> None:
    masks = half_masks(9, 5, seed=0) if kind == "half" else alternating_masks(9, 5)
    assert len(masks) == 5
    assert masks[0].tolist() == [True, False] * 4 + [True] or kind == "half"
    for even, odd in zip(masks[::2], masks[1::2], strict=False):
        assert torch.equal(even, ~odd)


@pytest.mark.parametrize("fill", [True, False])
def test_a_mask_that_moves_all_or_nothing_is_refused(fill: bool) -> None:
    with pytest.raises(InvalidInput, match="mask"):
        Coupling(torch.full((4,), fill), 8)


@pytest.mark.parametrize(("layout", "couplings", "tanh_t", "masks"), FLOWS)
def test_a_checkpoint_rebuilds_the_same_flow(
    layout: str, couplings: int, tanh_t: bool, masks: Masks
) -> None:
    t = flow(layout, couplings, tanh_t, masks).float()
    again = flow_from_checkpoint(flow_checkpoint(t))
    w = codes(3).float()
    assert torch.equal(again(w), t(w))
    assert again.coordinates(w).shape == t.coordinates(w).shape
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_read_out_of_coordinates_is_the_same_on_codes_and_back(layout: str) -> None:
    t, w = flow(layout), codes(5)
    y = t.coordinates(w).flatten(1).numpy()
    readout = Readout(np.random.default_rng(0).standard_normal((3, y.shape[1])), np.arange(3.0))
    on_w = on_codes(readout, t)
    # Weights on codes are stored in float32, and codes are far from 0.
    np.testing.assert_allclose(on_w.double()(w).numpy(), readout.logits(y), rtol=0, atol=1e-3)
    again = on_coordinates(on_w, t)
    np.testing.assert_allclose(again.weight, readout.weight, rtol=0, atol=1e-5)
