"""Modules that exist only to be exported: one `forward` per graph of the contract.

What a picture needs on its way in and out happens here, so that bytes cross the network. A
flow's read-out and edits are written on the coordinates its couplings act on: the same numbers
from a matrix of r columns instead of n·512.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wstar.errors import CheckpointError
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow

# What `EncoderGraph` does to a picture before E; part of the identity of a space.
PREPROCESSING = "uint8 RGB, rows from the top: x / 127.5 - 1"
# Read-outs are stored in float32: what rounding leaves outside is about 1e-7 of a row.
_OUTSIDE = 1e-5


def on_coordinates(flow: Flow, rows: Tensor) -> Tensor:
    """Rows float64 (K, n·512) in the directions of the flow's basis, (K, r).

    Raises
    ------
    CheckpointError: a row leaves the basis; codes never vary there, and no read-out should look.
    """
    if flow.basis is None:
        return rows
    basis = flow.basis.double()
    inside = rows @ basis.T
    outside = torch.linalg.vector_norm(rows - inside @ basis)
    if outside > _OUTSIDE * torch.linalg.vector_norm(rows):
        raise CheckpointError(f"read-out: {outside:.3g} of its rows lies outside the flow's basis")
    return inside


class EncoderGraph(nn.Module):
    """E on bytes: image uint8 (N, S, S, 3) RGB to w float32 (N, n, 512)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> Tensor:
        """Normalise to [-1, 1] and encode."""
        # TensorRT takes bytes at the edges of a graph only.
        w: Tensor = self.encoder(image.float().permute(0, 3, 1, 2) / 127.5 - 1.0)
        return w


class FlowGraph(nn.Module):
    """T and the attributes read off its result: w (N, n, 512) to w_star and logits (N, K)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, flow: Flow, read_out: Classifiers) -> None:
        super().__init__()
        self.flow = flow
        matrix = read_out.weight.double()
        bias = read_out.bias.double() + matrix @ flow.mean.double().flatten()
        self.register_buffer("weight", (on_coordinates(flow, matrix) * flow.std).float())
        self.register_buffer("bias", bias.float())

    def forward(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return T(w) and A·T(w) + b."""
        x = self.flow.coordinates(w)
        y = self.flow.map(x)
        logits = nn.functional.linear(y.flatten(1), self.weight, self.bias)
        return self.flow.moved(w, x, y), logits


class FlowInverseGraph(nn.Module):
    """An edit, then T⁻¹: w = T⁻¹(w_star + Σ coefficients_k·n_k), n_k = a_k/‖a_k‖."""

    normals: Tensor

    def __init__(self, flow: Flow, read_out: Classifiers) -> None:
        super().__init__()
        self.flow = flow
        matrix = read_out.weight.double()
        norms = torch.linalg.vector_norm(matrix, dim=1, keepdim=True)
        # An attribute that the space cannot tell has no direction: its coefficient does nothing.
        normals = torch.where(norms > 0, matrix / norms, 0.0)
        self.register_buffer("normals", (on_coordinates(flow, normals) / flow.std).float())

    def forward(self, w_star: Tensor, coefficients: Tensor) -> Tensor:
        """Move w_star (N, n, 512) by coefficients (N, K) along the unit normals and invert."""
        y = self.flow.coordinates(w_star)
        edited = y + (coefficients @ self.normals).reshape(y.shape)
        return self.flow.moved(w_star, y, self.flow.map_inverse(edited))


class GeneratorGraph(nn.Module):
    """G to bytes: w (N, n, 512) to image uint8 (N, R, R, 3) RGB."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, w: Tensor) -> Tensor:
        """Render and round: clamp(127.5 x + 128) to [0, 255], truncated."""
        levels: Tensor = (self.generator(w) * 127.5 + 128.0).clamp(0.0, 255.0)
        return levels.permute(0, 2, 3, 1).to(torch.uint8)
