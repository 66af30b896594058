"""Perceptual distance: squared differences of VGG16 activations (paper section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wstar_training.models.vgg import PERCEPTUAL_TAPS, VGG16


@dataclass(frozen=True)
class PerceptualInput:
    """How pictures in [-1, 1] become what a network was trained on.

    Attributes
    ----------
    mean, std: per channel R, G, B, of pictures in [0, 1]; the defaults leave [-1, 1] as it is.
    side: px; larger pictures are averaged over areas down to it first. None: as they come.
    """

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    side: int | None = None

    def __call__(self, picture: Tensor) -> Tensor:
        """Map (N, 3, S, S) in [-1, 1] to ((x + 1)/2 − mean)/std, (N, 3, s, s), s = min(S, side)."""
        if self.side is not None and max(picture.shape[-2:]) > self.side:
            picture = functional.adaptive_avg_pool2d(picture, self.side)
        mean, std = picture.new_tensor([self.mean, self.std])[:, :, None, None]
        normalised: Tensor = (picture - (2.0 * mean - 1.0)) / (2.0 * std)
        return normalised


AS_IT_IS = PerceptualInput()


class PerceptualDistance(nn.Module):
    """d(x, y) = scale · Σ_taps weight_tap · ‖φ_tap(x) − φ_tap(y)‖² / (C·H·W).

    Parameters
    ----------
    network: a VGG16; here it is frozen and stays in evaluation mode.
    scale: `perceptual_scale` of the manifest (paper section 7.1: 10).
    tap_weights: one weight per tap, relu2_2, relu3_3, relu4_3; 1 each for the published VGG16.
    input: what happens to pictures on their way to the network.
    """

    tap_weights: Tensor

    def __init__(
        self,
        network: VGG16,
        scale: float = 10.0,
        tap_weights: tuple[float, ...] = (1.0, 1.0, 1.0),
        input: PerceptualInput = AS_IT_IS,
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.scale = scale
        self.input = input
        self.register_buffer("tap_weights", torch.tensor(tap_weights))

    def train(self, mode: bool = True) -> PerceptualDistance:
        """Stay in evaluation mode: the judge never changes."""
        return super().train(False)

    def taps(self, picture: Tensor) -> dict[str, Tensor]:
        """φ: activations (N, C, H, W) of pictures (N, 3, S, S) in [-1, 1], by name of the tap."""
        return dict(zip(PERCEPTUAL_TAPS, self.network.taps(self.input(picture)), strict=True))

    def features(self, picture: Tensor) -> list[Tensor]:
        """Taps of (N, 3, S, S) in [-1, 1], scaled so that d is their plain squared distance.

        Each is (N, C·H·W); concatenated, ‖a − b‖² = d(x, y).
        """
        scaled = []
        for weight, tap in zip(self.tap_weights, self.taps(picture).values(), strict=True):
            flat = tap.flatten(1)
            scaled.append(flat * torch.sqrt(self.scale * weight / flat.shape[1]))
        return scaled

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of each pair, float32 (N,); x and y are (N, 3, S, S) in [-1, 1]."""
        taps = zip(self.features(x), self.features(y), strict=True)
        distances = [(a - b).square().sum(1) for a, b in taps]
        return torch.stack(distances).sum(0)
