"""Perceptual features of whole picture sets, small enough to keep: a count sketch.

A random sign per feature, then sums of groups: `size` numbers whose squared distances are those of
the features in expectation, with a relative standard deviation of at most √(2/size)
(Charikar et al. 2002; Weinberger et al. 2009).

Features are cut into blocks of `size`; each is turned by a random offset and added up. Two
features of one block never meet, and any other two with the chance 1/size, as in the textbook; but
nothing is gathered from all over memory, and no table of places is kept. Signed Hadamard
transforms, several hashes per feature, and means of places kept apart have the same error at the
same size on the demo's judge, and take 4 to 20 times as long.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class CountSketch:
    """(N, features) to (N, size), linear and the same for every caller with this seed."""

    def __init__(self, features: int, size: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.size = size
        self.features = features
        self.signs = torch.from_numpy(random.choice(np.array([-1, 1], np.float32), features))
        self.offsets: list[int] = random.integers(size, size=-(-features // size)).tolist()

    def __call__(self, features: Tensor) -> Tensor:
        """Sketch (N, features), in their own precision."""
        signs = self.signs.to(features)
        # Twice as wide, so that a turned block is added in one piece; then folded.
        sums = features.new_zeros(len(features), 2 * self.size)
        blocks = zip(features.split(self.size, 1), signs.split(self.size), strict=True)
        for offset, (block, sign) in zip(self.offsets, blocks, strict=True):
            sums[:, offset : offset + block.shape[1]].addcmul_(block, sign)
        return sums[:, : self.size] + sums[:, self.size :]
