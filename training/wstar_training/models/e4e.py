"""The e4e encoder (Tov et al. 2021, section 4.1): one row w0, and what each other row adds to it.

Its modules are pSp's, and so are the keys of its files; only what the rows mean differs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wstar_training.models.psp import GradualStyleEncoder


class Encoder4Editing(GradualStyleEncoder):
    """Codes float32 (N, n, 512): row 0 is w0, row i is w0 + Δi, relative to the mean code."""

    def forward(self, picture: Tensor) -> Tensor:
        """Codes (N, n, 512) of pictures float32 (N, 3, H, W), RGB in [-1, 1]."""
        rows = super().forward(picture)
        first = rows[:, :1]
        return torch.cat((first, first + rows[:, 1:]), 1)
