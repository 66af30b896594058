"""Tap weights of perceptual judges trained here, whose activations have no natural size."""

from __future__ import annotations

import torch
from torch import Tensor

from wstar_training.models.vgg import PERCEPTUAL_TAPS, VGG16


def balanced_tap_weights(network: VGG16, pictures: Tensor) -> tuple[float, ...]:
    """Weights under which every tap adds 1/3 to the mean distance of random pairs at scale 1.

    `pictures` (N, 3, S, S) in [-1, 1]; pairs are consecutive pictures.
    """
    weights = []
    with torch.no_grad():
        for tap in network.eval().taps(pictures):
            flat = tap.flatten(1)
            mean = (flat[1:] - flat[:-1]).square().mean().item()
            weights.append(1.0 / (len(PERCEPTUAL_TAPS) * mean))
    return tuple(weights)
