"""The losses are the equations, and so are their gradients."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import combinations
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wstar_training.learning.codes import embeddings, rendered
from wstar_training.learning.losses import (
    attribute_loss,
    distance_loss,
    flow_loss,
    identity_flow_loss,
    identity_loss,
    pair_distances,
)
from wstar_training.models.flow import Coupling, Flow, half_masks
from wstar_training.models.stylegan2 import Generator

BuildGenerator = Callable[..., Generator]


def codes_like_real_ones(count: int, rows: int, dim: int) -> Tensor:
    """Codes float64 (count, rows, dim) whose rows vary by 0.8 to 10, around a mean far from 0."""
    std = torch.logspace(-0.1, 1.0, rows, dtype=torch.float64)[:, None]
    mean = 3.0 * torch.randn(rows, dim, dtype=torch.float64)
    return mean + std * torch.randn(count, rows, dim, dtype=torch.float64)


def small_flow(w: Tensor, couplings: int = 3) -> Flow:
    """A T on the rows of codes that is not the identity."""
    layers = [Coupling(mask, 6) for mask in half_masks(w.shape[-1], couplings, seed=0)]
    for layer in layers:
        for net in (layer.s, layer.t):
            nn.init.normal_(cast(nn.Linear, net[4]).weight, std=0.2)
    return Flow(layers, w.mean(0), float(w.std()), None).to(w.dtype)


def test_pair_distances_are_all_pairs_in_order() -> None:
    x = torch.randn(5, 7, dtype=torch.float64) + 100.0
    wanted = torch.stack([(x[i] - x[j]).square().sum() for i, j in combinations(range(5), 2)])
    torch.testing.assert_close(pair_distances(x), wanted)


def test_distance_loss_is_the_mean_over_pairs_whatever_the_batch() -> None:
    points, features = torch.zeros(4, 1), torch.eye(4)
    # Every d is 2 and every D* is 0.
    assert distance_loss(points, pair_distances(features)).item() == pytest.approx(4.0)
    assert distance_loss(points[:2], pair_distances(features[:2])).item() == pytest.approx(4.0)


def test_distance_loss_vanishes_for_an_isometry() -> None:
    features = torch.randn(6, 4, dtype=torch.float64)
    turned = features @ torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    assert distance_loss(turned, pair_distances(features)).item() < 1e-20


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
    before = _Linear()(flow.codes(x))
    found = identity_loss(flow, _Linear(), nn.Identity(), x, epsilon, before)
    # w = σ·x, so a change ε of x moves the two numbers by σ·ε.
    wanted = (2.0 * epsilon[:, :2]).square().sum(1).mean()
    torch.testing.assert_close(found, wanted)


class _Everything(nn.Module):
    """All of eq. 5 as a function of T's parameters: each loss, and the total last."""

    def __init__(self, flow: Flow, generator: nn.Module, identity: nn.Module) -> None:
        super().__init__()
        self.flow = flow
        # In a tuple: frozen, and no parameters of this module.
        self.path = (generator, identity)

    def forward(
        self,
        x: Tensor,
        attributes: Tensor,
        target: Tensor,
        classifiers: Tensor,
        epsilon: Tensor,
        before: Tensor,
    ) -> tuple[Tensor, ...]:
        y = self.flow.map(x).flatten(1)
        attribute = attribute_loss(y @ classifiers.T, attributes)
        distance = distance_loss(self.flow.std / y.shape[1] ** 0.5 * y, target)
        three = flow_loss(attribute, distance, 10.0)
        generator, identity = self.path
        same = identity_loss(self.flow, generator, identity, x, epsilon, before)
        return attribute, distance, three, same, identity_flow_loss(three, same, 0.1)


