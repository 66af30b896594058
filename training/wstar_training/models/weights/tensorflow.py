"""Generators of NVIDIA's TensorFlow code: `.pkl` files of three networks, StyleGAN2 or -ADA.

Variables are converted to the layout of the PyTorch version: dense layers transposed, kernels
from HWIO to OIHW, those that enlarge turned by 180 degrees, and 1 added to modulation's biases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wstar.errors import CheckpointError
from wstar.graphs import MAX_RESOLUTION
from wstar_training.models.mapping import LEARNING_RATE_MULTIPLIER
from wstar_training.models.ops import blur_kernel
from wstar_training.models.stylegan2 import Generator, NoiseChoice
from wstar_training.models.weights.fitting import counted, shape
from wstar_training.models.weights.nvidia import clamp_of, generator_of_names
from wstar_training.models.weights.pickles import TfNetwork

Array = NDArray[Any]

_SIDES = [2**level for level in range(3, int(math.log2(MAX_RESOLUTION)) + 1)]
_EMBEDDING = "mapping.embed.weight"
_FIRST_VERSION = 4  # Of StyleGAN2; before it came StyleGAN and progressive growing.
# What the options of a network must be for it to compute what ours does.
_EXPECTED: Mapping[str, object] = {
    "architecture": "skip",
    "mapping_lrmul": LEARNING_RATE_MULTIPLIER,
    "mapping_nonlinearity": "lrelu",
    "nonlinearity": "lrelu",
    "num_channels": 3,
    "resample_kernel": [1, 3, 3, 1],
    "use_noise": True,
}
# Options that the variables repeat, that are read below, or that matter in training only.
_OTHERS = {
    "conv_clamp", "dlatent_avg_beta", "dlatent_size", "fmap_base", "fmap_max", "fused_modconv",
    "label_fmaps", "latent_size", "mapping_fmaps", "mapping_layers", "num_fp16_res",
    "randomize_noise", "structure", "style_mixing_prob", "truncation_cutoff",
    "truncation_psi", "w_avg_beta",
}  # fmt: skip


def from_networks(networks: Sequence[object], path: Path, noise: NoiseChoice) -> Generator:
    """The averaged generator, which is the third of a file's networks.

    Raises
    ------
    CheckpointError: another version or architecture, or a variable is missing or of another
    shape; names file, variable, what was expected and what was found.
    """
    where = f"{path}: Gs"
    network = networks[-1] if networks else None
    if len(networks) != 3 or not isinstance(network, TfNetwork):
        raise CheckpointError(
            f"{where}: expected the last of three networks, found {shape(network)}, "
            f"the last of {len(networks)}"
        )
    version, options = network.state.get("version"), network.state.get("static_kwargs")
    if not isinstance(version, int) or version < _FIRST_VERSION:
        raise CheckpointError(
            f"{where}.version: expected {_FIRST_VERSION} or above, StyleGAN2, found {version!r}"
        )
    if not isinstance(options, Mapping):
        raise CheckpointError(f"{where}.static_kwargs: expected a dict, found {shape(options)}")
    arrays = dict(_arrays(network, "", where))
    variables = [*_variables(counted(arrays, "mapping/Dense"))]
    state = {
        variable.becomes: variable.converted(arrays[variable.name], where)
        for variable in variables
        if variable.name in arrays
    }
    sides = [side for side in _SIDES if f"synthesis.b{side}.conv1.weight" in state]
    shapes = {
        "resolution": max(sides, default=4),
        "label_size": state[_EMBEDDING].shape[1] if _EMBEDDING in state else 0,
    }
    clamp = _check(options, {**_EXPECTED, **shapes}, f"{where}.static_kwargs")
    for side in sides:
        # The filter is an option there and no variable.
        state[f"synthesis.b{side}.resample_filter"] = blur_kernel(1.0)
        state[f"synthesis.b{side}.conv0.resample_filter"] = blur_kernel(1.0)
    names = {variable.becomes: variable.name for variable in variables}
    return generator_of_names(
        state, path, noise, clamp, lambda key: f"{where}: {names.get(key, key)}"
    )


def _check(
    options: Mapping[object, object], expected: Mapping[str, object], where: str
) -> float | None:
    """Refuse options under which a network computes something else; the bound of activations."""
    for name, found in options.items():
        if name not in expected and name not in _OTHERS:
            raise CheckpointError(f"{where}.{name}: expected no such option, found {found!r}")
    for name, wanted in expected.items():
        found = options.get(name)
        found = [*found] if isinstance(found, tuple) else found
        # Nothing, or None, stands for the default: 0 labels, and what is expected of the others.
        default = found is None and (name != "label_size" or wanted == 0)
        if not default and repr(found) != repr(wanted):
            raise CheckpointError(f"{where}.{name}: expected {wanted!r}, found {found!r}")
    return clamp_of(options.get("conv_clamp"), f"{where}.conv_clamp")


def _arrays(network: TfNetwork, prefix: str, where: str) -> Iterator[tuple[str, Array]]:
    """The variables of a network and of its components, which stand before their names."""
    variables = network.state.get("variables")
    components = network.state.get("components")
    if not isinstance(variables, list) or not isinstance(components, Mapping):
        raise CheckpointError(
            f"{where}: {prefix or 'Gs'}: expected a list of variables and a dict of components, "
            f"found {shape(variables)} and {shape(components)}"
        )
    for variable in variables:
        match variable:
            case (str(name), np.ndarray() as array) if array.dtype.kind == "f":
                yield f"{prefix}{name}", array
            case (str(name), np.ndarray() | np.number() | int() | float() as number):
                yield f"{prefix}{name}", np.asarray(number)
            case _:
                raise CheckpointError(f"{where}: {prefix}: expected variables, found {variable!r}")
    for name, component in components.items():
        if not isinstance(component, TfNetwork):
            raise CheckpointError(f"{where}: {name}: expected a network, found {shape(component)}")
        yield from _arrays(component, f"{prefix}{name}/", where)


@dataclass(frozen=True)
class _Variable:
    """A variable, what it becomes, its rank, and how its values are arranged anew."""

    name: str
    becomes: str
    rank: int
    arranged: Callable[[Array], Array] = np.asarray

    def converted(self, array: Array, where: str) -> Tensor:
        if array.ndim != self.rank or array.dtype.kind != "f" or 0 in array.shape:
            raise CheckpointError(
                f"{where}: {self.name}: expected {self.rank} dimensions of floats, "
                f"found {array.shape} of {array.dtype}"
            )
        return torch.from_numpy(np.array(self.arranged(array), np.float32, order="C"))


def _variables(depth: int) -> Iterator[_Variable]:
    """Every variable that is read, for all sides and `depth` layers of mapping."""
    yield _Variable("dlatent_avg", "mapping.w_avg", 1)
    yield from _dense("mapping/LabelEmbed", "mapping.embed")
    for index in range(depth):
        yield from _dense(f"mapping/Dense{index}", f"mapping.fc{index}")
    yield _Variable("synthesis/4x4/Const/const", "synthesis.b4.const", 4, lambda a: a[0])
    yield from _layer("4x4/Conv", "b4.conv1", 0, _oihw)
    yield from _modulated("4x4/ToRGB", "b4.torgb", _oihw)
    for stage, side in enumerate(_SIDES):
        block = f"{side}x{side}"
        yield from _layer(f"{block}/Conv0_up", f"b{side}.conv0", 2 * stage + 1, _turned)
        yield from _layer(f"{block}/Conv1", f"b{side}.conv1", 2 * stage + 2, _oihw)
        yield from _modulated(f"{block}/ToRGB", f"b{side}.torgb", _oihw)


def _dense(name: str, becomes: str) -> Iterator[_Variable]:
    yield _Variable(f"{name}/weight", f"{becomes}.weight", 2, np.transpose)
    yield _Variable(f"{name}/bias", f"{becomes}.bias", 1)


def _layer(
    name: str, becomes: str, noise: int, kernel: Callable[[Array], Array]
) -> Iterator[_Variable]:
    yield from _modulated(name, becomes, kernel)
    layer = f"synthesis.{becomes}"
    yield _Variable(f"synthesis/{name}/noise_strength", f"{layer}.noise_strength", 0)
    yield _Variable(f"synthesis/noise{noise}", f"{layer}.noise_const", 4, lambda a: a[0, 0])


def _modulated(name: str, becomes: str, kernel: Callable[[Array], Array]) -> Iterator[_Variable]:
    theirs, layer = f"synthesis/{name}", f"synthesis.{becomes}"
    yield _Variable(f"{theirs}/weight", f"{layer}.weight", 4, kernel)
    yield _Variable(f"{theirs}/bias", f"{layer}.bias", 1)
    yield _Variable(f"{theirs}/mod_weight", f"{layer}.affine.weight", 2, np.transpose)
    yield _Variable(f"{theirs}/mod_bias", f"{layer}.affine.bias", 1, lambda a: a + 1)


def _oihw(kernel: Array) -> Array:
    return kernel.transpose(3, 2, 0, 1)


def _turned(kernel: Array) -> Array:
    return _oihw(kernel[::-1, ::-1])
