"""Perceptual features of whole picture sets, small enough to keep: a count sketch.

A random sign per feature, then sums of random groups: `size` numbers whose squared distances are
those of the features in expectation, with a relative standard deviation of √(2/size)
(Charikar et al. 2002; Weinberger et al. 2009).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class CountSketch:
    """(N, features) to (N, size), linear and the same for every caller with this seed."""

    def __init__(self, features: int, size: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.size = size
        self.padding = -features % size
        self.order = torch.randperm(features + self.padding, generator=generator)
        coins = torch.randint(0, 2, (features + self.padding,), generator=generator)
        self.signs = coins * 2.0 - 1.0

    def __call__(self, features: Tensor) -> Tensor:
        """Sketch float32 (N, features)."""
        padded = functional.pad(features, (0, self.padding))
        signed = padded[:, self.order] * self.signs
        sums: Tensor = signed.unflatten(1, (-1, self.size)).sum(1)
        return sums
