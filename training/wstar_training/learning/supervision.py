"""Where the perceptual distances come from that T learns: sketches, pictures, or any module.

A supervision answers for the faces of a batch. Sketches cost one small matrix product per step;
the others look at pictures while T trains, hundreds of times slower, and are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from wstar_training.learning.codes import Batch
from wstar_training.learning.losses import pair_distances
from wstar_training.models.perceptual import Judge

_SAMPLE = 2000
_MEASURED = 64
# Faces whose features are held at once: 15 MB each of VGG16 at 256 px.
_BLOCK = 16


class Supervision(Protocol):
    """Perceptual distances of faces by their rows."""

    @property
    def mean(self) -> float:
        """Mean distance of random pairs, the unit of λ_d."""

    def pairs(self, rows: Tensor) -> Tensor:
        """Distances of all pairs of the faces of rows int64 (B,), float32 (B·(B − 1)/2,).

        In the order of `torch.triu_indices(B, B, offset=1)`, at the perceptual scale.
        """


@dataclass(frozen=True)
class Sketched:
    """Distances of sketches: features float16 (N, F) whose squared distance is the perceptual one.

    They lie on the device that T trains on.
    """

    features: Tensor

    @cached_property
    def mean(self) -> float:
        """Twice the variance of the features."""
        return 2.0 * float(self.features[:_SAMPLE].double().var(0).sum())

    def pairs(self, rows: Tensor) -> Tensor:
        """One matrix product."""
        return pair_distances(self.features[rows].float())


@dataclass(frozen=True)
class Exact:
    """Distances by a judge that looks at the pictures.

    judge: whatever its own scale is, distances come at `scale`.
    pictures: rows to pictures, one or more sets of the same faces; their distances are averaged.
    mean: mean distance of random pairs (see `mean_distance`).
    block: faces whose features are held at once, beside those of as many others. A batch of k
        blocks is looked at (k + 1)/2 times.
    """

    judge: Judge
    pictures: Sequence[Batch]
    scale: float
    mean: float
    block: int = _BLOCK

    @torch.no_grad()
    def pairs(self, rows: Tensor) -> Tensor:
        """Block by block of faces."""
        blocks = torch.arange(len(rows)).split(self.block)
        squared = torch.zeros(len(rows), len(rows))
        for pictures in self.pictures:
            for index, a in enumerate(blocks):
                own = self._features(pictures, rows[a])
                for b in blocks[index:]:
                    other = own if b is a else self._features(pictures, rows[b])
                    taps = zip(own, other, strict=True)
                    parts = [_squared_distances(x, y) for x, y in taps]
                    squared[a[:, None], b] += torch.stack(parts).sum(0).cpu()
        first, second = torch.triu_indices(len(rows), len(rows), offset=1)
        factor = self.scale / self.judge.scale / len(self.pictures)
        return (squared[first, second] * factor).to(rows.device)

    def _features(self, pictures: Batch, rows: Tensor) -> list[Tensor]:
        return self.judge.features(pictures(rows.cpu().numpy()))


@dataclass(frozen=True)
class Pairwise:
    """Distances by any module that compares two batches of pictures, (N, 3, S, S) to (N,).

    distance: the module, at the scale that is wanted.
    pictures, mean: as of `Exact`. block: pairs that it is asked about at once.
    """

    distance: Callable[[Tensor, Tensor], Tensor]
    pictures: Sequence[Batch]
    mean: float
    block: int = _BLOCK

    @torch.no_grad()
    def pairs(self, rows: Tensor) -> Tensor:
        """Pair by pair, some at once."""
        first, second = torch.triu_indices(len(rows), len(rows), offset=1)
        total = torch.zeros(len(first))
        for pictures in self.pictures:
            faces = pictures(rows.cpu().numpy())
            for some in torch.arange(len(first)).split(self.block):
                found = self.distance(faces[first[some]], faces[second[some]])
                total[some] += found.flatten().cpu()
        return (total / len(self.pictures)).to(rows.device)


def mean_distance(pairs: Callable[[Tensor], Tensor], count: int, seed: int = 0) -> float:
    """Mean distance of all pairs of up to 64 of `count` faces, drawn at random."""
    random = np.random.default_rng(seed)
    rows = random.choice(count, min(count, _MEASURED), replace=False)
    return pairs(torch.from_numpy(rows)).double().mean().item()


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances (A, B) of the rows of a (A, F) and b (B, F)."""
    # Activations are positive and alike: without their mean, far less cancels in float32.
    centre = a.mean(0)
    a, b = a - centre, b - centre
    squared = a.square().sum(1)[:, None] + b.square().sum(1) - 2.0 * (a @ b.T)
    return squared.clamp_min(0.0)
