"""Generators in the layout of NVIDIA's StyleGAN2-ADA: names, to ours and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wstar.errors import CheckpointError, InvalidInput
from wstar.graphs import MAX_RESOLUTION
from wstar_training.models.ops import blur_kernel
from wstar_training.models.stylegan2 import Generator, NoiseChoice, generator_like
from wstar_training.models.weights.fitting import counted, shape
from wstar_training.models.weights.rosinality import generator_of

_MEAN = "mapping.w_avg"
_SIDES = [2**level for level in range(3, int(math.log2(MAX_RESOLUTION)) + 1)]
# Stored filters sum to 1 here and to 4 in the other layout.
_FILTER_GAIN = 4.0


@dataclass(frozen=True)
class _Name:
    """One tensor in both layouts; ours has `before` and `after` axes of length 1 more."""

    ours: str
    theirs: str
    before: int = 0
    after: int = 0
    gain: float = 1.0

    def to_theirs(self, tensor: Tensor) -> Tensor:
        inner = tensor.shape[self.before : tensor.ndim - self.after]
        if tensor.numel() != math.prod(inner):
            raise InvalidInput(self.ours, tuple(tensor.shape), f"shape of one {self.theirs}")
        return tensor.reshape(inner) if self.gain == 1.0 else tensor / self.gain

    def to_ours(self, tensor: Tensor) -> Tensor:
        outer = (1,) * self.before + tuple(tensor.shape) + (1,) * self.after
        return tensor.reshape(outer) if self.gain == 1.0 else tensor * self.gain


def to_nvidia(state: Mapping[str, Tensor], mean_w: Tensor | None) -> dict[str, Tensor]:
    """A generator's state dict and mean of w (w_dim,) under NVIDIA's names.

    Raises
    ------
    InvalidInput: something that layout has no place for: a mean or noise per row or channel.
    """
    if mean_w is not None and mean_w.ndim != 1:
        raise InvalidInput("mean_w", tuple(mean_w.shape), "shape (w_dim,)")
    theirs = {} if mean_w is None else {_MEAN: mean_w}
    theirs |= {
        name.theirs: name.to_theirs(state[name.ours])
        for name in _names(counted(state, "style."))
        if name.ours in state
    }
    for side in [4, *_SIDES]:
        block = f"synthesis.b{side}"
        if f"{block}.conv1.weight" in theirs:
            theirs[f"{block}.conv1.resample_filter"] = blur_kernel(1.0)
            theirs.setdefault(f"{block}.resample_filter", blur_kernel(1.0))
    return theirs


def from_nvidia(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | None]:
    """A generator's state dict and mean of w from NVIDIA's names; other keys are left out."""
    ours = {
        name.ours: name.to_ours(state[name.theirs])
        for name in _names(counted(state, "mapping.fc"))
        if name.theirs in state
    }
    return ours, state.get(_MEAN)


def generator_of_names(
    state: Mapping[str, Tensor],
    path: Path,
    noise: NoiseChoice,
    conv_clamp: float | None,
    named: Callable[[str], str],
) -> Generator:
    """Build a generator from a state dict in NVIDIA's names; `named` is for messages.

    Raises
    ------
    CheckpointError: a tensor is missing, unknown or of another shape; names key, expected, found.
    """
    names = {name.ours: name.theirs for name in _names(counted(state, "mapping.fc"))}
    ours, mean_w = from_nvidia(state)

    def named_ours(key: str) -> str:
        return named(names.get(key, key))

    with torch.device("meta"):
        like = generator_like(ours, named_ours)
        wanted = to_nvidia(like.state_dict(), None if mean_w is None else torch.empty(like.w_dim))
    for key, found in state.items():
        expected = wanted.get(key)
        if expected is None or expected.shape != found.shape or not found.is_floating_point():
            what = "no such key" if expected is None else f"float32 of shape {shape(expected)}"
            raise CheckpointError(
                f"{named(key)}: expected {what}, found {found.dtype} of shape {shape(found)}"
            )
    for ours_key, key in names.items():
        # Missing noise is no mistake if none is asked for, which `generator_of` knows.
        if key in wanted and key not in state and not ours_key.startswith("noises."):
            raise CheckpointError(
                f"{named(key)}: expected shape {shape(wanted[key])}, found nothing"
            )
    generator = generator_of(ours, path, "", noise, named_ours)
    generator.mean_w = None if mean_w is None else mean_w.float()
    generator.conv_clamp = conv_clamp
    return generator


def clamp_of(found: object, where: str) -> float | None:
    """The bound of activations as files state it: None for none, or a number.

    Raises
    ------
    CheckpointError: it is something else.
    """
    if found is None:
        return None
    if not isinstance(found, int | float) or not math.isfinite(found) or found <= 0:
        raise CheckpointError(f"{where}: expected None or a bound above 0, found {found!r}")
    return float(found)


def _names(depth: int) -> Iterator[_Name]:
    """Every tensor that both layouts hold, for all sides and `depth` layers of mapping."""
    yield _Name("input.input", "synthesis.b4.const", before=1)
    yield from _layer("conv1", "synthesis.b4.conv1", 0)
    yield from _to_rgb("to_rgb1", "synthesis.b4.torgb")
    for stage, side in enumerate(_SIDES):
        block, up = f"synthesis.b{side}", f"convs.{2 * stage}"
        yield from _layer(up, f"{block}.conv0", 2 * stage + 1)
        yield _Name(f"{up}.conv.blur.kernel", f"{block}.conv0.resample_filter", gain=_FILTER_GAIN)
        yield from _layer(f"convs.{2 * stage + 1}", f"{block}.conv1", 2 * stage + 2)
        yield from _to_rgb(f"to_rgbs.{stage}", f"{block}.torgb")
        kernel = f"to_rgbs.{stage}.upsample.kernel"
        yield _Name(kernel, f"{block}.resample_filter", gain=_FILTER_GAIN)
    for part in ("weight", "bias"):
        yield _Name(f"style.embed.{part}", f"mapping.embed.{part}")
        for index in range(depth):
            yield _Name(f"style.{index + 1}.{part}", f"mapping.fc{index}.{part}")


def _layer(ours: str, theirs: str, noise: int) -> Iterator[_Name]:
    yield from _modulated(ours, theirs)
    yield _Name(f"{ours}.activate.bias", f"{theirs}.bias")
    yield _Name(f"{ours}.noise.weight", f"{theirs}.noise_strength", before=1)
    yield _Name(f"noises.noise_{noise}", f"{theirs}.noise_const", before=2)


def _to_rgb(ours: str, theirs: str) -> Iterator[_Name]:
    yield from _modulated(ours, theirs)
    yield _Name(f"{ours}.bias", f"{theirs}.bias", before=1, after=2)


def _modulated(ours: str, theirs: str) -> Iterator[_Name]:
    yield _Name(f"{ours}.conv.weight", f"{theirs}.weight", before=1)
    yield _Name(f"{ours}.conv.modulation.weight", f"{theirs}.affine.weight")
    yield _Name(f"{ours}.conv.modulation.bias", f"{theirs}.affine.bias")
