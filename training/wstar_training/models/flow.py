"""T: the bijection from W+ to W* (paper section 3.1), a Real NVP without normalisation or prior.

Forward and inverse live in one class and share their parameters. Couplings act on standardised
coordinates, so a flow whose couplings are the identity leaves every code where it is:

    T(w) = μ + σ·Bᵀ f(B (w − μ)/σ) + (the part of w − μ outside the rows of B, unchanged)

with B the first r principal axes of the training codes (`principal`) or the identity: on the
512 numbers of each row, shared by the n rows (`rows`), or on all n·512 numbers at once (`flat`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from wstar.errors import CheckpointError, InvalidInput

Masks = Literal["half", "alternating"]

_OVERSAMPLING = 16
_SUBSPACE_ITERATIONS = 4


class _Network(nn.Sequential):
    """Three linear layers with LeakyReLU between; the last starts at zero, the map at identity.

    autocast: compute in bfloat16; what comes out has the type of what went in.
    """

    autocast = False

    def __init__(self, into: int, hidden: int, out: int, tanh: bool) -> None:
        last = nn.Linear(hidden, out)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        layers = [nn.Linear(into, hidden), nn.LeakyReLU(), nn.Linear(hidden, hidden)]
        super().__init__(*layers, nn.LeakyReLU(), last, *([nn.Tanh()] if tanh else []))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., into) to (..., out)."""
        if not self.autocast:
            return self._layers(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            return self._layers(x).to(x.dtype)

    def _layers(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return x


class Coupling(nn.Module):
    """y = m·x + (1 − m)·(x·exp(s(m·x)) + t(m·x)) (Dinh et al. 2017, eq. 8), s bounded by Tanh.

    Parameters
    ----------
    mask: bool (dim,); True where x passes unchanged and steers the rest.
    hidden: width of the two hidden layers of s and t.
    tanh_t: bound t to [-1, 1] as well.
    """

    kept: Tensor
    moved: Tensor
    order: Tensor

    def __init__(self, mask: Tensor, hidden: int, tanh_t: bool = False) -> None:
        super().__init__()
        kept, moved = mask.nonzero().flatten(), (~mask).nonzero().flatten()
        if not len(kept) or not len(moved):
            raise InvalidInput("mask", mask.tolist(), "at least one True and one False")
        self.register_buffer("kept", kept)
        self.register_buffer("moved", moved)
        self.register_buffer("order", torch.cat([kept, moved]).argsort())
        self.s = _Network(len(kept), hidden, len(moved), tanh=True)
        self.t = _Network(len(kept), hidden, len(moved), tanh=tanh_t)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to (..., dim)."""
        return self.stretched(x)[0]

    def stretched(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the s(m·x) of the coordinates it moved."""
        kept, moved = x.index_select(-1, self.kept), x.index_select(-1, self.moved)
        s: Tensor = self.s(kept)
        moved = moved * torch.exp(s) + self.t(kept)
        return torch.cat([kept, moved], -1).index_select(-1, self.order), s

    def inverse(self, y: Tensor) -> Tensor:
        """Undo `forward`, (..., dim) to (..., dim)."""
        kept, moved = y.index_select(-1, self.kept), y.index_select(-1, self.moved)
        moved = (moved - self.t(kept)) * torch.exp(-self.s(kept))
        return torch.cat([kept, moved], -1).index_select(-1, self.order)


def half_masks(dim: int, couplings: int, seed: int) -> list[Tensor]:
    """Random halves, each followed by its complement: every coordinate moves in every pair."""
    generator = torch.Generator().manual_seed(seed)
    masks: list[Tensor] = []
    for index in range(couplings):
        if index % 2:
            masks.append(~masks[-1])
        else:
            masks.append(torch.randperm(dim, generator=generator) < dim // 2)
    return masks


def alternating_masks(dim: int, couplings: int) -> list[Tensor]:
    """Even coordinates, then odd ones, in turn."""
    even = torch.arange(dim) % 2 == 0
    return [~even if index % 2 else even for index in range(couplings)]


class Flow(nn.Module):
    """T: codes w (N, n, 512) of W+ to w_star of the same shape, and back.

    Parameters
    ----------
    couplings: the maps f is composed of, each on `dim` coordinates; none is the identity, W_PLUS.
    mean: float32 (n, 512), μ of the training codes.
    std: σ, one number: the standard deviation of the training codes along the basis.
    basis: float32 (r, n·512) with orthonormal rows for `principal`, else None.
    flat: without a basis, take a code as n·512 coordinates instead of n rows of 512.
    """

    mean: Tensor
    std: Tensor
    basis: Tensor | None

    def __init__(
        self,
        couplings: Sequence[Coupling],
        mean: Tensor,
        std: float,
        basis: Tensor | None = None,
        flat: bool = False,
    ) -> None:
        super().__init__()
        self.flat = flat
        self.couplings = nn.ModuleList(couplings)
        self.register_buffer("mean", mean)
        self.register_buffer("std", torch.tensor(std))
        self.register_buffer("basis", basis)

    def coordinates(self, w: Tensor) -> Tensor:
        """Standardised coordinates f acts on.

        (N, n, 512) for `rows`, (N, r) for `principal`, (N, n·512) for `flat`.
        """
        centred = (w - self.mean) / self.std
        if self.basis is None:
            return centred.flatten(1) if self.flat else centred
        return centred.flatten(1) @ self.basis.T

    def codes(self, x: Tensor) -> Tensor:
        """The codes (N, n, 512) that have coordinates x and nothing outside the basis."""
        return self.mean + self.std * self._as_codes(x)

    def map(self, x: Tensor) -> Tensor:
        """Map coordinates by f, any leading shape."""
        for coupling in self.couplings:
            x = coupling(x)
        return x

    def stretched(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What `map` gives, and the s(m·x) of every coupling."""
        scales: list[Tensor] = []
        for coupling in self.couplings:
            x, s = cast(Coupling, coupling).stretched(x)
            scales.append(s)
        return x, scales

    def map_inverse(self, y: Tensor) -> Tensor:
        """Map coordinates by f⁻¹, any leading shape."""
        for coupling in reversed(self.couplings):
            y = cast(Coupling, coupling).inverse(y)
        return y

    def moved(self, code: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """The code with its coordinates changed and all else left exactly as it is."""
        return code + self.std * self._as_codes(after - before)

    def _as_codes(self, x: Tensor) -> Tensor:
        """Vectors of coordinates as vectors (N, n, 512) of code space, unscaled."""
        if self.basis is not None:
            x = x @ self.basis
        elif not self.flat:
            return x
        codes: Tensor = x.unflatten(1, self.mean.shape)
        return codes

    def forward(self, w: Tensor) -> Tensor:
        """T(w), (N, n, 512)."""
        x = self.coordinates(w)
        return self.moved(w, x, self.map(x))

    def inverse(self, w_star: Tensor) -> Tensor:
        """T⁻¹(w_star), (N, n, 512)."""
        y = self.coordinates(w_star)
        return self.moved(w_star, y, self.map_inverse(y))

    def networks_in_bfloat16(self) -> None:
        """Let s and t compute in bfloat16 from here on; everything around them stays as it is."""
        for module in self.modules():
            if isinstance(module, _Network):
                module.autocast = True


def principal_axes(w: Tensor, r: int) -> tuple[Tensor, float, Tensor]:
    """Mean (n, 512), standard deviation and the first r principal axes (r, n·512) of codes.

    `w` is (N, n, 512) with N > r. Axes are ordered by falling variance; float64 inside, by
    subspace iteration (Halko et al. 2011, algorithm 4.4), exact where codes have rank r. The
    standard deviation is that of the r coordinates: in its units they have variance 1 on average.

    Raises
    ------
    InvalidInput: r outside 1..min(N - 1, n·512).
    """
    mean = w.mean(0, dtype=torch.float64)
    centred = (w - mean).flatten(1)
    largest = min(len(w) - 1, centred.shape[1])
    if not 1 <= r <= largest:
        raise InvalidInput("r", r, f"1 to {largest}")
    generator = torch.Generator().manual_seed(0)
    width = min(r + _OVERSAMPLING, largest)
    axes = torch.randn(centred.shape[1], width, dtype=torch.float64, generator=generator)
    for _ in range(_SUBSPACE_ITERATIONS):
        axes = torch.linalg.qr(centred.T @ (centred @ axes)).Q
    _, singular, turned = torch.linalg.svd(centred @ axes, full_matrices=False)
    basis = (turned @ axes.T)[:r]
    std = float(singular[:r].square().sum().div(r * (len(w) - 1)).sqrt())
    return mean.float(), std, basis.float().contiguous()


def flow_checkpoint(flow: Flow) -> dict[str, Any]:
    """What rebuilds `flow`: its masks, the width and bounds of s and t, and its state dict.

    masks: bool (couplings, dim). All couplings are of one size, as `half_masks` makes them.
    """
    couplings = [cast(Coupling, coupling) for coupling in flow.couplings]
    masks = [torch.zeros(len(c.order), dtype=torch.bool) for c in couplings]
    for mask, coupling in zip(masks, couplings, strict=True):
        mask[coupling.kept] = True
    first = couplings[0] if couplings else None
    return {
        "masks": torch.stack(masks) if masks else torch.zeros(0, 0, dtype=torch.bool),
        "hidden": cast(nn.Linear, first.t[0]).out_features if first else 0,
        "tanh_t": isinstance(first.t[-1], nn.Tanh) if first else False,
        "flat": flow.flat,
        "state": flow.state_dict(),
    }


def flow_from_checkpoint(content: Mapping[str, Any]) -> Flow:
    """Rebuild the flow of a checkpoint made by `flow_checkpoint`, in evaluation mode.

    Raises
    ------
    CheckpointError: a key is missing, or the tensors do not fit each other.
    """
    try:
        state: dict[str, Tensor] = content["state"]
        masks: Tensor = content["masks"]
        couplings = [Coupling(mask, content["hidden"], content["tanh_t"]) for mask in masks]
        flow = Flow(
            couplings,
            torch.empty_like(state["mean"]),
            1.0,
            torch.empty_like(state["basis"]) if "basis" in state else None,
            # Files of before `flat` was a layout lack it.
            content.get("flat", False),
        )
        flow.load_state_dict(state)
    except KeyError as error:
        raise CheckpointError(f"flow: no {error}") from error
    except (AttributeError, InvalidInput, RuntimeError, TypeError) as error:
        raise CheckpointError(f"flow: {error}") from error
    return flow.eval().requires_grad_(False)
