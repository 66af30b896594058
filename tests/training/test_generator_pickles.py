"""Generators inside NVIDIA's pickles: what is read off them, and what is refused by name."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.models.stylegan2 import Generator
from wstar_training.models.weights import nvidia_pickles
from wstar_training.models.weights.generators import load_generator
from wstar_training.models.weights.nvidia import to_nvidia
from wstar_training.models.weights.pickles import Persistent

Build = Callable[..., Generator]
Change = Callable[[dict[str, Any]], object]
FILE = Path("network.pkl")


def persistent(state: Mapping[str, Tensor], clamp: float | None) -> dict[str, Any]:
    """The states of the modules of a pickled generator by their names, the root's being ''."""
    modules: dict[str, dict[str, Any]] = {}
    for key, value in state.items():
        parts = key.split(".")
        for depth in range(len(parts)):
            name = ".".join(parts[:depth])
            empty: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}}
            module = modules.setdefault(name, empty)
            if depth == len(parts) - 1:
                module["_parameters"][parts[-1]] = value
    for name, module in modules.items():
        parent, _, own = name.rpartition(".")
        if own.startswith(("conv", "fc")):
            module["activation"] = "lrelu"
        if own.startswith(("conv", "torgb")):
            module["conv_clamp"] = clamp
        if own.startswith("fc"):
            module["bias_gain"] = 0.01
        if own.startswith("b") and parent == "synthesis":
            module["architecture"] = "skip"
        if name:
            modules[parent]["_modules"][own] = Persistent(f"Class of {own}", module)
    modules["mapping"]["c_dim"] = 3
    return modules


def read(modules: dict[str, Any], noise: Any = "const") -> Generator:  # noqa: ANN401
    return nvidia_pickles.from_pickle(Persistent("Generator", modules[""]), FILE, noise)


def same(found: Generator, source: Generator) -> bool:
    z, labels = torch.randn(2, 5), torch.eye(3)[:2]
    codes = [g.mapping(z, psi=0.6, cutoff=3, labels=labels) for g in (found, source)]
    return torch.equal(*codes) and torch.equal(*(g(codes[0]) for g in (found, source)))


def test_clamp_labels_and_mean_are_read_off_the_pickle(source: Generator) -> None:
    found = read(persistent(to_nvidia(source.state_dict(), source.mean_w), 0.9))
    assert same(found, source)
    assert (found.conv_clamp, found.w_dim, found.resolution) == (0.9, 12, 16)
    with pytest.raises(InvalidInput, match=r"labels: found None.*\(N, 3\)"):
        found.mapping(torch.zeros(1, 5))
    free = read(persistent(to_nvidia(source.state_dict(), None), None))
    assert (free.conv_clamp, free.mean_w) == (None, None)


def test_half_precision_becomes_float32(source: Generator) -> None:
    state = {k: v.half() for k, v in to_nvidia(source.state_dict(), source.mean_w).items()}
    found = read(persistent(state, 0.9))
    assert {tensor.dtype for tensor in found.state_dict().values()} == {torch.float32}
    assert found.mean_w is not None
    assert found.mean_w.dtype == torch.float32


def test_pickles_without_noise_load_if_none_is_asked_for(source: Generator) -> None:
    state = to_nvidia(source.state_dict(), source.mean_w)
    state = {key: value for key, value in state.items() if not key.endswith("noise_const")}
    with pytest.raises(CheckpointError, match=r"G_ema\.synthesis\.b4\.conv1\.noise_const: .*none"):
        read(persistent(state, 0.9))
    w = torch.randn(2, 6, 12)
    assert torch.equal(read(persistent(state, 0.9), "none")(w), source(w, noise="none"))


def layer(name: str, **values: object) -> Change:
    """Set attributes of a module of a pickle."""
    return lambda modules: modules[name].update(values)


def tensor(name: str, key: str, value: object) -> Change:
    return lambda modules: modules[name]["_parameters"].update({key: value})


def removed(name: str, kind: str, key: str) -> Change:
    return lambda modules: modules[name][kind].pop(key)


