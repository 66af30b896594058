"""Layers that StyleGAN2 is made of, in ordinary torch: they train, and they export.

Convolutions scale the activations, share one weight and demodulate afterwards. It is the same
function as StyleGAN2's per-sample weights (Karras et al. 2020, section 2.2), but the batch axis
stays free, which a grouped convolution with the batch folded into its channels forbids.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SQRT2 = math.sqrt(2.0)
_SLOPE = 0.2
_EPSILON = 1e-8


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 with gain √2, which keeps the variance."""
    return functional.leaky_relu(x, _SLOPE) * SQRT2


def blur_kernel(gain: float) -> Tensor:
    """The FIR kernel outer([1, 3, 3, 1]) / 64 times `gain`, float32 (4, 4)."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(row, row) / 64.0 * gain


def blur(x: Tensor, kernel: Tensor, padding: tuple[int, int]) -> Tensor:
    """Filter (N, C, H, W) channel by channel, zeros around: `padding` before and after."""
    before, after = padding
    channels = x.shape[1]
    if before == after:
        return functional.conv2d(
            x, kernel.expand(channels, 1, -1, -1), padding=before, groups=channels
        )
    x = functional.pad(x, (before, after, before, after))
    return functional.conv2d(x, kernel.expand(channels, 1, -1, -1), groups=channels)


class EqualLinear(nn.Module):
    """A linear layer with equalised learning rate: y = x·(W/√in)ᵀ·m + b·m (PGGAN, section 4.1)."""

    def __init__(
        self, in_features: int, out_features: int, bias: float = 0.0, multiplier: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias / multiplier))
        self.scale = multiplier / math.sqrt(in_features)
        self.multiplier = multiplier

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return functional.linear(x, self.weight * self.scale, self.bias * self.multiplier)


class ModulatedConv(nn.Module):
    """StyleGAN2's modulated convolution, 3x3 or 1x1; `upsample` doubles the side."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        w_dim: int,
        demodulate: bool = True,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, kernel, kernel))
        self.modulation = EqualLinear(w_dim, in_channels, bias=1.0)
        self.scale = 1.0 / math.sqrt(in_channels * kernel * kernel)
        self.padding = kernel // 2
        self.demodulate = demodulate
        self.blur = Blur(4.0, (1, 1)) if upsample else None

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Convolve (N, in, H, W) under the style of w (N, w_dim)."""
        style = self.modulation(w)
        weight = self.weight[0] * self.scale
        x = x * style[:, :, None, None]
        if self.blur is None:
            x = functional.conv2d(x, weight, padding=self.padding)
        else:
            x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = self.blur(x)
        if self.demodulate:
            energy = functional.linear(style.square(), weight.square().sum((2, 3)))
            x = x * torch.rsqrt(energy + _EPSILON)[:, :, None, None]
        return x


class Blur(nn.Module):
    """The FIR filter with its kernel as a buffer, as published checkpoints hold it."""

    kernel: Tensor

    def __init__(self, gain: float, padding: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel(gain))
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Filter (N, C, H, W)."""
        return blur(x, self.kernel, self.padding)


class Upsample(nn.Module):
    """Double the side of (N, C, H, W): zeros between pixels, then the FIR filter times 4."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel(4.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, 2H, 2W)."""
        channels = x.shape[1]
        # Zeros between pixels, padding (2, 1) and the symmetric filter are a transposed
        # convolution of stride 2, padding 1.
        return functional.conv_transpose2d(
            x, self.kernel.expand(channels, 1, -1, -1), stride=2, padding=1, groups=channels
        )
