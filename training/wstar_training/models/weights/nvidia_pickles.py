"""Generators inside the `.pkl` files of the StyleGAN2-ADA and StyleGAN3 repositories: `G_ema`.

The stock loader runs source that travels in the file; here its objects are a tree of names and
tensors, and what their classes compute is read off their attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from wstar.errors import CheckpointError
from wstar_training.models.mapping import LEARNING_RATE_MULTIPLIER
from wstar_training.models.stylegan2 import Generator, NoiseChoice
from wstar_training.models.weights.fitting import shape
from wstar_training.models.weights.nvidia import clamp_of, generator_of_names
from wstar_training.models.weights.pickles import Persistent

# What a layer's attributes say if it computes what ours does.
_ACTIVATION = {"activation": "lrelu"}


def from_pickle(network: object, path: Path, noise: NoiseChoice) -> Generator:
    """The generator of a file's `G_ema`; `conv_clamp` is an attribute of its layers.

    Raises
    ------
    CheckpointError: another architecture, or a tensor is missing, unknown or of another shape;
    names file, key, what was expected and what was found.
    """
    where = f"{path}: G_ema"
    if not isinstance(network, Persistent):
        raise CheckpointError(f"{where}: expected a Generator, found {shape(network)}")
    modules = _modules(network, where)
    for name in ("synthesis", "mapping"):
        if name not in modules:
            raise CheckpointError(
                f"{where}.{name}: expected a network, found nothing in a {network.class_name}"
            )
    clamp = _check_synthesis(modules["synthesis"], f"{where}.synthesis")
    state = dict(_tensors(network, "", where))
    _check_mapping(modules["mapping"], state, f"{where}.mapping")
    return generator_of_names(state, path, noise, clamp, lambda key: f"{where}.{key}")


def _check_synthesis(synthesis: Persistent, where: str) -> float | None:
    """Refuse other architectures than "skip"; the bound of activations, the same in all layers."""
    blocks = _modules(synthesis, where)
    if "b4" not in blocks:
        classes = sorted({block.class_name for block in blocks.values()})
        raise CheckpointError(
            f"{where}.b4: expected a SynthesisBlock of StyleGAN2, found nothing but "
            f"{', '.join(classes)} in a {synthesis.class_name}; "
            "alias-free generators of StyleGAN3 are not read"
        )
    clamps = {}
    for name, block in blocks.items():
        _expect(block, {"architecture": "skip"}, f"{where}.{name}")
        for layer_name, layer in _modules(block, f"{where}.{name}").items():
            key = f"{where}.{name}.{layer_name}"
            if layer_name.startswith("conv"):
                _expect(layer, _ACTIVATION, key)
            key = f"{key}.conv_clamp"
            clamps[key] = clamp_of(layer.state.get("conv_clamp", "nothing"), key)
    first = clamps.get(f"{where}.b4.conv1.conv_clamp")
    for key, clamp in clamps.items():
        if clamp != first:
            raise CheckpointError(f"{key}: expected {first} as in b4.conv1, found {clamp}")
    return first


def _check_mapping(mapping: Persistent, state: Mapping[str, Tensor], where: str) -> None:
    """Refuse layers of another learning rate or activation, and labels without embedding."""
    for name, layer in _modules(mapping, where).items():
        if name.startswith("fc"):
            wanted = {**_ACTIVATION, "bias_gain": LEARNING_RATE_MULTIPLIER}
            _expect(layer, wanted, f"{where}.{name}")
    embedded = state.get("mapping.embed.weight")
    labels = embedded.shape[-1] if embedded is not None and embedded.ndim else 0
    _expect(mapping, {"c_dim": labels}, where)


def _expect(module: Persistent, attributes: Mapping[str, object], where: str) -> None:
    for name, expected in attributes.items():
        found = module.state.get(name, "nothing")
        if not isinstance(found, type(expected)) or found != expected:
            raise CheckpointError(f"{where}.{name}: expected {expected!r}, found {found!r}")


def _modules(module: Persistent, where: str) -> dict[str, Persistent]:
    """The modules inside a module, by their names."""
    found = module.state.get("_modules")
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{where}._modules: expected a dict, found {shape(found)}")
    for name, inner in found.items():
        if not isinstance(inner, Persistent):
            raise CheckpointError(f"{where}.{name}: expected a network, found {shape(inner)}")
    return {str(name): inner for name, inner in found.items()}


def _tensors(module: Persistent, prefix: str, where: str) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a module and those inside it, as a state dict names them."""
    for kind in ("_parameters", "_buffers"):
        found = module.state.get(kind)
        if not isinstance(found, Mapping):
            raise CheckpointError(f"{where}.{prefix}{kind}: expected a dict, found {shape(found)}")
        for name, value in found.items():
            if value is None:
                continue
            if not isinstance(value, Tensor):
                raise CheckpointError(
                    f"{where}.{prefix}{name}: expected a tensor, found {shape(value)}"
                )
            yield f"{prefix}{name}", value
    for name, inner in _modules(module, f"{where}.{prefix}".rstrip(".")).items():
        yield from _tensors(inner, f"{prefix}{name}.", where)
