"""What edits are looked at with: G, and networks that compare its pictures before and after."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar_training.learning.codes import Batch, over_batches, regenerated

Float64 = NDArray[np.float64]

# Of pictures that are looked at together: 50 of 64 px, one of 1024 px.
_PIXELS = 50 * 64 * 64


@dataclass(frozen=True)
class Seen:
    """What is seen in N edited pictures.

    logits: (N, K), the referee's. perceptual: (N,), distance from the picture before.
    embedding: (N, E), of the identity network; None without one.
    """

    logits: Float64
    perceptual: Float64
    embedding: Tensor | None


@dataclass(frozen=True)
class Studio:
    """Networks that no loss has seen, and the perceptual judge, all frozen.

    generator: w (N, n, 512) to pictures (N, 3, S, S); clamped to [-1, 1] here, as bytes are.
    referee: pictures to logits (N, K).
    identity: pictures to unit vectors (N, E); None where there is no such network.
    features: pictures to features, one or more (N, F), whose plain squared distance, together,
    is the perceptual distance.
    """

    generator: nn.Module
    referee: nn.Module
    identity: nn.Module | None
    features: Callable[[Tensor], list[Tensor]]

    def drawn(self, w: Tensor) -> Batch:
        """G(w) by row."""
        return regenerated(self.generator, w)

    def pictures(self, w: Tensor) -> Tensor:
        """G(w), drawn a few at a time."""
        return over_batches(len(w), self.drawn(w))

    def recognise(self, pictures: Tensor) -> Tensor | None:
        """Embeddings (N, E)."""
        return None if self.identity is None else _in_parts(self.identity, pictures)

    def compare(self, w: Tensor, before: Tensor) -> Seen:
        """Look at edits w (S·F, n, 512) of pictures `before` (F, 3, S, S), S edits of each.

        Edits of one strength lie together. Pictures are drawn a few at a time and not kept.
        """
        draw = self.drawn(w)
        reference = _in_parts(lambda some: torch.cat(self.features(some), 1), before)
        at_once = _at_once(before)

        def look(rows: NDArray[np.int64]) -> Tensor:
            pictures = draw(rows)
            apart = torch.cat(self.features(pictures), 1)
            apart -= reference[torch.from_numpy(rows % len(before))]
            seen = [apart.square().sum(1, keepdim=True), self.referee(pictures)]
            if self.identity is not None:
                seen.append(self.identity(pictures))
            return torch.cat(seen, 1)

        def batch(rows: NDArray[np.int64]) -> Tensor:
            return torch.cat([look(r) for r in np.split(rows, range(at_once, len(rows), at_once))])

        found = over_batches(len(w), batch)
        distance, logits, embedding = found.tensor_split((1, 1 + len(ATTRIBUTES)), 1)
        return Seen(
            logits.double().numpy(),
            distance.flatten().double().numpy(),
            None if self.identity is None else embedding,
        )


def _at_once(pictures: Tensor) -> int:
    return max(1, _PIXELS // math.prod(pictures.shape[-2:]))


@torch.no_grad()
def _in_parts(network: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    return torch.cat([network(part) for part in pictures.split(_at_once(pictures))])
