"""Modules that exist only to be exported: one `forward` per graph of the contract.

What a picture needs on its way in and out happens here, so that bytes cross the network; and
the graphs of a space hold its read-out matrix once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow

# What `EncoderGraph` does to a picture before E; part of the identity of a space.
PREPROCESSING = "uint8 RGB, rows from the top: x / 127.5 - 1"


class EncoderGraph(nn.Module):
    """E on bytes: image uint8 (N, S, S, 3) RGB to w float32 (N, n, 512)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> Tensor:
        """Normalise to [-1, 1] and encode."""
        w: Tensor = self.encoder(image.permute(0, 3, 1, 2).float() / 127.5 - 1.0)
        return w


class FlowGraph(nn.Module):
    """T and the attributes read off its result: w (N, n, 512) to w_star and logits (N, K)."""

    def __init__(self, flow: Flow, read_out: Classifiers) -> None:
        super().__init__()
        self.flow = flow
        self.read_out = read_out

    def forward(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return T(w) and A·T(w) + b."""
        w_star = self.flow(w)
        return w_star, self.read_out(w_star)


class FlowInverseGraph(nn.Module):
    """An edit, then T⁻¹: w = T⁻¹(w_star + Σ coefficients_k·n_k), n_k = a_k/‖a_k‖."""

    weight: Tensor
    inverse_norms: Tensor

    def __init__(self, flow: Flow, read_out: Classifiers) -> None:
        super().__init__()
        self.flow = flow
        norms = torch.linalg.vector_norm(read_out.weight, dim=1)
        self.register_buffer("weight", read_out.weight)
        # An attribute that the space cannot tell has no direction: its coefficient does nothing.
        self.register_buffer("inverse_norms", torch.where(norms > 0, 1.0 / norms, 0.0))

    def forward(self, w_star: Tensor, coefficients: Tensor) -> Tensor:
        """Move w_star (N, n, 512) by coefficients (N, K) along the unit normals and invert."""
        step = (coefficients * self.inverse_norms) @ self.weight
        return self.flow.inverse(w_star + step.unflatten(1, w_star.shape[1:]))


class GeneratorGraph(nn.Module):
    """G to bytes: w (N, n, 512) to image uint8 (N, R, R, 3) RGB."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, w: Tensor) -> Tensor:
        """Render and round: clamp(127.5 x + 128) to [0, 255], truncated."""
        levels: Tensor = (self.generator(w) * 127.5 + 128.0).clamp(0.0, 255.0)
        return levels.to(torch.uint8).permute(0, 2, 3, 1)
