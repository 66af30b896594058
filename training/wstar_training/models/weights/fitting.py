"""Tensors of a file into a network, checked key by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from wstar.errors import CheckpointError

Network = TypeVar("Network", bound=nn.Module)

# Counts batches of a training long over; old files lack it and nothing reads it.
_COUNTER = "num_batches_tracked"


def fitted(
    build: Callable[[], Network], state: Mapping[str, Tensor], path: Path, prefix: str = ""
) -> Network:
    """Build a network and give it the tensors of a file, in evaluation mode, frozen.

    Half- and double-precision tensors become float32; float32 ones are used where they lie, so a
    mapped file is neither copied nor read before its weights are used.

    Parameters
    ----------
    build: makes the network; called where constructing costs neither memory nor random numbers.
    state: key to tensor, exactly the keys of the network.
    path, prefix: the file, and what its keys have in front of those of `state`, for messages.

    Raises
    ------
    CheckpointError: a key is missing, unknown, or of another shape; names file, key, expected
    shape and found shape.
    """
    with torch.device("meta"):
        network = build()
    wanted = network.state_dict()
    for key in state:
        if key not in wanted:
            raise CheckpointError(
                f"{path}: {prefix}{key}: expected no such key, found shape {shape(state[key])}"
            )
    network.load_state_dict(
        {key: _fit(key, tensor, state, f"{path}: {prefix}") for key, tensor in wanted.items()},
        assign=True,
    )
    return network.eval().requires_grad_(False)


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a state dict whose keys start with `prefix`, which is cut off."""
    return {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }


def tensors(state: object, path: Path, key: str) -> dict[str, Tensor]:
    """The value of `key` of a file as a state dict.

    Raises
    ------
    CheckpointError: it is not a dict of tensors.
    """
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path}: {key}: expected a state dict, found {shape(state)}")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {key}.{name}: expected a tensor, found {shape(value)}")
    return dict(state)


def counted(state: Mapping[str, object], prefix: str) -> int:
    """How many entries of a list there are under `prefix`, such as `styles.`."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def shape(value: object) -> str:
    """A tensor's shape as messages show it; of anything else, its kind."""
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _fit(key: str, wanted: Tensor, state: Mapping[str, Tensor], where: str) -> Tensor:
    found = state.get(key)
    if found is None and key.endswith(_COUNTER):
        return torch.tensor(0)
    if found is None:
        raise CheckpointError(f"{where}{key}: expected shape {shape(wanted)}, found nothing")
    if found.shape != wanted.shape:
        raise CheckpointError(f"{where}{key}: expected shape {shape(wanted)}, found {shape(found)}")
    if found.is_complex() or found.is_floating_point() != wanted.is_floating_point():
        raise CheckpointError(f"{where}{key}: expected {wanted.dtype}, found {found.dtype}")
    return found.to(wanted.dtype)
