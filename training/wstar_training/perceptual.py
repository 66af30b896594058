"""Perceptual distance: weighted squared differences of VGG16 activations (paper section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wstar_training.models.vgg import PERCEPTUAL_TAPS, VGG16


class PerceptualDistance(nn.Module):
    """d(x, y) = scale · Σ_taps weight_tap · ‖φ_tap(x) − φ_tap(y)‖² / (C·H·W).

    Parameters
    ----------
    network: a VGG16 in evaluation mode; it is frozen here.
    scale: `perceptual_scale` of the manifest (paper section 7.1: 10).
    tap_weights: one weight per tap, relu2_2, relu3_3, relu4_3; 1 each for the published VGG16.
    """

    tap_weights: Tensor

    def __init__(
        self, network: VGG16, scale: float = 10.0, tap_weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.scale = scale
        self.register_buffer("tap_weights", torch.tensor(tap_weights))

    def train(self, mode: bool = True) -> PerceptualDistance:
        """Stay in evaluation mode: the judge never changes."""
        return super().train(False)

    def features(self, picture: Tensor) -> list[Tensor]:
        """Taps of (N, 3, S, S) in [-1, 1], scaled so that d is their plain squared distance.

        Each is (N, C·H·W); concatenated, ‖a − b‖² = d(x, y).
        """
        scaled = []
        for weight, tap in zip(self.tap_weights, self.network.taps(picture), strict=True):
            flat = tap.flatten(1)
            scaled.append(flat * torch.sqrt(self.scale * weight / flat.shape[1]))
        return scaled

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of each pair, float32 (N,); x and y are (N, 3, S, S) in [-1, 1]."""
        taps = zip(self.features(x), self.features(y), strict=True)
        distances = [(a - b).square().sum(1) for a, b in taps]
        return torch.stack(distances).sum(0)


def balanced_tap_weights(network: VGG16, pictures: Tensor) -> tuple[float, ...]:
    """Weights under which every tap adds 1/3 to the mean distance of random pairs at scale 1.

    `pictures` (N, 3, S, S) in [-1, 1]; pairs are consecutive pictures. Used for judges trained
    here, whose activations have no natural size.
    """
    weights = []
    with torch.no_grad():
        for tap in network.eval().taps(pictures):
            flat = tap.flatten(1)
            mean = (flat[1:] - flat[:-1]).square().mean().item()
            weights.append(1.0 / (len(PERCEPTUAL_TAPS) * mean))
    return tuple(weights)
