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

_SQRT2 = math.sqrt(2.0)
_SLOPE = 0.2
_EPSILON = 1e-8


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 with gain √2, which keeps the variance."""
    return functional.leaky_relu(x, _SLOPE) * _SQRT2


def normalised(x: Tensor) -> Tensor:
    """Divide rows (N, C) by the root of their second moment (PGGAN, section 4.2)."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + _EPSILON)


def blur_kernel(gain: float) -> Tensor:
    """The FIR kernel outer([1, 3, 3, 1]) / 64 times `gain`, float32 (4, 4)."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(row, row) / 64.0 * gain


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
        return functional.linear(x * self.scale, self.weight, self.bias * self.multiplier)


def _one(x: Tensor) -> bool:
    """Whether a batch is one picture; never while exporting, as a graph serves every batch."""
    return not torch.compiler.is_exporting() and x.shape[0] == 1


class _Modulated(nn.Module):
    """What both modulated convolutions hold: a weight, and the layer that maps w to styles."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, w_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, kernel, kernel))
        self.modulation = EqualLinear(w_dim, in_channels, bias=1.0)
        self.scale = 1.0 / math.sqrt(in_channels * kernel * kernel)


class ModulatedConv(_Modulated):
    """StyleGAN2's modulated and demodulated 3x3 convolution; `upsample` doubles the side."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, upsample: bool) -> None:
        super().__init__(in_channels, out_channels, 3, w_dim)
        self.blur = Blur() if upsample else None

    def forward(self, x: Tensor, w: Tensor, bias: Tensor, gain: float = 1.0) -> Tensor:
        """Convolve (N, in, H, W) under the style of w (N, w_dim), times gain, plus bias (out,)."""
        style = self.modulation(w)
        weight = self.weight[0]
        if _one(x) and x.numel() > weight.numel():
            return self._convolved_one(x, weight * style[0, :, None, None], bias, gain)
        x = self._convolved(x * style[:, :, None, None], weight, None)
        taps = torch.linalg.vector_norm(weight.flatten(2), dim=2).square()
        energy = functional.linear(style.square(), taps)
        # In place: in fresh memory each pass over a big picture costs as much as a convolution.
        x = x.mul_((self._demodulation(energy) * gain)[:, :, None, None])
        return x.add_(bias[:, None, None])

    def _convolved_one(self, x: Tensor, weight: Tensor, bias: Tensor, gain: float) -> Tensor:
        """The same for one big picture: with its style in the weight, no pass over it is left."""
        energy = torch.linalg.vector_norm(weight.flatten(1), dim=1).square()
        demodulation = self._demodulation(energy) * gain
        return self._convolved(x, weight * demodulation[:, None, None, None], bias)

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.blur is None:
            return functional.conv2d(x, weight, bias, padding=1)
        x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        blurred: Tensor = self.blur(x, bias)
        return blurred

    def _demodulation(self, energy: Tensor) -> Tensor:
        """Undoes any scale of the weight, so only the epsilon sees the weight's own."""
        return torch.rsqrt(energy + _EPSILON / self.scale**2)


class ModulatedPoint(_Modulated):
    """StyleGAN2's modulated 1x1 convolution to RGB, without demodulation."""

    def __init__(self, in_channels: int, w_dim: int) -> None:
        super().__init__(in_channels, 3, 1, w_dim)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Map (N, in, H, W) under the style of w (N, w_dim) to (N, 3, H, W)."""
        style = self.modulation(w) * self.scale
        # Scaling three rows of weights is cheaper than scaling pictures.
        weight = self.weight[0, :, :, 0, 0] * style[:, None, :]
        if _one(x):
            return functional.conv2d(x, weight[0, :, :, None, None]).contiguous()
        picture: Tensor = torch.bmm(weight, x.flatten(2)).unflatten(2, x.shape[2:])
        return picture


class Blur(nn.Module):
    """The FIR filter times 4, one zero around, its kernel a buffer as published files hold it."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel(4.0))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Filter (N, C, H, W) channel by channel to (N, C, H - 1, W - 1), plus bias (C,)."""
        channels = x.shape[1]
        kernel = self.kernel.expand(channels, 1, -1, -1)
        return functional.conv2d(x, kernel, bias, padding=1, groups=channels)


class Upsample(nn.Module):
    """Double the side of (N, C, H, W): zeros between pixels, then the FIR filter times 4."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel(4.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, 2H, 2W)."""
        # Zeros between pixels, padding (2, 1) and the symmetric filter are a transposed
        # convolution of stride 2, padding 1; channels are pictures of their own.
        single = x.flatten(0, 1)[:, None]
        single = functional.conv_transpose2d(single, self.kernel[None, None], stride=2, padding=1)
        return single.view(x.shape[0], x.shape[1], *single.shape[2:])


class Noise(nn.Module):
    """The strength of a layer's noise; the map is stored with the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Activate(nn.Module):
    """The bias of a layer's activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, + strength·noise, + bias, leaky ReLU, times √2."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, upsample: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(in_channels, out_channels, w_dim, upsample)
        self.noise = Noise()
        self.activate = Activate(out_channels)

    def forward(
        self, x: Tensor, w: Tensor, noise: Tensor | None = None, clamp: float | None = None
    ) -> Tensor:
        """Map (N, in, H, W) under w (N, w_dim) to (N, out, H or 2H, W or 2W).

        `noise` is (1 or N, 1 or out) of the result's side, None for none; the result lies in
        ±`clamp`.
        """
        # Leaky ReLU is positively homogeneous: √2 goes into its three summands, and a bound of
        # its result into a bound of its argument.
        x = self.conv(x, w, self.activate.bias * _SQRT2, gain=_SQRT2)
        if noise is not None:
            x = x.add_(noise * (self.noise.weight * _SQRT2))
        if clamp is not None:
            x = x.clamp_(-clamp / _SLOPE, clamp)
        return functional.leaky_relu_(x, _SLOPE)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB, added to the enlarged picture of the side before."""

    def __init__(self, in_channels: int, w_dim: int, upsample: bool) -> None:
        super().__init__()
        self.conv = ModulatedPoint(in_channels, w_dim)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.upsample = Upsample() if upsample else None

    def forward(
        self, x: Tensor, w: Tensor, skip: Tensor | None = None, clamp: float | None = None
    ) -> Tensor:
        """Map (N, in, H, W) to a picture (N, 3, H, W); `skip` is (N, 3, H/2, W/2) or None."""
        rgb: Tensor = self.conv(x, w) + self.bias
        if clamp is not None:
            rgb = rgb.clamp(-clamp, clamp)
        if self.upsample is not None and skip is not None:
            rgb = rgb + self.upsample(skip)
        return rgb


class ConstantInput(nn.Module):
    """The learned 4x4 picture that every synthesis starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))
