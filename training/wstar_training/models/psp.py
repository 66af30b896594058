"""The three pSp encoders (Richardson et al. 2021, section 3 and its ablations).

Each maps pictures float32 (N, 3, H, W), RGB in [-1, 1], to codes float32 (N, n, 512) relative to
the mean code that their training started from. H and W are at most 256: 256x256 for faces,
192x256 for the published cars. Module names are those of the published files.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wstar.graphs import W_DIM
from wstar_training.models.irse import DEPTH, IRSE50
from wstar_training.models.ops import EqualLinear

# The first row that reads the middle level of the pyramid, and the first that reads the finest.
_MIDDLE, _FINE = 3, 7
# Side of the pooled features that `output_layer_2` flattens.
_POOLED = 7


class _MapToStyle(nn.Module):
    """Features to one row of a code: convolutions of stride 2 down to one pixel, then linear."""

    def __init__(self, convolutions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(convolutions):
            layers += [nn.Conv2d(DEPTH, DEPTH, 3, stride=2, padding=1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(DEPTH, W_DIM)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, 512, H, W), sides at most 2^convolutions, to (N, 512)."""
        return cast(Tensor, self.linear(self.convs(features).flatten(1)))


def _enlarged_plus(coarse: Tensor, fine: Tensor) -> Tensor:
    """Enlarge `coarse` to the size of `fine`, corners on corners, and add."""
    size = fine.shape[2:]
    return functional.interpolate(coarse, size=size, mode="bilinear", align_corners=True) + fine


class GradualStyleEncoder(IRSE50):
    """A feature pyramid on IR-SE-50; each row of the code is read off one of its three levels.

    n_styles: rows of a code, n = 2 log2(resolution) - 2.
    """

    def __init__(self, n_styles: int) -> None:
        super().__init__()
        self.n_latent = n_styles
        self.latlayer1 = nn.Conv2d(256, DEPTH, 1)
        self.latlayer2 = nn.Conv2d(128, DEPTH, 1)
        self.styles = nn.ModuleList(
            _MapToStyle(4 + (row >= _MIDDLE) + (row >= _FINE)) for row in range(n_styles)
        )

    def forward(self, picture: Tensor) -> Tensor:
        """Codes (N, n, 512) of pictures (N, 3, H, W)."""
        c1, c2, c3 = self.levels(picture)
        p2 = _enlarged_plus(c3, self.latlayer1(c2))
        p1 = _enlarged_plus(p2, self.latlayer2(c1))
        levels = [c3] * _MIDDLE + [p2] * (_FINE - _MIDDLE) + [p1] * (self.n_latent - _FINE)
        # The lowest resolutions have fewer rows than there are levels.
        pairs = zip(self.styles, levels[: self.n_latent], strict=True)
        return torch.stack([style(features) for style, features in pairs], 1)


class BackboneEncoderUsingLastLayerIntoW(IRSE50):
    """One row from the means of the last features; all n rows of a code are that row."""

    def __init__(self, n_styles: int) -> None:
        super().__init__()
        self.n_latent = n_styles
        self.linear = EqualLinear(DEPTH, W_DIM)

    def forward(self, picture: Tensor) -> Tensor:
        """Codes (N, n, 512) of pictures (N, 3, H, W)."""
        _, _, c3 = self.levels(picture)
        row: Tensor = self.linear(c3.mean((2, 3)))
        return row[:, None].expand(-1, self.n_latent, -1)


class BackboneEncoderUsingLastLayerIntoWPlus(IRSE50):
    """All n rows from the last features, through one vector of 512 numbers."""

    def __init__(self, n_styles: int) -> None:
        super().__init__()
        self.n_latent = n_styles
        self.output_layer_2 = nn.Sequential(
            nn.BatchNorm2d(DEPTH),
            nn.AdaptiveAvgPool2d(_POOLED),
            nn.Flatten(),
            nn.Linear(DEPTH * _POOLED * _POOLED, W_DIM),
        )
        self.linear = EqualLinear(W_DIM, n_styles * W_DIM)

    def forward(self, picture: Tensor) -> Tensor:
        """Codes (N, n, 512) of pictures (N, 3, H, W)."""
        _, _, c3 = self.levels(picture)
        rows: Tensor = self.linear(self.output_layer_2(c3)).unflatten(1, (self.n_latent, W_DIM))
        return rows
