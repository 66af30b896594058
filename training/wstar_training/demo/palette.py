"""Colours of demo faces, RGB in 0..1, looked up from their parameters."""

from collections.abc import Sequence

import torch
from torch import Tensor

Colour = tuple[float, float, float]

SKIN = (
    (0.00, (0.98, 0.91, 0.87)),
    (0.10, (0.97, 0.88, 0.83)),
    (0.16, (0.96, 0.81, 0.71)),
    (0.35, (0.90, 0.71, 0.57)),
    (0.55, (0.77, 0.56, 0.42)),
    (0.78, (0.56, 0.38, 0.27)),
    (1.00, (0.36, 0.24, 0.18)),
)
HAIR = (
    (0.00, (0.07, 0.06, 0.07)),
    (0.14, (0.13, 0.10, 0.09)),
    (0.33, (0.29, 0.18, 0.12)),
    (0.62, (0.50, 0.32, 0.18)),
    (0.84, (0.84, 0.66, 0.38)),
    (1.00, (0.95, 0.84, 0.58)),
)
IRIS = (
    (0.00, (0.20, 0.11, 0.06)),
    (0.30, (0.42, 0.25, 0.11)),
    (0.55, (0.36, 0.46, 0.24)),
    (0.80, (0.34, 0.52, 0.60)),
    (1.00, (0.25, 0.48, 0.78)),
)
FRAME = (
    (0.00, (0.08, 0.08, 0.10)),
    (0.50, (0.16, 0.11, 0.10)),
    (0.75, (0.42, 0.12, 0.10)),
    (1.00, (0.15, 0.20, 0.42)),
)
# The ends agree: the wheel closes.
WHEEL = (
    (0.00, (0.72, 0.26, 0.26)),
    (0.20, (0.78, 0.56, 0.25)),
    (0.40, (0.33, 0.55, 0.36)),
    (0.60, (0.20, 0.48, 0.62)),
    (0.80, (0.38, 0.32, 0.62)),
    (1.00, (0.72, 0.26, 0.26)),
)


def plain(*colour: float) -> Tensor:
    """Return one colour for all faces, (1, 3, 1, 1)."""
    return torch.tensor(colour).view(1, 3, 1, 1)


def ramp(position: Tensor, stops: Sequence[tuple[float, Colour]]) -> Tensor:
    """Return the colour (count, 3, 1, 1) at a position (count, 1, 1) between the stops."""
    position = position.unsqueeze(1)
    result = plain(*stops[0][1]).expand(len(position), 3, 1, 1)
    for (low, _), (high, colour) in zip(stops, stops[1:], strict=False):
        weight = ((position - low) / (high - low)).clamp(0, 1)
        result = result + weight * (plain(*colour) - result)
    return result