def test_gradients_of_equations_1_to_5_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    rows, dim, count = 4, 6, 5
    w = codes_like_real_ones(200, rows, dim)
    flow = small_flow(w)
    generator = nn.Sequential(nn.Flatten(), nn.Linear(rows * dim, 12), nn.Tanh())
    identity = nn.Sequential(nn.Linear(12, 7), nn.Sigmoid())
    for network in (generator, identity):
        network.double().requires_grad_(False)
        nn.init.normal_(cast(nn.Linear, network[-2]).weight, std=0.2)
    everything = _Everything(flow, generator, identity)
    names = [name for name, _ in everything.named_parameters()]
    x = flow.coordinates(w[:count])
    given = (
        torch.randint(0, 2, (count, 3)).double(),
        pair_distances(torch.randn(count, 4, dtype=torch.float64)),
        0.3 * torch.randn(3, rows * dim, dtype=torch.float64),
        0.3 * torch.randn(count, rows, dim, dtype=torch.float64),
        identity(generator(w[:count])),
    )

    def by_parameters(x: Tensor, *parameters: Tensor) -> Any:  # noqa: ANN401
        return functional_call(everything, dict(zip(names, parameters, strict=True)), (x, *given))

    inputs = [t.detach().requires_grad_() for t in (x, *everything.parameters())]
    # Slow mode would take every input apart; a random direction of each sees any wrong entry.
    assert torch.autograd.gradcheck(by_parameters, inputs, fast_mode=True)


@pytest.mark.parametrize("scale", [0.8, 10.0])
def test_gradients_of_distances_are_right_entry_by_entry(scale: float) -> None:
    torch.manual_seed(0)
    points = (40.0 + scale * torch.randn(5, 3, dtype=torch.float64)).requires_grad_()
    target = pair_distances(torch.randn(5, 4, dtype=torch.float64))
    assert torch.autograd.gradcheck(distance_loss, (points, target))
    logits = (scale * torch.randn(4, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(attribute_loss, (logits, torch.eye(4, 3).double()))


class Peak(TorchDispatchMode):
    """The most bytes of tensors that lived at once, made while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self.seen: dict[int, int] = {}

    def _gone(self, pointer: int) -> None:
        self.now -= self.seen.pop(pointer)

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 (torch's own signature)
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.seen:
                    self.seen[storage._cdata] = storage.nbytes()
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self._gone, storage._cdata)
        self.most = max(self.most, self.now)
        return out


def test_parts_need_less_memory_and_have_the_same_gradients(
    small_generator: BuildGenerator,
) -> None:
    torch.manual_seed(0)
    generator = small_generator(32).double()
    w = codes_like_real_ones(8, generator.n_latent, 12)
    flow = small_flow(w, couplings=2)
    identity = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(),
                             nn.Flatten(), nn.Linear(16 * 28 * 28, 5)).double()  # fmt: skip
    identity.requires_grad_(False)
    x, epsilon = flow.coordinates(w), 0.1 * torch.randn_like(w)
    before = identity(generator(w))

    def run(at_once: int) -> tuple[int, list[Tensor]]:
        with Peak() as peak:
            loss = identity_loss(flow, generator, identity, x, epsilon, before, at_once)
            gradients = torch.autograd.grad(loss, list(flow.parameters()))
        return peak.most, [loss, *gradients]

    whole, wanted = run(8)
    for at_once in (1, 3):
        lean, found = run(at_once)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
        # What is left beside the activations are T and its gradients.
        assert lean < 0.5 * whole


def test_the_kept_left_side_is_what_would_be_computed(small_generator: BuildGenerator) -> None:
    torch.manual_seed(0)
    generator = small_generator(16)
    w = codes_like_real_ones(120, generator.n_latent, 12).float()
    flow = small_flow(w)
    identity = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 9)).requires_grad_(False)
    kept = embeddings(identity, len(w), rendered(generator, flow, w))
    assert kept.dtype == torch.float16 and kept.shape == (120, 9)
    rows = torch.tensor([3, 119, 50])
    x = flow.coordinates(w[rows])
    computed = identity(generator(flow.codes(x)))
    # Half precision: 11 bits.
    torch.testing.assert_close(kept[rows].float(), computed, rtol=2**-11, atol=1e-6)
    # Without noise T leaves every face as it is.
    still = identity_loss(flow, generator, identity, x, torch.zeros_like(x), kept[rows].float())
    moved = identity_loss(flow, generator, identity, x, torch.ones_like(x), kept[rows].float())
    assert still.item() < 1e-5 * moved.item()
