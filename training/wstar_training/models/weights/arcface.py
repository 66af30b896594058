"""ArcFace files of the pSp family (`model_ir_se50.pth`): a bare state dict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from wstar_training.models.arcface import ArcFace
from wstar_training.models.weights.fitting import fitted

_SCALE_AND_OFFSET = ("output_layer.4.weight", "output_layer.4.bias")


def arcface_from_state(state: Mapping[str, Tensor], path: Path) -> ArcFace:
    """Build the identity network of a file's state dict, in evaluation mode, frozen.

    A file without scale and offset of the last batch norm was trained without them.

    Raises
    ------
    CheckpointError: a tensor is missing, unknown or of another shape; names file, key, expected
    shape and found shape.
    """
    affine = any(key in state for key in _SCALE_AND_OFFSET)
    return fitted(lambda: ArcFace(affine), state, path)
