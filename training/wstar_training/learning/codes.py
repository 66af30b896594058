"""Codes of picture sets, made once: W+ by the encoder, the axes they vary along, and what the
judge sees in the pictures and in their reconstructions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wstar_training import checkpoint
from wstar_training.learning.config import Layout
from wstar_training.learning.sketch import CountSketch
from wstar_training.models.flow import (
    Coupling,
    Flow,
    Masks,
    alternating_masks,
    half_masks,
    principal_axes,
)
from wstar_training.models.perceptual import Judge

Batch = Callable[[NDArray[np.int64]], Tensor]

_BATCH = 50
# Up to this side a whole batch is rendered and judged at once; G of 1024 px alone takes 0.4 GB.
_SIDE = 64
_AXES_FROM = 10_000


def over_batches(count: int, batch: Batch) -> Tensor:
    """Concatenate `batch(rows)` over rows 0..count-1, few at a time: activations stay small."""
    starts = range(0, count, _BATCH)
    with torch.no_grad():
        return torch.cat([batch(np.arange(a, min(a + _BATCH, count))) for a in starts])


@dataclass(frozen=True)
class Axes:
    """The coordinates that T acts on: principal axes of its training codes, rows, or whole codes.

    mean: float32 (n, 512). std: one number. basis: float32 (r, n·512); None for `rows` and `flat`.
    flat: whole codes instead of rows.
    """

    mean: Tensor
    std: float
    basis: Tensor | None
    flat: bool = False

    @property
    def dim(self) -> int:
        """How many coordinates a coupling acts on."""
        if self.basis is not None:
            return len(self.basis)
        return self.mean.numel() if self.flat else self.mean.shape[-1]

    def flow(
        self, couplings: int, hidden: int, seed: int, masks: Masks = "half", tanh_t: bool = False
    ) -> Flow:
        """A new T on these axes, the identity until it is trained; no couplings is W_PLUS."""
        if masks == "half":
            made = half_masks(self.dim, couplings, seed)
        else:
            made = alternating_masks(self.dim, couplings)
        layers = [Coupling(mask, hidden, tanh_t) for mask in made]
        return Flow(layers, self.mean, self.std, self.basis, self.flat)


@dataclass(frozen=True)
class Codes:
    """Codes by split, float32 (N, n, 512) in W+, and the axes of those T trains on."""

    w: dict[str, Tensor]
    axes: Axes


def save_codes(path: Path, w: dict[str, Tensor], train: str, layout: Layout) -> None:
    """Write codes, and the coordinates of the split `train` that T acts on."""
    content: dict[str, Any] = {"w": w}
    some = w[train][:_AXES_FROM]
    if isinstance(layout, int):
        content |= dict(zip(("mean", "std", "basis"), principal_axes(some, layout), strict=True))
    else:
        content |= {
            "mean": some.mean(0),
            "std": float((some - some.mean(0)).square().mean().sqrt()),
            "flat": layout == "flat",
        }
    checkpoint.save(path, content)


def load_codes(path: Path) -> Codes:
    """Read what `save_codes` wrote."""
    content = checkpoint.load(path)
    # Files of before `flat` was a layout lack it.
    flat = content.get("flat", False)
    return Codes(content["w"], Axes(content["mean"], content["std"], content.get("basis"), flat))


def sketched_features(judge: Judge, count: int, size: int, pictures: Batch) -> Tensor:
    """Features of pictures (`pictures` maps rows to a batch), sketched to float16 (count, size).

    Their squared distances are those of the judge, up to the error of a `CountSketch`.
    """
    sketch: CountSketch | None = None

    def batch(rows: NDArray[np.int64]) -> Tensor:
        nonlocal sketch
        some = pictures(rows)
        sketched = []
        for part in some.split(_at_once(some.shape[-1])):
            features = torch.cat(judge.features(part), 1)
            sketch = sketch or CountSketch(features.shape[1], size)
            sketched.append(sketch(features).half())
        return torch.cat(sketched)

    return over_batches(count, batch)


def compose(network: nn.Module, pictures: Batch) -> Batch:
    """What a network says of pictures, by row."""

    def batch(rows: NDArray[np.int64]) -> Tensor:
        out: Tensor = network(pictures(rows))
        return out

    return batch


def regenerated(generator: nn.Module, w: Tensor) -> Batch:
    """Pictures G(w) by row, clamped to [-1, 1] as bytes are; large ones rendered few at a time."""
    at_once = _at_once(picture_side(w))

    def batch(rows: NDArray[np.int64]) -> Tensor:
        parts = w[torch.from_numpy(rows)].split(at_once)
        return torch.cat([generator(part).clamp(-1.0, 1.0) for part in parts])

    return batch


def picture_side(w: Tensor) -> int:
    """Side in px of the pictures of codes (N, n, 512)."""
    return int(2 ** (w.shape[1] // 2 + 1))


def _at_once(side: int) -> int:
    """How many pictures of a side in px a network takes at once."""
    return max(1, _BATCH * _SIDE**2 // side**2)


def embeddings(identity: nn.Module, count: int, pictures: Batch) -> Tensor:
    """F of pictures by row, float16 (count, E): the left side of eq. 4, which T never changes."""

    def batch(rows: NDArray[np.int64]) -> Tensor:
        some = pictures(rows)
        return torch.cat([identity(part) for part in some.split(_at_once(some.shape[-1]))]).half()

    return over_batches(count, batch)


def rendered(generator: nn.Module, flow: Flow, w: Tensor) -> Batch:
    """Pictures G(w) by row as eq. 4 has them: of what T sees of the codes w, and not clamped."""
    x = flow.coordinates(w)
    at_once = _at_once(picture_side(w))

    def batch(rows: NDArray[np.int64]) -> Tensor:
        parts = x[torch.from_numpy(rows)].split(at_once)
        return torch.cat([generator(flow.codes(part)) for part in parts])

    return batch


def matching_scale(axes: Axes, w: Tensor, features: Tensor) -> float:
    """Factor on perceptual distances under which their mean is that of D* (eq. 1) in W+.

    T then starts from distances of the right size, and W+ is compared at its best.
    """
    x = axes.flow(0, 1, 0).coordinates(w).double()
    latent = 2.0 * x.var(0).sum() * axes.std**2 / math.prod(w.shape[1:])
    return float(latent / (2.0 * features.double().var(0).sum()))
