"""Generators in foreign files: the family is told by what a file holds, never by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.models.stylegan2 import NOISE_CHOICES, Generator, NoiseChoice
from wstar_training.models.weights import content, nvidia_pickles, rosinality, tensorflow
from wstar_training.models.weights.fitting import shape

_SHOWN = 5


def load_generator(path: Path | str, noise: NoiseChoice = "const") -> Generator:
    """Read G from a StyleGAN2 file, in evaluation mode, frozen, float32.

    Families: rosinality's `.pt` files (converted, of a training run, or a state dict alone), the
    decoder inside pSp and e4e files, NVIDIA's `.pkl` files of PyTorch and of TensorFlow.

    Parameters
    ----------
    noise: "const" for the noise maps stored in the file, "random" for fresh ones with each
        picture, "none" for none.

    Raises
    ------
    InvalidInput: `noise` is none of these.
    CheckpointError: another family or architecture, a tensor missing, unknown or of another
    shape, or no stored noise; names file, key, what was expected and what was found.
    """
    if noise not in NOISE_CHOICES:
        raise InvalidInput("noise", noise, f"one of {', '.join(NOISE_CHOICES)}")
    path = Path(path)
    found = content.read(path)
    if isinstance(found, tuple):
        return tensorflow.from_networks(found, path, noise)
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path}: expected a generator's file, found {shape(found)}")
    if "G_ema" in found:
        return nvidia_pickles.from_pickle(found["G_ema"], path, noise)
    if "g_ema" in found:
        return rosinality.from_container(found, path, noise)
    if "state_dict" in found:
        return rosinality.from_decoder(found, path, noise)
    if "input.input" in found:
        return rosinality.from_bare(found, path, noise)
    keys = ", ".join([*map(str, found)][:_SHOWN]) or "no keys"
    raise CheckpointError(
        f"{path}: expected one of the keys g_ema, state_dict, G_ema, input.input, found {keys}"
    )
