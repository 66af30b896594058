"""A study small enough to be measured and drawn in seconds: what its kinds have in common."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from wstar_training.learning.objective import IdentityPath
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.models.vgg import VGG16
from wstar_training.study.stages import Study

SIDE, ROWS, COLOURS = 16, 6, 12


class Painter(nn.Module):
    """G of a world whose pictures are the first 12 numbers of a code, made smooth."""

    def forward(self, w: Tensor) -> Tensor:
        """Map (N, 6, 512) to (N, 3, 16, 16)."""
        colours = 0.3 * w[:, 0, :COLOURS].reshape(-1, 3, 2, 2)
        return nn.functional.interpolate(colours, SIDE, mode="bilinear").tanh()


class SmallStudy(Study):
    """A study painted by `Painter` and judged by a VGG of random weights."""

    sketch, held_out, penalty = 64, 20, 0.01
    chosen_scale = None
    encoder = nn.Identity()

    @cached_property
    def judge(self) -> PerceptualDistance:
        """A VGG of random weights."""
        torch.manual_seed(0)
        return PerceptualDistance(VGG16(2), 10.0)

    @property
    def identity_path(self) -> IdentityPath:
        """G; F is not needed here."""
        return IdentityPath(Painter(), nn.Identity())
