"""VGGFace files: one network under four sets of names, each with the input its own code feeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from wstar.errors import CheckpointError
from wstar_training.models.identity import Channels
from wstar_training.models.vggface import Layer, VGGFace
from wstar_training.models.weights.family import leading
from wstar_training.models.weights.fitting import fitted, shape

_MEAN = (129.1863, 104.7624, 93.5940)
_REVERSED = (93.5940 / 255, 104.7624 / 255, 129.1863 / 255)


@dataclass(frozen=True)
class VGGFaceLayout:
    """One set of names and its input.

    convolution: name of convolution `position` (from 1; `index` from 0) of `block` (from 1).
    linear: names of fc6, fc7, fc8.
    channels, scale, mean: see `IdentityInput`.
    """

    convolution: str
    linear: tuple[str, str, str]
    channels: Channels
    scale: float
    mean: tuple[float, float, float]

    @property
    def mark(self) -> str:
        """A key that no other layout has."""
        return self._convolution(1, 1) + ".weight"

    def names(self, network: VGGFace) -> dict[str, str]:
        """Key of our network to key of the file."""
        modules = dict(zip(("fc6", "fc7", "fc8"), self.linear, strict=True))
        for relu, index in network.vgg.tap_indices.items():
            block, position = map(int, relu.removeprefix("relu").split("_"))
            modules[f"vgg.features.{index - 1}"] = self._convolution(block, position)
        kinds = ("weight", "bias")
        return {f"{ours}.{k}": f"{theirs}.{k}" for ours, theirs in modules.items() for k in kinds}

    def _convolution(self, block: int, position: int) -> str:
        return self.convolution.format(block=block, position=position, index=position - 1)


# The sources disagree on which mean goes with which channel; each preset is what its code does.
VGGFACE_LAYOUTS = {
    "dag": VGGFaceLayout("conv{block}_{position}", ("fc6", "fc7", "fc8"), "RGB", 255.0, _MEAN),
    "t7": VGGFaceLayout("conv_{block}_{position}", ("fc6", "fc7", "fc8"), "BGR", 255.0, _MEAN),
    "module-dict": VGGFaceLayout(
        "features.conv_{block}_{position}", ("fc.fc6", "fc.fc7", "fc.fc8"), "BGR", 255.0, _MEAN
    ),
    "conv-blocks": VGGFaceLayout(
        "conv{block}.convs.{index}", ("fc1", "fc2", "fc3"), "RGB", 1.0, _REVERSED
    ),
}


def vggface_from_state(
    state: Mapping[str, Tensor], path: Path, layout: VGGFaceLayout, layer: Layer
) -> VGGFace:
    """Build VGGFace, of the widths found, from a file's state dict; in evaluation mode, frozen.

    Raises
    ------
    CheckpointError: a tensor is missing, unknown or of another shape; names file, key, expected
    shape and found shape.
    """
    fc6, _, fc8 = layout.linear
    build = partial(
        VGGFace,
        leading(state, layout.mark, path, "(width, 3, 3, 3)"),
        leading(state, f"{fc6}.weight", path, "(features, 392 width)"),
        leading(state, f"{fc8}.weight", path, "(classes, features)"),
        layer,
    )
    with torch.device("meta"):
        network = build()
    names = layout.names(network)
    for key in state.keys() - names.values():
        raise CheckpointError(
            f"{path}: {key}: expected no such key, found shape {shape(state[key])}"
        )
    # Checked here as well, under the names that the file has.
    for ours, wanted in network.state_dict().items():
        found = state.get(names[ours])
        if found is None or found.shape != wanted.shape:
            what = "nothing" if found is None else shape(found)
            raise CheckpointError(
                f"{path}: {names[ours]}: expected shape {shape(wanted)}, found {what}"
            )
    return fitted(build, {ours: state[theirs] for ours, theirs in names.items()}, path)
