"""VGG16 (Simonyan & Zisserman 2015): features up to relu4_3 or relu5_3, at any width.

The published width is 64. The demo world trains a narrow one with batch normalisation; module
indices of the plain form are those of torchvision's files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast, get_args

from torch import Tensor, nn

Tap = Literal["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"]
PERCEPTUAL_TAPS: tuple[Tap, ...] = ("relu2_2", "relu3_3", "relu4_3")
BLOCK_TAPS: tuple[Tap, ...] = get_args(Tap)

_BLOCKS = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))


class VGG16(nn.Module):
    """The thirteen convolutions of VGG16 in five blocks.

    Parameters
    ----------
    width: channels of the first block (64 as published; blocks have 1, 2, 4, 8, 8 times it).
    batch_norm: normalise before each ReLU.
    """

    def __init__(self, width: int = 64, batch_norm: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.tap_indices: dict[str, int] = {}
        into = 3
        for block, (factor, convolutions) in enumerate(_BLOCKS, start=1):
            for position in range(1, convolutions + 1):
                layers.append(nn.Conv2d(into, factor * width, 3, padding=1, bias=not batch_norm))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(factor * width))
                layers.append(nn.ReLU())
                self.tap_indices[f"relu{block}_{position}"] = len(layers) - 1
                into = factor * width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.out_channels = into

    def taps(self, picture: Tensor, names: Sequence[Tap] = PERCEPTUAL_TAPS) -> list[Tensor]:
        """Activations after the named ReLUs; `picture` is (N, 3, H, W), normalised as trained."""
        wanted = [self.tap_indices[name] for name in names]
        found: list[Tensor] = []
        x = picture
        for index in range(max(wanted) + 1):
            x = self.features[index](x)
            if index in wanted:
                found.append(x)
        return found

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the last block's pooled activations (N, 8 width, H/32, W/32)."""
        return cast(Tensor, self.features(picture))
