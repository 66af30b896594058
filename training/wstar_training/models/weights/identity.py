"""Face networks that users own, as identity network F of eq. 4: VGGFace and ArcFace."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Literal, get_args

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.models.identity import Channels, FaceIdentity, IdentityInput
from wstar_training.models.vggface import Layer, VGGFace
from wstar_training.models.weights.arcface import arcface_from_state
from wstar_training.models.weights.content import read
from wstar_training.models.weights.family import bare_state
from wstar_training.models.weights.vggface import VGGFACE_LAYOUTS, vggface_from_state

Layout = Literal["auto", "dag", "t7", "module-dict", "conv-blocks", "arcface"]

_MARKS = {name: layout.mark for name, layout in VGGFACE_LAYOUTS.items()}
_MARKS["arcface"] = "output_layer.3.weight"
# ArcFace takes [-1, 1] as it is, and crops and averages by itself.
_ARCFACE = IdentityInput("arcface", "RGB", 2.0, (1.0, 1.0, 1.0), "output_layer", None)


def load_identity(
    path: Path | str,
    layout: Layout = "auto",
    *,
    channels: Channels | None = None,
    scale: float | None = None,
    mean: tuple[float, float, float] | None = None,
    layer: Layer | None = None,
) -> FaceIdentity:
    """Identity network F of a VGGFace or ArcFace file, frozen, in evaluation mode.

    F maps pictures float32 (N, 3, S, S), RGB in [-1, 1], to embeddings float32 (N, D): D is 4096
    for fc6 and fc7, 2622 for fc8, and 512 (unit vectors) for ArcFace. `F.input` says what was
    chosen. VGGFace sees 224 px, which other sides are resized to.

    Parameters
    ----------
    layout: `auto` goes by the keys. A layout said here must be the one that the keys have.
    channels, scale, mean: of VGGFace's input; None takes what the code of that layout feeds.
        scale is the value of white, 1 or 255; mean is in the order of `channels` and in units of
        `scale`, so whoever changes one of the three looks at the others.
    layer: of VGGFace: `fc6` and `fc7` after their ReLU, `fc8` the logits; None is `fc7`.

    Raises
    ------
    CheckpointError: no such file, a truncated one, another family or layout, a missing or unknown
    key, another shape.
    InvalidInput: an argument outside what is allowed, or one that ArcFace has no use for.
    """
    path = Path(path)
    _one_of("layout", layout, get_args(Layout))
    _one_of("channels", channels, (None, *get_args(Channels)))
    _one_of("scale", scale, (None, 1, 255))
    _one_of("layer", layer, (None, *get_args(Layer)))
    if mean is not None and not (len(mean) == 3 and all(map(math.isfinite, mean))):
        raise InvalidInput("mean", mean, "three finite numbers")
    state = bare_state(read(path), path, "VGGFace or ArcFace file", _MARKS.values())
    found = next(name for name, mark in _MARKS.items() if mark in state)
    if layout not in ("auto", found):
        raise CheckpointError(
            f"{path}: expected the key {_MARKS[layout]} of layout {layout!r}, found "
            f"{_MARKS[found]} of layout {found!r}"
        )
    if found == "arcface":
        given = {"channels": channels, "scale": scale, "mean": mean, "layer": layer}
        for field, value in given.items():
            if value is not None:
                raise InvalidInput(field, value, "None: ArcFace has one input and one output")
        return FaceIdentity(arcface_from_state(state, path), _ARCFACE)
    preset = VGGFACE_LAYOUTS[found]
    layer = layer or "fc7"
    return FaceIdentity(
        vggface_from_state(state, path, preset, layer),
        IdentityInput(
            layout=found,
            channels=channels or preset.channels,
            scale=float(scale or preset.scale),
            mean=mean or preset.mean,
            layer=layer,
            side=VGGFace.side,
        ),
    )


def _one_of(field: str, value: object, allowed: Collection[object]) -> None:
    if value not in allowed:
        raise InvalidInput(field, value, ", ".join(map(str, allowed)))
