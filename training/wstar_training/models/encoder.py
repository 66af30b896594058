"""The encoder of the demo world: a small convolutional E for 64 px faces.

Its last layer is linear from `features` numbers, so codes lie in an affine subspace of W+ of
that dimension, and a flow on the codes' principal coordinates loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from wstar.errors import CheckpointError
from wstar.graphs import W_DIM, n_latent

_SLOPE = 0.2


class _Down(nn.Module):
    """Two 3x3 convolutions, the second of stride 2, beside an averaged shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, out, H/2, W/2)."""
        y = functional.leaky_relu(self.conv1(x), _SLOPE)
        y = functional.leaky_relu(self.conv2(y), _SLOPE)
        shortcut: Tensor = self.shortcut(functional.avg_pool2d(x, 2))
        return shortcut + y


class DemoEncoder(nn.Module):
    """E: pictures (N, 3, 64, 64) in [-1, 1] to absolute W+ codes (N, n, 512).

    Parameters
    ----------
    resolution: side of the generator's pictures in px; fixes n.
    features: dimension of the subspace that codes lie in.
    """

    side = 64

    def __init__(self, resolution: int = 64, features: int = 128) -> None:
        super().__init__()
        self.n_latent = n_latent(resolution)
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.down = nn.Sequential(_Down(32, 64), _Down(64, 96), _Down(96, 128), _Down(128, 128))
        self.project = nn.Linear(128 * 4 * 4, features)
        self.to_w = nn.Linear(features, self.n_latent * W_DIM)

    def forward(self, picture: Tensor) -> Tensor:
        """Encode a picture float32 (N, 3, 64, 64) in [-1, 1]."""
        x = self.down(functional.leaky_relu(self.stem(picture), _SLOPE))
        w: Tensor = self.to_w(self.project(x.flatten(1))).unflatten(1, (self.n_latent, W_DIM))
        return w


def encoder_from_state(state: Mapping[str, Tensor], resolution: int) -> DemoEncoder:
    """Rebuild an encoder from its state dict alone, in evaluation mode.

    resolution: side of the generator's pictures in px.

    Raises
    ------
    CheckpointError: a tensor is missing, unknown or of another shape.
    """
    try:
        encoder = DemoEncoder(resolution, features=len(state["project.bias"]))
        encoder.load_state_dict(state)
    except KeyError as error:
        raise CheckpointError(f"encoder: no {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"encoder: {error}") from error
    return encoder.eval().requires_grad_(False)
