"""What a file is, read off its keys and shapes: no network is built, no weight is read.

Except of `.pkl` files, which cannot be read in part. A family is told by content, never by the
name of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from wstar.errors import CheckpointError, InvalidInput
from wstar.graphs import n_latent
from wstar_training.models.arcface import ArcFace
from wstar_training.models.stylegan2 import Generator
from wstar_training.models.vgg import VGG16
from wstar_training.models.vggface import VGGFace
from wstar_training.models.weights import content
from wstar_training.models.weights.encoders import ENCODERS, encoder_rows, options_of
from wstar_training.models.weights.fitting import counted, tensors, under
from wstar_training.models.weights.generators import load_generator
from wstar_training.models.weights.vggface import VGGFACE_LAYOUTS

Detail = str | int | float | bool | None

_KEYS_SHOWN = 5
# Running statistics, filters and noise maps are no parameters.
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "kernel")
_MULTIPLIER_UNIT = 16384
_FIRST_OBSERVABLE_PX = 64
# 8 to 1024 px.
_MOST_STAGES = 8


@dataclass(frozen=True)
class Inspection:
    """What a file holds.

    family: which kind of file. loads_as: the functions of `weights` that read it.
    parameters: learned numbers by part; statistics, filters and noise maps are none.
    dtypes: types of the tensors.
    resolution: side of the generator's pictures in px. n_latent: rows of a W+ code.
    channel_multiplier: 2 is config F; None where it does not exist or cannot be seen.
    details: what else the file says of itself.
    missing: what a reader may want and will not find here.
    """

    family: str
    loads_as: tuple[str, ...]
    parameters: Mapping[str, int]
    dtypes: tuple[str, ...]
    resolution: int | None = None
    n_latent: int | None = None
    channel_multiplier: float | None = None
    details: Mapping[str, Detail] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def inspect(path: Path | str) -> Inspection:
    """Say what a file is.

    Raises
    ------
    CheckpointError: no readable file, none of the families, or one that contradicts itself.
    """
    path = Path(path)
    found = content.read(path)
    if isinstance(found, tuple):
        return _of_generator("StyleGAN2, NVIDIA, TensorFlow", path)
    if not isinstance(found, Mapping):
        raise _unknown(path, type(found).__name__)
    if "G_ema" in found:
        return _of_generator("StyleGAN2-ADA, NVIDIA, PyTorch", path)
    if "g_ema" in found:
        kind = "training run" if "args" in found or "g_optim" in found else "converted"
        return _rosinality(found["g_ema"], found.get("latent_avg"), path, kind)
    if "input.input" in found:
        return _rosinality(found, None, path, "state dict alone")
    if "state_dict" in found and "opts" in found:
        return _psp(found, path)
    for describe in (_vgg16, _vggface, _arcface):
        if (described := describe(found, path)) is not None:
            return described
    raise _unknown(path, ", ".join([*map(str, found)][:_KEYS_SHOWN]) or "no keys")


def _unknown(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: expected a file of StyleGAN2 (.pt or .pkl), pSp, e4e, VGG16, VGGFace or "
        f"ArcFace, found {found}"
    )


def _of_generator(family: str, path: Path) -> Inspection:
    """A pickle is read whole in any case; its generator says the rest."""
    generator = load_generator(path, "none")
    state = dict(generator.state_dict())
    facts = _generator(state, generator.mean_w, path)
    labels = 0 if generator.style is None else generator.style.labels
    details = {**facts.details, "labels": labels, "conv_clamp": generator.conv_clamp}
    return replace(facts, family=family, details=details)


def _rosinality(state: object, mean: object, path: Path, kind: str) -> Inspection:
    facts = _generator(tensors(state, path, "g_ema"), mean, path)
    return replace(facts, family=f"StyleGAN2, rosinality ({kind})")


def _generator(state: Mapping[str, Tensor], mean: object, path: Path) -> Inspection:
    """Facts of a generator in the names of rosinality's layout."""
    stages = counted(state, "to_rgbs.")
    resolution = 2 ** (stages + 2)
    try:
        rows = n_latent(resolution)
    except InvalidInput as error:
        raise CheckpointError(
            f"{path}: to_rgbs.*: expected 1 to {_MOST_STAGES} of them, found {stages}"
        ) from error
    last = state.get(f"convs.{2 * stages - 2}.activate.bias")
    observable = last is not None and last.ndim == 1 and resolution >= _FIRST_OBSERVABLE_PX
    depth = counted(state, "style.") - ("style.embed.weight" in state)
    with torch.device("meta"):
        like = Generator(resolution, {2**level: 1 for level in range(2, stages + 3)})
    missing = list(_missing(like, state))
    layers = [f"style.{index}" for index in range(1, depth + 1)]
    missing += [
        f"{layer}.{part}"
        for layer in layers
        for part in ("weight", "bias")
        if f"{layer}.{part}" not in state
    ]
    if mean is None:
        missing.append("latent_avg: truncation needs estimate_mean_w first")
    if depth < 1:
        missing.append("style.*: no mapping from z to w")
    return Inspection(
        family="",
        loads_as=("load_generator",),
        parameters=_parameters(generator=state),
        dtypes=_dtypes(state),
        resolution=resolution,
        n_latent=rows,
        channel_multiplier=len(last) * resolution / _MULTIPLIER_UNIT
        if last is not None and observable
        else None,
        details={"mapping_layers": depth, "stored_noise": "noises.noise_0" in state},
        missing=tuple(missing),
    )


