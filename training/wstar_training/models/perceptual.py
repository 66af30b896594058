"""Perceptual distances: what a network sees in two pictures, compared (paper section 3.2).

The judge is a slot (section 5): VGG16 as in the paper, VGG16 with learned weights (LPIPS), or
anything else that is a `Judge`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from wstar.errors import InvalidInput
from wstar_training.models.vgg import BLOCK_TAPS, PERCEPTUAL_TAPS, VGG16


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
# As in the published LPIPS: no division by zero where no channel is active.
_NO_ACTIVATION = 1e-10


class Judge(Protocol):
    """Whatever sees pictures as points of a Euclidean space: all that training asks of it.

    scale: factor of the distance; `features` grow with its root.
    """

    scale: float

    def features(self, picture: Tensor) -> list[Tensor]:
        """Features of (N, 3, S, S) in [-1, 1], one or more (N, F).

        Concatenated, their plain squared distance is the perceptual distance.
        """


class _Taps(nn.Module, ABC):
    """A frozen VGG16, its input, and the distance that its scaled activations make."""

    def __init__(self, network: VGG16, scale: float, input: PerceptualInput) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.scale = scale
        self.input = input

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: the judge never changes."""
        return super().train(False)

    @abstractmethod
    def features(self, picture: Tensor) -> list[Tensor]:
        """Taps of (N, 3, S, S) in [-1, 1], scaled so that d is their plain squared distance.

        Each is (N, C·H·W); concatenated, ‖a − b‖² = d(x, y).
        """

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of each pair, float32 (N,); x and y are (N, 3, S, S) in [-1, 1]."""
        taps = zip(self.features(x), self.features(y), strict=True)
        distances = [(a - b).square().sum(1) for a, b in taps]
        return torch.stack(distances).sum(0)


class PerceptualDistance(_Taps):
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
        super().__init__(network, scale, input)
        self.register_buffer("tap_weights", torch.tensor(tap_weights))

    def taps(self, picture: Tensor) -> dict[str, Tensor]:
        """φ: activations (N, C, H, W) of pictures (N, 3, S, S) in [-1, 1], by name of the tap."""
        return dict(zip(PERCEPTUAL_TAPS, self.network.taps(self.input(picture)), strict=True))

    def features(self, picture: Tensor) -> list[Tensor]:
        """Taps of (N, 3, S, S) in [-1, 1], scaled; each is (N, C·H·W)."""
        scaled = []
        for weight, tap in zip(self.tap_weights, self.taps(picture).values(), strict=True):
            flat = tap.flatten(1)
            scaled.append(flat * torch.sqrt(self.scale * weight / flat.shape[1]))
        return scaled


class LearnedDistance(_Taps):
    """LPIPS (Zhang et al. 2018, eq. 1): d(x, y) = scale · Σ_taps Σ_c v_c·(u_c(x) − u_c(y))²/(H·W).

    u are activations divided by their length over channels, place by place, and v ≥ 0 learned
    weights of channels. A feature is √(scale·v_c/(H·W))·u_c, so d is plain squared distance too.

    Parameters
    ----------
    network: a VGG16; here it is frozen and stays in evaluation mode.
    channel_weights: (C,) for each of relu1_2, relu2_2, relu3_3, relu4_3, relu5_3.
    scale, input: as of `PerceptualDistance`.

    Raises
    ------
    InvalidInput: a weight below 0, which no distance has.
    """

    def __init__(
        self,
        network: VGG16,
        channel_weights: Sequence[Tensor],
        scale: float = 10.0,
        input: PerceptualInput = AS_IT_IS,
    ) -> None:
        super().__init__(network, scale, input)
        for name, weights in zip(BLOCK_TAPS, channel_weights, strict=True):
            if not (weights >= 0).all():
                raise InvalidInput(f"channel_weights.{name}", weights.min().item(), "0 or more")
            self.register_buffer(name, weights)

    def features(self, picture: Tensor) -> list[Tensor]:
        """Unit activations of (N, 3, S, S) in [-1, 1], weighted; each is (N, C·H·W)."""
        taps = self.network.taps(self.input(picture), BLOCK_TAPS)
        weighted = []
        for name, tap in zip(BLOCK_TAPS, taps, strict=True):
            length = torch.linalg.vector_norm(tap, dim=1, keepdim=True) + _NO_ACTIVATION
            places = tap.shape[2] * tap.shape[3]
            weights = torch.sqrt(self.scale * self.get_buffer(name) / places)
            weighted.append((tap / length * weights[:, None, None]).flatten(1))
        return weighted
