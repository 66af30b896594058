"""Linear attribute classifiers: one matrix for all attributes (paper section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Classifiers(nn.Module):
    """ℓ(w) = A·w + b: codes (N, n, 512) to logits (N, K), dataset order.

    Parameters
    ----------
    weight: float32 (K, n·512), the rows a_k. bias: float32 (K,).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, w: Tensor) -> Tensor:
        """Logits (N, K) of codes (N, n, 512)."""
        logits: Tensor = nn.functional.linear(w.flatten(1), self.weight, self.bias)
        return logits

    @property
    def normals(self) -> Tensor:
        """Unit normals n_k = a_k/‖a_k‖, (K, n·512); zero rows stay zero."""
        norms: Tensor = torch.linalg.vector_norm(self.weight, dim=1, keepdim=True)
        return self.weight / norms.clamp_min(torch.finfo(self.weight.dtype).tiny)
