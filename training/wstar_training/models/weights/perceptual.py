"""torchvision's VGG16 files, of which the convolutions are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from wstar.errors import InvalidInput
from wstar_training.models.perceptual import PerceptualDistance, PerceptualInput
from wstar_training.models.vgg import VGG16
from wstar_training.models.weights.content import read
from wstar_training.models.weights.family import bare_state, leading
from wstar_training.models.weights.fitting import fitted

Weights = Literal["auto", "imagenet", "ssd"]

# Per channel of RGB in [0, 1]: mean, standard deviation.
_STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "ssd": ((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)),
}
_FIRST = "features.0.weight"
# relu4_3 lies behind three poolings.
_SMALLEST_SIDE = 8


def load_perceptual(
    path: Path | str,
    *,
    weights: Weights = "auto",
    perceptual_scale: float = 10.0,
    side: int | None = None,
) -> PerceptualDistance:
    """Perceptual distance by the VGG16 of a torchvision file, of any width (64 as published).

    Returns a module: `distance(x, y)` maps pictures float32 (N, 3, S, S) in [-1, 1] to (N,),
    `distance.taps(x)` to the activations relu2_2, relu3_3 and relu4_3 by name. `distance.input`
    says how pictures are normalised. The classifier of the file is not used.

    Parameters
    ----------
    weights: two sets share all names and want differently normalised pictures. `auto` takes the
        SSD set where the file has a classifier that is no classifier (not finite, or all zero), and
        else ImageNet's. A file of the convolutions alone cannot tell and counts as ImageNet's:
        say `ssd` when it is not.
    perceptual_scale: factor of the distance (paper section 7.1: 10).
    side: px; larger pictures are averaged over areas down to it before VGG. None: as they come.

    Raises
    ------
    CheckpointError: no such file, a truncated one, another family, a missing key, another shape.
    InvalidInput: an argument outside what is allowed.
    """
    path = Path(path)
    if weights not in get_args(Weights):
        raise InvalidInput("weights", weights, ", ".join(get_args(Weights)))
    if not (math.isfinite(perceptual_scale) and perceptual_scale > 0):
        raise InvalidInput("perceptual_scale", perceptual_scale, "finite, above 0")
    if side is not None and side < _SMALLEST_SIDE:
        raise InvalidInput("side", side, f"at least {_SMALLEST_SIDE} px, or None")
    state = bare_state(read(path), path, "torchvision VGG16 file", [_FIRST])
    width = leading(state, _FIRST, path, "(width, 3, 3, 3)")
    convolutions = {key: value for key, value in state.items() if key.startswith("features.")}
    network = fitted(partial(VGG16, width), convolutions, path)
    if weights == "auto":
        weights = "ssd" if _spoiled_classifier(state) else "imagenet"
    mean, std = _STATISTICS[weights]
    return PerceptualDistance(network, perceptual_scale, input=PerceptualInput(mean, std, side))


def _spoiled_classifier(state: Mapping[str, Tensor]) -> bool:
    """Whether there is a classifier and it is not finite, or zero throughout."""
    layers = [value for key, value in state.items() if key.startswith("classifier.")]
    # aminmax hands NaN on and needs no second tensor of that size.
    extremes = [bound.item() for layer in layers if layer.numel() for bound in layer.aminmax()]
    return bool(extremes) and (not all(map(math.isfinite, extremes)) or not any(extremes))
