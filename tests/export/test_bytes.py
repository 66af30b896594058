"""Generator output to bytes: ours is NVIDIA's conversion, a level at most from pSp's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from wstar_export.wrappers import GeneratorGraph


class Given(nn.Module):
    """A generator that always draws the same picture, (1, 3, R, R)."""

    def __init__(self, picture: Tensor) -> None:
        super().__init__()
        self.picture = picture

    def forward(self, w: Tensor) -> Tensor:
        """Draw it, whatever the code."""
        return self.picture


def test_bytes_are_nvidias_and_within_a_level_of_psps() -> None:
    # Every byte's own value, halves between them, noise, and what lies outside [-1, 1].
    levels = np.arange(-40, 552, dtype=np.float32) / 255 - 1
    noise = np.random.default_rng(0).normal(0, 0.7, 3 * 64 * 64 - len(levels))
    x = np.concatenate([levels, noise.astype(np.float32)]).reshape(1, 3, 64, 64)
    found = GeneratorGraph(Given(torch.from_numpy(x)))(torch.zeros(1, 10, 512)).numpy()
    nhwc = x.transpose(0, 2, 3, 1)
    nvidia = np.clip(nhwc * 127.5 + 128, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(found, nvidia)
    psp = (np.clip((nhwc + 1) / 2, 0, 1) * 255).astype(np.uint8)
    apart = found.astype(int) - psp.astype(int)
    assert set(np.unique(apart)) == {0, 1}
    # Rounding and truncation differ on half of what is drawn evenly, and not outside [-1, 1].
    assert 0.2 < (apart == 1).mean() < 0.5
