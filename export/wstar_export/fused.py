"""T written for speed: the same numbers from fewer and larger operations.

Random halves come in pairs of complements, so what one coupling moved the next one keeps: the two
halves change roles and nothing is gathered between them. The first layers of s and t read the same
numbers and become one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from wstar_training.models.flow import Coupling, Flow


class FusedCoupling(nn.Module):
    """s and t of a coupling on the half that it keeps, their first layers joined."""

    kept: Tensor
    moved: Tensor
    order: Tensor

    def __init__(self, coupling: Coupling) -> None:
        super().__init__()
        self.register_buffer("kept", coupling.kept)
        self.register_buffer("moved", coupling.moved)
        self.register_buffer("order", coupling.order)
        s, t = (cast(nn.Linear, part[0]) for part in (coupling.s, coupling.t))
        joined = torch.cat([s.weight, t.weight]), torch.cat([s.bias, t.bias])
        self.first = nn.Linear(s.in_features, s.out_features + t.out_features)
        self.first.weight, self.first.bias = (nn.Parameter(part, False) for part in joined)
        self.activation = coupling.s[1]
        self.s, self.t = (nn.Sequential(*list(part)[2:]) for part in (coupling.s, coupling.t))

    def forward(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Log scale and shift of the moved half (..., d), from the kept one (..., dim - d)."""
        s, t = self.activation(self.first(kept)).chunk(2, -1)
        return self.s(s), self.t(t)


class FusedFlow(Flow):
    """The flow given, its couplings fused; for evaluation only.

    Equal to it in every bit but for the order in which a matrix product adds its terms.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__([], flow.mean, float(flow.std), flow.basis, flow.flat)
        fused = [FusedCoupling(cast(Coupling, coupling)) for coupling in flow.couplings]
        self.couplings = nn.ModuleList(fused)
        # Decided here: an exporter cannot look into tensors while it traces.
        self._swaps = [_complements(a, b) for a, b in pairwise(fused)]

    def map(self, x: Tensor) -> Tensor:
        """Map coordinates by f, any leading shape."""
        return _through(x, self._fused(), self._swaps, _forward)

    def map_inverse(self, y: Tensor) -> Tensor:
        """Map coordinates by f⁻¹, any leading shape."""
        return _through(y, self._fused()[::-1], self._swaps[::-1], _inverse)

    def _fused(self) -> list[FusedCoupling]:
        return [cast(FusedCoupling, coupling) for coupling in self.couplings]


def _forward(moved: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return moved * torch.exp(s) + t


def _inverse(moved: Tensor, s: Tensor, t: Tensor) -> Tensor:
    return (moved - t) * torch.exp(-s)


def _through(
    x: Tensor,
    couplings: list[FusedCoupling],
    swaps: list[bool],
    step: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Carry two halves through; join them only before a coupling that halves otherwise."""
    if not couplings:
        return x
    kept, moved = _halves(x, couplings[0])
    moved = step(moved, *couplings[0](kept))
    for (before, coupling), swap in zip(pairwise(couplings), swaps, strict=True):
        if swap:
            kept, moved = moved, kept
        else:
            kept, moved = _halves(_joined(kept, moved, before), coupling)
        moved = step(moved, *coupling(kept))
    return _joined(kept, moved, couplings[-1])


def _halves(x: Tensor, coupling: FusedCoupling) -> tuple[Tensor, Tensor]:
    return x.index_select(-1, coupling.kept), x.index_select(-1, coupling.moved)


def _joined(kept: Tensor, moved: Tensor, coupling: FusedCoupling) -> Tensor:
    """Both halves of a coupling (..., d) in the order of the coordinates."""
    return torch.cat([kept, moved], -1).index_select(-1, coupling.order)


def _complements(a: FusedCoupling, b: FusedCoupling) -> bool:
    return torch.equal(a.kept, b.moved) and torch.equal(a.moved, b.kept)
