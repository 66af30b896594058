"""Generators in the layout of rosinality's StyleGAN2: `.pt` files, and decoders of pSp and e4e.

The state dict's names are those of `wstar_training.models.stylegan2`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from wstar.errors import CheckpointError
from wstar_training.models.stylegan2 import Generator, NoiseChoice, generator_like
from wstar_training.models.weights.fitting import fitted, shape, tensors, under


def from_container(content: Mapping[str, object], path: Path, noise: NoiseChoice) -> Generator:
    """The averaged generator of a converted file or a training run: `g_ema`, `latent_avg`."""
    state = tensors(content["g_ema"], path, "g_ema")
    return _generator(state, path, "g_ema.", content.get("latent_avg"), noise)


def from_decoder(content: Mapping[str, object], path: Path, noise: NoiseChoice) -> Generator:
    """The generator inside a pSp or e4e file, whose mean may have a row for each of w's."""
    state = under(tensors(content["state_dict"], path, "state_dict"), "decoder.")
    if not state:
        raise CheckpointError(
            f"{path}: state_dict.decoder.input.input: expected shape (1, 512, 4, 4), found nothing"
        )
    return _generator(state, path, "state_dict.decoder.", content.get("latent_avg"), noise)


def from_bare(content: Mapping[str, object], path: Path, noise: NoiseChoice) -> Generator:
    """A state dict alone; it stores no mean of w."""
    state = {str(key): value for key, value in content.items()}
    return _generator(tensors(state, path, "state dict"), path, "", None, noise)


def _generator(
    state: Mapping[str, Tensor], path: Path, prefix: str, mean_w: object, noise: NoiseChoice
) -> Generator:
    generator = generator_of(state, path, prefix, noise, lambda key: f"{path}: {prefix}{key}")
    generator.mean_w = _mean(mean_w, path, generator)
    return generator


def generator_of(
    state: Mapping[str, Tensor],
    path: Path,
    prefix: str,
    noise: NoiseChoice,
    named: Callable[[str], str],
) -> Generator:
    """Build a generator from a state dict in the module's names; `named` is for messages.

    Raises
    ------
    CheckpointError: a tensor is missing, unknown or of another shape, or there are no noise maps
    although `noise` is "const".
    """
    with torch.device("meta"):
        layers = generator_like(state, named).n_latent - 1
    missing = [layer for layer in range(layers) if f"noises.noise_{layer}" not in state]
    if missing and noise == "const":
        side = 2 ** ((missing[0] + 5) // 2)
        raise CheckpointError(
            f"{named(f'noises.noise_{missing[0]}')}: expected shape (1, 1, {side}, {side}), found "
            'nothing: the file stores no noise; noise="none" or noise="random" would load it'
        )
    if missing:
        state = {key: value for key, value in state.items() if not key.startswith("noises.")}
    generator = fitted(lambda: generator_like(state, named), state, path, prefix)
    generator.noise = noise
    return generator


def _mean(mean_w: object, path: Path, generator: Generator) -> Tensor | None:
    """A stored mean as (w_dim,) or (n, w_dim)."""
    if mean_w is None:
        return None
    width = generator.w_dim
    found = mean_w
    if isinstance(found, Tensor) and torch.is_floating_point(found):
        while found.ndim > 1 and found.shape[0] == 1:
            found = found[0]
        if found.shape in ((width,), (generator.n_latent, width)):
            return found.float()
    raise CheckpointError(
        f"{path}: latent_avg: expected shape ({width},), (1, {width}) or "
        f"({generator.n_latent}, {width}), found {shape(mean_w)}"
    )
