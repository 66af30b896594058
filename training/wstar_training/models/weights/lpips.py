"""LPIPS (Zhang et al. 2018): its linear layers as published, on torchvision's VGG16."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.models.perceptual import LearnedDistance
from wstar_training.models.vgg import BLOCK_TAPS
from wstar_training.models.weights.content import read
from wstar_training.models.weights.family import bare_state
from wstar_training.models.weights.fitting import shape
from wstar_training.models.weights.perceptual import load_perceptual

_KEYS = tuple(f"lin{index}.model.1.weight" for index in range(len(BLOCK_TAPS)))
# Channels of a block over those of the first.
_FACTORS = (1, 2, 4, 8, 8)
# relu5_3 lies behind four poolings.
_SMALLEST_SIDE = 16


def load_lpips(
    network: Path | str,
    linear: Path | str,
    *,
    perceptual_scale: float = 10.0,
    side: int | None = None,
) -> LearnedDistance:
    """LPIPS by two files: torchvision's VGG16 with ImageNet's weights, and the linear layers.

    Parameters
    ----------
    network: as of `load_perceptual`.
    linear: `vgg.pth` of the published LPIPS, or a state dict of all of it; of its keys
        `lin0.model.1.weight` (1, C, 1, 1) to `lin4.model.1.weight` are read.
    perceptual_scale, side: as of `load_perceptual`; the published distance has scale 1.

    Raises
    ------
    CheckpointError: no such file, a truncated one, another family, a missing key, another shape.
    InvalidInput: an argument outside what is allowed, or a weight below 0.
    """
    if side is not None and side < _SMALLEST_SIDE:
        raise InvalidInput("side", side, f"at least {_SMALLEST_SIDE} px, or None")
    plain = load_perceptual(
        network, weights="imagenet", perceptual_scale=perceptual_scale, side=side
    )
    path = Path(linear)
    state = bare_state(read(path), path, "LPIPS file", _KEYS)
    width = plain.network.out_channels // _FACTORS[-1]
    weights: list[Tensor] = []
    for key, factor in zip(_KEYS, _FACTORS, strict=True):
        expected, found = (1, factor * width, 1, 1), state.get(key)
        if found is None or tuple(found.shape) != expected:
            what = "nothing" if found is None else shape(found)
            raise CheckpointError(f"{path}: {key}: expected shape {expected}, found {what}")
        weights.append(found.float().flatten())
    return LearnedDistance(plain.network, weights, plain.scale, plain.input)
