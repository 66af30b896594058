"""VGGFace (Parkhi, Vedaldi & Zisserman 2015): VGG16's convolutions and three linear layers."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from wstar_training.models.vgg import VGG16

Layer = Literal["fc6", "fc7", "fc8"]

# Pixels left on a side of 224 after five poolings.
_POOLED = 7


class VGGFace(nn.Module):
    """The face network of Parkhi et al., without the dropout, which rests outside training.

    Parameters
    ----------
    width: channels of the first block (64 as published).
    features: outputs of fc6 and of fc7 (4096 as published).
    classes: people it was trained to tell apart, outputs of fc8 (2622 as published).
    layer: what `forward` returns: fc6 or fc7 after their ReLU, or fc8, the logits.
    """

    side = 224

    def __init__(
        self, width: int = 64, features: int = 4096, classes: int = 2622, layer: Layer = "fc7"
    ) -> None:
        super().__init__()
        self.layer = layer
        self.vgg = VGG16(width)
        self.fc6 = nn.Linear(self.vgg.out_channels * _POOLED**2, features)
        self.fc7 = nn.Linear(features, features)
        self.fc8 = nn.Linear(features, classes)

    def forward(self, picture: Tensor) -> Tensor:
        """Map float32 (N, 3, 224, 224), normalised as trained, to (N, features or classes)."""
        x = functional.relu(self.fc6(self.vgg(picture).flatten(1)))
        if self.layer == "fc6":
            return x
        x = functional.relu(self.fc7(x))
        if self.layer == "fc7":
            return x
        logits: Tensor = self.fc8(x)
        return logits