def _psp(found: Mapping[object, object], path: Path) -> Inspection:
    """PSp and e4e: an encoder, and the decoder where it is there."""
    opts = options_of(found["opts"], path)
    state = tensors(found["state_dict"], path, "state_dict")
    encoder, decoder = under(state, "encoder."), under(state, "decoder.")
    kind = str(opts.get("encoder_type"))
    if kind not in ENCODERS:
        raise CheckpointError(
            f"{path}: opts.encoder_type: expected {' or '.join(ENCODERS)}, found {kind!r}"
        )
    rows = encoder_rows(kind, opts, encoder, path)
    with torch.device("meta"):
        missing = [f"encoder.{key}" for key in _missing(ENCODERS[kind](rows), encoder)]
    facts = _generator(decoder, found.get("latent_avg"), path) if decoder else None
    if facts is None:
        missing.append("decoder.*: no generator in this file")
    else:
        missing += [f"decoder.{key}" for key in facts.missing]
    from_mean = opts.get("start_from_latent_avg")
    from_mean = isinstance(from_mean, int) and bool(from_mean)
    if from_mean and found.get("latent_avg") is None:
        missing.append("latent_avg: the encoder's codes are relative to it")
    return Inspection(
        family="e4e" if kind == "Encoder4Editing" else "pSp",
        loads_as=("load_encoder",) if facts is None else ("load_encoder", "load_generator"),
        parameters=_parameters(encoder=encoder, generator=decoder),
        dtypes=_dtypes(state),
        resolution=2 ** (rows // 2 + 1),
        n_latent=rows,
        channel_multiplier=None if facts is None else facts.channel_multiplier,
        details={
            "encoder_type": kind,
            "start_from_latent_avg": from_mean,
            "dataset_type": None if "dataset_type" not in opts else str(opts["dataset_type"]),
        },
        missing=tuple(missing),
    )


def _vgg16(found: Mapping[object, object], path: Path) -> Inspection | None:
    if "features.0.weight" not in found:
        return None
    state = tensors(found, path, "state dict")
    classifier = under(state, "classifier.")
    with torch.device("meta"):
        missing = list(_missing(VGG16(), state))
    return Inspection(
        family="VGG16, torchvision",
        loads_as=("load_perceptual",),
        parameters=_parameters(features=under(state, "features."), classifier=classifier),
        dtypes=_dtypes(state),
        details={"classifier": bool(classifier)},
        missing=tuple(missing),
    )


def _vggface(found: Mapping[object, object], path: Path) -> Inspection | None:
    for name, layout in VGGFACE_LAYOUTS.items():
        if layout.mark in found:
            state = tensors(found, path, "state dict")
            with torch.device("meta"):
                names = layout.names(VGGFace())
            return Inspection(
                family=f"VGGFace, layout {name}",
                loads_as=("load_identity",),
                parameters=_parameters(network=state),
                dtypes=_dtypes(state),
                details={"channels": layout.channels, "scale": layout.scale},
                missing=tuple(key for key in names.values() if key not in state),
            )
    return None


def _arcface(found: Mapping[object, object], path: Path) -> Inspection | None:
    if "output_layer.3.weight" not in found:
        return None
    state = tensors(found, path, "state dict")
    affine = "output_layer.4.weight" in state
    with torch.device("meta"):
        missing = list(_missing(ArcFace(affine), state))
    return Inspection(
        family="ArcFace IR-SE-50",
        loads_as=("load_identity",),
        parameters=_parameters(network=state),
        dtypes=_dtypes(state),
        details={"affine": affine},
        missing=tuple(missing),
    )


def _missing(like: nn.Module, state: Mapping[str, Tensor]) -> Iterator[str]:
    """Keys that a network of this kind has and the file has not; counters do not matter."""
    for key in like.state_dict():
        if key not in state and not key.endswith("num_batches_tracked"):
            yield key


def _parameters(**parts: Mapping[str, Tensor]) -> dict[str, int]:
    return {
        part: sum(
            value.numel()
            for key, value in state.items()
            if not key.endswith(_BUFFERS) and not key.startswith("noises.")
        )
        for part, state in parts.items()
        if state
    }


def _dtypes(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    floats = {str(value.dtype) for value in state.values() if value.is_floating_point()}
    return tuple(sorted(name.removeprefix("torch.") for name in floats))
