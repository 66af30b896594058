"""IR-SE-50: the body that the pSp encoders, e4e and ArcFace share (Deng et al. 2019, section 3.1).

A residual network of 24 blocks with squeeze-and-excitation (Hu et al. 2018, section 3). Module
names are those of the published files: `input_layer`, `body.{0..23}`.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

# Depth of each group of blocks and how many there are; the first of a group halves the side.
_GROUPS = ((64, 3), (128, 4), (256, 14), (512, 3))
_REDUCTION = 16
DEPTH = 512


class _SqueezeExcite(nn.Module):
    """Scale each channel by a gate in (0, 1) computed from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _REDUCTION, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        gate: Tensor = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu())
        return x * gate.sigmoid()


class _Block(nn.Module):
    """Residual block: shortcut + SE(BN(conv(PReLU(conv(BN(x)))))), no activation after the sum."""

    def __init__(self, in_channels: int, depth: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if in_channels != depth:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, depth, 1, stride, bias=False), nn.BatchNorm2d(depth)
            )
        elif stride == 1:
            self.shortcut_layer = nn.Identity()
        else:
            # A pick of every second pixel.
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, depth, 3, padding=1, bias=False),
            nn.PReLU(depth),
            nn.Conv2d(depth, depth, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(depth),
            _SqueezeExcite(depth),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, depth, H/stride, W/stride), rounded up."""
        return cast(Tensor, self.res_layer(x) + self.shortcut_layer(x))


class IRSE50(nn.Module):
    """The input layer and the 24 blocks; networks derive from it to have them at their top level.

    It takes pictures float32 (N, 3, H, W), RGB in [-1, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        blocks: list[_Block] = []
        channels = _GROUPS[0][0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(channels),
        )
        for depth, count in _GROUPS:
            for position in range(count):
                blocks.append(_Block(channels, depth, stride=1 if position else 2))
                channels = depth
        self.body = nn.Sequential(*blocks)

    def levels(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the groups of 128, 256 and 512 channels end with.

        Their sides are H/4 and W/4, H/8 and W/8, H/16 and W/16, rounded up.
        """
        x = self.input_layer(picture)
        found: list[Tensor] = []
        start = 0
        for _, count in _GROUPS:
            x = self.body[start : start + count](x)
            found.append(x)
            start += count
        _, c1, c2, c3 = found
        return c1, c2, c3
