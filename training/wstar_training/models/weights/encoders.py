"""pSp and e4e files: containers of a `state_dict`, the `opts` of its training, a `latent_avg`.

The two families have the same keys and shapes; the options alone tell them apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from wstar.errors import CheckpointError, InvalidInput
from wstar.graphs import MAX_RESOLUTION, MIN_RESOLUTION, W_DIM, n_latent
from wstar_training.models import psp
from wstar_training.models.absolute import FACES, Encoder
from wstar_training.models.e4e import Encoder4Editing
from wstar_training.models.weights import content
from wstar_training.models.weights.fitting import counted, fitted, shape, tensors, under

_PREFIX = "encoder."
ENCODERS = {
    "GradualStyleEncoder": psp.GradualStyleEncoder,
    "BackboneEncoderUsingLastLayerIntoW": psp.BackboneEncoderUsingLastLayerIntoW,
    "BackboneEncoderUsingLastLayerIntoWPlus": psp.BackboneEncoderUsingLastLayerIntoWPlus,
    "Encoder4Editing": Encoder4Editing,
}
_CARS = (192, 256)
_SHOWN = 5

Value = TypeVar("Value")


def load_encoder(path: Path | str) -> Encoder:
    """Read E from a pSp or e4e file, in evaluation mode, frozen.

    The mean code is added where the file's training started from it. The option `learn_in_w`
    changes nothing here: it only says that the mean has one row. The decoder is left where it is.

    Raises
    ------
    CheckpointError: another family, an encoder of a type or an input that is not read here, an
    option missing or contradicting the tensors, a missing mean, a tensor missing, unknown or of
    another shape; the message names file, key, what was expected and what was found.
    """
    path = Path(path)
    container = _container(content.read(path), path)
    opts = options_of(container["opts"], path)
    state = under(tensors(container["state_dict"], path, "state_dict"), _PREFIX)
    encoder_type = _one_of(opts, "encoder_type", tuple(ENCODERS), path)
    _one_of({"input_nc": 3, **opts}, "input_nc", (3,), path)
    _one_of({"label_nc": 0, **opts}, "label_nc", (0,), path)
    rows = encoder_rows(encoder_type, opts, state, path)
    mean = _mean(container.get("latent_avg"), opts, rows, path)
    network = fitted(lambda: ENCODERS[encoder_type](rows), state, path, _PREFIX)
    cars = str(opts.get("dataset_type")).startswith("cars_")
    encoder = Encoder(network, mean, _CARS if cars else FACES)
    return encoder.eval().requires_grad_(False)


def _container(found: object, path: Path) -> Mapping[str, object]:
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path}: expected a pSp or e4e file's dict, found {shape(found)}")
    for key in ("state_dict", "opts"):
        if key not in found:
            keys = ", ".join([*map(str, found)][:_SHOWN])
            raise CheckpointError(
                f"{path}: {key}: expected it, as in pSp and e4e files, found the keys {keys}"
            )
    return found


def options_of(opts: object, path: Path) -> Mapping[str, Any]:
    """The options of a container, kept as a dict or as a command line."""
    if isinstance(opts, argparse.Namespace):
        return vars(opts)
    if not isinstance(opts, Mapping):
        raise CheckpointError(f"{path}: opts: expected a dict of options, found {shape(opts)}")
    return opts


def _one_of(opts: Mapping[str, Any], key: str, allowed: tuple[Value, ...], path: Path) -> Value:
    """The option `key`, which must be there and be one of the values allowed."""
    if isinstance(opts.get(key), Tensor) or key not in opts or opts[key] not in allowed:
        expected = " or ".join(map(repr, allowed))
        found = repr(opts[key]) if key in opts else "nothing"
        raise CheckpointError(f"{path}: opts.{key}: expected {expected}, found {found}")
    return allowed[allowed.index(opts[key])]


def encoder_rows(
    encoder_type: str, opts: Mapping[str, Any], state: Mapping[str, Tensor], path: Path
) -> int:
    """How many rows a code has: what the options say, which must be what the tensors say.

    e4e calls the generator's size `stylegan_size`, and an `output_size` beside it means nothing;
    where an e4e file lacks it, its tensors decide. Old pSp files lack theirs and are of 1024.
    """
    e4e = encoder_type == "Encoder4Editing"
    keys = ("stylegan_size",) if e4e else ("output_size", "stylegan_size")
    key = next((key for key in keys if key in opts), keys[0])
    found = _rows_found(encoder_type, state)
    size = opts.get(key, 2 ** (found // 2 + 1) if e4e and found else MAX_RESOLUTION)
    try:
        rows = n_latent(size) if isinstance(size, int) else n_latent(0)
    except InvalidInput as error:
        raise CheckpointError(
            f"{path}: opts.{key}: expected a power of two, {MIN_RESOLUTION} to {MAX_RESOLUTION}, "
            f"found {size!r}"
        ) from error
    if found not in (None, rows):
        raise CheckpointError(
            f"{path}: {_PREFIX}*: expected the {rows} styles of opts.{key} {size}, found {found}"
        )
    return rows


def _rows_found(encoder_type: str, state: Mapping[str, Tensor]) -> int | None:
    """How many rows the tensors make; None where one row is repeated."""
    if encoder_type == "BackboneEncoderUsingLastLayerIntoW":
        return None
    if encoder_type == "BackboneEncoderUsingLastLayerIntoWPlus":
        return state["linear.bias"].numel() // W_DIM if "linear.bias" in state else 0
    return counted(state, "styles.")


def _mean(mean: object, opts: Mapping[str, Any], rows: int, path: Path) -> Tensor:
    """The mean code float32 (rows, 512) that is to be added; zeros where none is."""
    if not _one_of(opts, "start_from_latent_avg", (True, False), path):
        return torch.zeros(rows, W_DIM)
    allowed = ((rows, W_DIM), (1, W_DIM), (W_DIM,))
    if not isinstance(mean, Tensor) or not mean.is_floating_point() or mean.shape not in allowed:
        shapes = " or ".join(map(str, allowed))
        found = f"{mean.dtype} {shape(mean)}" if isinstance(mean, Tensor) else shape(mean)
        raise CheckpointError(
            f"{path}: latent_avg: expected real numbers of shape {shapes}, as "
            f"opts.start_from_latent_avg is true, found {'nothing' if mean is None else found}"
        )
    return mean.to(torch.float32).expand(rows, W_DIM).clone()
