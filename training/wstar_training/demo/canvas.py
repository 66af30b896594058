"""A batch of pictures painted with soft shapes, and the shapes.

Coordinates are fractions of the picture, x to the right and y down. A shape is a signed distance
(negative inside, same unit); `cover` turns it into the opacity that `Window.paint` uses.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A rectangle of a batch of pictures.

    pixels: (count, 3, h, w) view of the pictures, 0..1. x: (1, 1, w), y: (1, h, 1), pixel centres.
    edge: width over which an edge is softened.
    """

    pixels: Tensor
    x: Tensor
    y: Tensor
    edge: float

    def paint(self, opacity: Tensor, colour: Tensor) -> None:
        """Mix in a colour (count, 3, 1, 1) with an opacity (count, h, w) in 0..1."""
        self.pixels.lerp_(colour, opacity.unsqueeze(1))

    def cover(self, distance: Tensor, softness: float = 0.0) -> Tensor:
        """Return the opacity 0..1 of a shape whose edge fades over `softness`."""
        return (0.5 - distance / (self.edge + softness)).clamp(0, 1)

    def glow(self, dx: Tensor, dy: Tensor, rx: float | Tensor, ry: float | Tensor) -> Tensor:
        """Return a soft elliptic spot, 1 at its centre and 0 from radii (rx, ry) outward."""
        fall = (1 - (dx / rx) ** 2 - (dy / ry) ** 2).clamp(min=0)
        return fall * fall


class Canvas:
    """A batch of square pictures, float32 (count, 3, size, size) in 0..1."""

    def __init__(self, count: int, size: int) -> None:
        self.pixels = torch.zeros(count, 3, size, size)
        self._size = size

    def window(
        self, top: float = 0, bottom: float = 1, left: float = 0, right: float = 1
    ) -> Window:
        """Return the rectangle between the given fractions, clipped to the picture."""
        size = self._size
        t, b = max(0, round(top * size)), min(size, round(bottom * size))
        s, e = max(0, round(left * size)), min(size, round(right * size))
        centres = (torch.arange(size) + 0.5) / size
        return Window(
            self.pixels[:, :, t:b, s:e],
            centres[s:e].view(1, 1, -1),
            centres[t:b].view(1, -1, 1),
            1.5 / size,
        )


def ellipse(dx: Tensor, dy: Tensor, rx: float | Tensor, ry: float | Tensor) -> Tensor:
    """Return the approximate signed distance to an ellipse around the origin."""
    radius = ((dx / rx) ** 2 + (dy / ry) ** 2).sqrt()
    return (radius - 1) * (rx + ry) / 2


def box(
    dx: Tensor, dy: Tensor, rx: float | Tensor, ry: float | Tensor, corner: float | Tensor
) -> Tensor:
    """Return the signed distance to a box of half sides rx, ry with rounded corners."""
    qx, qy = dx.abs() - rx + corner, dy.abs() - ry + corner
    outside = (qx.clamp(min=0) ** 2 + qy.clamp(min=0) ** 2).sqrt()
    return outside + torch.maximum(qx, qy).clamp(max=0) - corner


def smooth(value: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Return 0 below `low`, 1 above `high`, and a smooth step between."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)
