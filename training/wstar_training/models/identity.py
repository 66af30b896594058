"""The identity network F of eq. 4 made from a face network: what it is fed, and its embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Channels = Literal["RGB", "BGR"]


@dataclass(frozen=True)
class IdentityInput:
    """How RGB pictures in [-1, 1] become what a face network was trained on.

    Attributes
    ----------
    layout: the layout of the file that the network is from.
    channels: the order of the planes fed.
    scale: the value of white before the mean is taken off.
    mean: taken off each plane, in the order of `channels`, in units of `scale`.
    layer: the layer whose output is the embedding.
    side: px that pictures are resized to; None: the network takes them as they come.
    """

    layout: str
    channels: Channels
    scale: float
    mean: tuple[float, float, float]
    layer: str
    side: int | None

    def __call__(self, picture: Tensor) -> Tensor:
        """Map (N, 3, S, S) in [-1, 1] to scale·(x + 1)/2 − mean, (N, 3, side, side).

        Resizing is bilinear with antialiasing: what the pictures of such networks went through
        (PIL), good both for 1024 px and for 64 px, which averaging over areas could not enlarge.
        """
        if self.side is not None and picture.shape[-2:] != (self.side, self.side):
            size = (self.side, self.side)
            picture = functional.interpolate(picture, size, mode="bilinear", antialias=True)
        if self.channels == "BGR":
            picture = picture.flip(1)
        half = 0.5 * self.scale
        return picture * half + (half - picture.new_tensor(self.mean)[:, None, None])


class FaceIdentity(nn.Module):
    """F: pictures float32 (N, 3, S, S) in [-1, 1] to embeddings float32 (N, D).

    Gradients reach the picture; the network is frozen and stays in evaluation mode.

    Parameters
    ----------
    network: takes what `input` makes of pictures.
    input: recorded with a run, for it decides what the embeddings mean.
    """

    def __init__(self, network: nn.Module, input: IdentityInput) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.input = input

    def train(self, mode: bool = True) -> FaceIdentity:
        """Stay in evaluation mode: F never changes."""
        return super().train(False)

    def forward(self, picture: Tensor) -> Tensor:
        """Embed."""
        embedding: Tensor = self.network(self.input(picture))
        return embedding
