"""The StyleGAN2 generator (Karras et al. 2020): skip architecture, W+ in, picture out.

Module names are those of the published `.pt` files, so that a state dict loads as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wstar.errors import CheckpointError, InvalidInput
from wstar.graphs import W_DIM, n_latent
from wstar_training.models.ops import ModulatedConv, Upsample, leaky_relu


def channels_of(resolution: int, multiplier: int = 2) -> dict[int, int]:
    """Channels by side in px as published: 512 up to 32 px, then halved with each doubling."""
    sides = [2**level for level in range(2, int(math.log2(resolution)) + 1)]
    return {side: min(512, 16384 * multiplier // side) for side in sides}


class Noise(nn.Module):
    """Adds weight·map; the map is stored with the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Add noise (1, 1 or C, H, W) to x (N, C, H, W)."""
        return x + self.weight * noise


class Activate(nn.Module):
    """Bias, then leaky ReLU with gain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return leaky_relu(x + self.bias[:, None, None])


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, activation."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, upsample: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(in_channels, out_channels, 3, w_dim, upsample=upsample)
        self.noise = Noise()
        self.activate = Activate(out_channels)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """Map (N, in, H, W) under w (N, w_dim) to (N, out, H or 2H, W or 2W)."""
        activated: Tensor = self.activate(self.noise(self.conv(x, w), noise))
        return activated


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB, added to the enlarged picture of the side before."""

    def __init__(self, in_channels: int, w_dim: int, upsample: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(in_channels, 3, 1, w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.upsample = Upsample() if upsample else None

    def forward(self, x: Tensor, w: Tensor, skip: Tensor | None) -> Tensor:
        """Map (N, in, H, W) to a picture (N, 3, H, W); `skip` is (N, 3, H/2, W/2) or None."""
        rgb: Tensor = self.conv(x, w) + self.bias
        if self.upsample is not None and skip is not None:
            rgb = rgb + self.upsample(skip)
        return rgb


class ConstantInput(nn.Module):
    """The learned 4x4 picture that every synthesis starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


class Generator(nn.Module):
    """G: W+ codes (N, n, 512) to pictures (N, 3, R, R), nominally in [-1, 1], not clamped.

    Parameters
    ----------
    resolution: side R of the picture in px, a power of two, 8 to 1024.
    channels: channels by side in px, for 4, 8, ... R.
    noise_per_channel: False, one noise map per layer as in StyleGAN2; True, one per channel.
        Maps are parameters: published ones are loaded, those of the demo world are learned.
    """

    def __init__(
        self, resolution: int, channels: Mapping[int, int], noise_per_channel: bool = False
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.n_latent = n_latent(resolution)
        sides = [2**level for level in range(2, int(math.log2(resolution)) + 1)]
        self.input = ConstantInput(channels[4])
        self.conv1 = StyledConv(channels[4], channels[4], W_DIM, upsample=False)
        self.to_rgb1 = ToRGB(channels[4], W_DIM, upsample=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for before, side in zip(sides, sides[1:], strict=False):
            into, out = channels[before], channels[side]
            self.convs.append(StyledConv(into, out, W_DIM, upsample=True))
            self.convs.append(StyledConv(out, out, W_DIM, upsample=False))
            self.to_rgbs.append(ToRGB(out, W_DIM, upsample=True))
        layer_sides = [4] + [side for side in sides[1:] for _ in range(2)]
        self.noises = nn.ParameterDict(
            {
                f"noise_{index}": nn.Parameter(
                    torch.randn(1, channels[side] if noise_per_channel else 1, side, side)
                )
                for index, side in enumerate(layer_sides)
            }
        )

    def forward(self, w: Tensor) -> Tensor:
        """Render w float32 (N, n, 512), W+, to float32 (N, 3, R, R)."""
        x = self.input.input.expand(w.shape[0], -1, -1, -1)
        x = self.conv1(x, w[:, 0], self.noises["noise_0"])
        picture: Tensor = self.to_rgb1(x, w[:, 1], None)
        for stage, to_rgb in enumerate(self.to_rgbs):
            first = 2 * stage + 1
            x = self.convs[first - 1](x, w[:, first], self.noises[f"noise_{first}"])
            x = self.convs[first](x, w[:, first + 1], self.noises[f"noise_{first + 1}"])
            picture = to_rgb(x, w[:, first + 2], picture)
        return picture


def generator_from_state(state: Mapping[str, Tensor]) -> Generator:
    """Rebuild a generator from its state dict alone, in evaluation mode.

    Resolution, channels and the kind of noise maps are read off the shapes.

    Raises
    ------
    CheckpointError: a tensor is missing, unknown or of another shape.
    """
    try:
        resolution = state[f"noises.noise_{_count(state, 'noises.') - 1}"].shape[-1]
        channels = {4: state["input.input"].shape[1]}
        for index in range(0, _count(state, "convs."), 2):
            channels[2 ** (index // 2 + 3)] = len(state[f"convs.{index}.activate.bias"])
        generator = Generator(
            resolution, channels, noise_per_channel=state["noises.noise_0"].shape[1] > 1
        )
        generator.load_state_dict(state)
    except KeyError as error:
        raise CheckpointError(f"generator: no {error}") from error
    except (InvalidInput, RuntimeError) as error:
        raise CheckpointError(f"generator: {error}") from error
    return generator.eval().requires_grad_(False)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many modules or parameters of a list there are under `prefix`."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