def alias_free(modules: dict[str, Any]) -> None:
    empty: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    modules["synthesis"]["_modules"].clear()
    modules["synthesis"]["_modules"]["input"] = Persistent("SynthesisInput", empty)
    modules["synthesis"]["_modules"]["L0_36_512"] = Persistent("SynthesisLayer", empty)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (layer("synthesis.b8", architecture="resnet"), r"b8\.architecture: .*'skip'.*'resnet'"),
        (layer("synthesis.b8", architecture="orig"), r"b8\.architecture: .*found 'orig'"),
        (alias_free, r"synthesis\.b4: .*SynthesisInput, SynthesisLayer.*StyleGAN3"),
        (removed("synthesis", "_modules", "b4"), r"synthesis\.b4: expected a SynthesisBlock"),
        (removed("synthesis", "_modules", "b8"), r"synthesis\.\S+: .*found"),
        (removed("", "_modules", "mapping"), r"G_ema\.mapping: expected a network, found nothing"),
        (removed("synthesis.b4", "_parameters", "const"), r"b4\.const: .*found nothing"),
        (
            removed("synthesis.b16.conv0.affine", "_parameters", "bias"),
            r"G_ema\.synthesis\.b16\.conv0\.affine\.bias: .*\(8,\), found nothing",
        ),
        (
            tensor("synthesis.b16.conv1", "weight", torch.zeros(8, 8, 1, 1)),
            r"b16\.conv1\.weight: expected .*\(8, 8, 3, 3\), found .*\(8, 8, 1, 1\)",
        ),
        (
            tensor("synthesis.b8.torgb", "bias", torch.zeros(1)),
            r"b8\.torgb\.bias: .*found .*\(1,\)",
        ),
        (tensor("synthesis.b8.conv1", "bias", torch.zeros(8).int()), r"b8\.conv1\.bias: .*int32"),
        (tensor("synthesis.b8.conv1", "bias", 3.0), r"b8\.conv1\.bias: expected a tensor.*float"),
        (tensor("synthesis.b8", "extra", torch.zeros(2)), r"b8\.extra: expected no such key"),
        (
            tensor("mapping", "w_avg", torch.zeros(11)),
            r"w_avg: expected .*\(12,\), found .*\(11,\)",
        ),
        (layer("synthesis.b8.conv1", conv_clamp=256), r"b8\.conv1\.conv_clamp: .*0\.9.*found 256"),
        (layer("synthesis.b8.conv1", conv_clamp="big"), r"conv_clamp: .*found 'big'"),
        (layer("synthesis.b8.conv1", activation="relu"), r"activation: .*'lrelu', found 'relu'"),
        (
            layer("mapping.fc0", bias_gain=1.0),
            r"mapping\.fc0\.bias_gain: expected 0\.01, found 1\.0",
        ),
        (layer("mapping", c_dim=0), r"mapping\.c_dim: expected 3, found 0"),
        (removed("mapping", "_modules", "embed"), r"mapping\.c_dim: expected 0, found 3"),
        (layer("mapping", _modules=[1]), r"mapping\._modules: expected a dict, found list"),
        (layer("mapping", _buffers=None), r"mapping\._buffers: expected a dict, found NoneType"),
        (
            lambda m: m[""]["_modules"].update(mapping={}),
            r"mapping: expected a network, found dict",
        ),
    ],
)
def test_other_networks_are_refused_by_name(
    change: Change, message: str, source: Generator
) -> None:
    modules = persistent(to_nvidia(source.state_dict(), source.mean_w), 0.9)
    change(modules)
    with pytest.raises(CheckpointError, match=message) as refusal:
        read(modules)
    assert str(refusal.value).startswith("network.pkl: G_ema")


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.pkl"
    for content, message in (
        ([1, 2], "expected a generator's file, found list"),
        ({"G_ema": 3}, "G_ema: expected a Generator, found int"),
        ({}, "found no keys"),
    ):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(CheckpointError, match=message):
            load_generator(path)
