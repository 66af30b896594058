"""Generators of TensorFlow's pickles: the conversions, and what is refused by name."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from wstar.errors import CheckpointError
from wstar_training.models.stylegan2 import Generator
from wstar_training.models.weights import tensorflow
from wstar_training.models.weights.generators import load_generator
from wstar_training.models.weights.nvidia import to_nvidia
from wstar_training.models.weights.pickles import TfNetwork

Build = Callable[..., Generator]
Change = Callable[[dict[str, Any]], object]
FILE = Path("network.pkl")


def tensorflow_state(source: Generator) -> dict[str, Any]:
    """The same generator as TensorFlow's variables: the conversions, the other way round."""
    mapping, synthesis = [], []
    state = {k: v.numpy() for k, v in to_nvidia(source.state_dict(), source.mean_w).items()}
    for key, value in state.items():
        part, *rest = key.split(".")
        if rest[-1] == "resample_filter" or rest == ["w_avg"]:
            continue
        if part == "mapping":
            name = rest[0].replace("fc", "Dense").replace("embed", "LabelEmbed")
            mapping.append((f"{name}/{rest[1]}", value.T))
            continue
        side = int(rest[0][1:])
        if rest[1] == "const":
            synthesis.append(("4x4/Const/const", value[None]))
            continue
        name = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB"}[rest[1]]
        name = f"{side}x{side}/{'Conv' if (side, name) == (4, 'Conv1') else name}"
        if rest[2] == "noise_const":
            index = 2 * int(np.log2(side)) - (5 if rest[1] == "conv0" else 4)
            synthesis.append((f"noise{index}", value[None, None]))
        elif rest[2] == "affine":
            shift = 1 if rest[3] == "bias" else 0
            synthesis.append((f"{name}/mod_{rest[3]}", value.T - np.float32(shift)))
        elif rest[2] == "weight":
            kernel = value.transpose(2, 3, 1, 0)
            synthesis.append((f"{name}/weight", kernel[::-1, ::-1] if "up" in name else kernel))
        else:
            synthesis.append((f"{name}/{rest[2]}", value))
    empty: dict[str, Any] = {"version": 4, "static_kwargs": {}, "components": {}}
    return {
        "version": 4,
        "static_kwargs": {
            "resolution": 16, "fmap_base": 8192, "label_size": 3, "conv_clamp": 0.9,
            "architecture": None, "resample_kernel": (1, 3, 3, 1),
        },
        "components": {
            "synthesis": TfNetwork({**empty, "variables": synthesis}),
            "mapping": TfNetwork({**empty, "variables": mapping}),
        },
        "variables": [("lod", np.float32(0.0)), ("dlatent_avg", state["mapping.w_avg"])],
    }  # fmt: skip


def read_tensorflow(state: dict[str, Any], noise: Any = "const") -> Generator:  # noqa: ANN401
    other = TfNetwork({"version": 4})
    return tensorflow.from_networks((other, other, TfNetwork(state)), FILE, noise)


def close(found: Generator, source: Generator) -> None:
    w = torch.randn(2, 6, 12)
    # 1 was taken from modulation's biases and added again, in float32.
    torch.testing.assert_close(found(w), source(w), rtol=0, atol=1e-5)
    z, labels = torch.randn(2, 5), torch.eye(3)[:2]
    codes = [g.mapping(z, psi=0.6, labels=labels) for g in (found, source)]
    assert torch.equal(*codes)
    assert found.conv_clamp == source.conv_clamp


def test_tensorflow_networks_give_the_same_generator(source: Generator) -> None:
    close(read_tensorflow(tensorflow_state(source)), source)


def test_a_tensorflow_file_is_told_by_its_content(
    source: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("dnnlib.tflib.network")
    module.Network = type("Network", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    for name in ("dnnlib", "dnnlib.tflib"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def network(state: dict[str, Any]) -> object:
        made = module.Network()
        components = state["components"].items()
        parts = {name: network(component.state) for name, component in components}
        vars(made).update({**state, "components": parts})
        return made

    made = network(tensorflow_state(source))
    path = tmp_path / "network.bin"
    path.write_bytes(pickle.dumps((made, made, made), protocol=4))
    close(load_generator(path), source)


def variable(component: str, name: str, value: object) -> Change:
    """Replace a variable; None takes it away."""

    def change(state: dict[str, Any]) -> None:
        network = state["components"][component].state if component else state
        kept = [pair for pair in network["variables"] if pair[0] != name]
        network["variables"] = kept + ([] if value is None else [(name, value)])

    return change


def option(**values: object) -> Change:
    return lambda state: state["static_kwargs"].update(values)


ZERO = np.zeros((3, 3, 8, 9), np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(version=3), "version: expected 4 or above.*found 3"),
        (lambda s: s.pop("version"), "version: .*found None"),
        (option(architecture="resnet"), "architecture: expected 'skip', found 'resnet'"),
        (option(nonlinearity="relu"), "nonlinearity: expected 'lrelu', found 'relu'"),
        (option(mapping_lrmul=1.0), r"mapping_lrmul: expected 0\.01, found 1\.0"),
        (option(resample_kernel=[1, 2, 1]), r"resample_kernel: .*found \[1, 2, 1\]"),
        (option(num_channels=1), "num_channels: expected 3, found 1"),
        (option(resolution=32), "resolution: expected 16, found 32"),
        (option(label_size=0), "label_size: expected 3, found 0"),
        (option(conv_clamp=-1), "conv_clamp: .*found -1"),
        (option(wavelets=True), "wavelets: expected no such option, found True"),
        (lambda s: s.update(static_kwargs=None), "static_kwargs: expected a dict, found NoneType"),
        (lambda s: s.update(variables=None), "expected a list of variables.*NoneType"),
        (lambda s: s["components"].update(synthesis=3), "synthesis: expected a network, found int"),
        (lambda s: s["components"].pop("synthesis"), r"resolution: expected 4, found 16"),
        (lambda s: s["variables"].append("odd"), "expected variables, found 'odd'"),
        (
            variable("synthesis", "8x8/Conv1/bias", None),
            "synthesis/8x8/Conv1/bias: .*found nothing",
        ),
        (variable("synthesis", "8x8/Conv1/weight", ZERO), r"8x8/Conv1/weight: .*\(8, 8, 3, 3\)"),
        (variable("synthesis", "8x8/Conv1/weight", ZERO[0]), r"8x8/Conv1/weight: .*\(3, 8, 9\)"),
        (variable("synthesis", "8x8/ToRGB/bias", ZERO.astype(int)), r"8x8/ToRGB/bias: .*int64"),
        (variable("synthesis", "noise1", None), r"synthesis/noise1: .*noise=\"none\""),
        (variable("mapping", "Dense0/weight", None), "mapping/Dense0/weight: .*found nothing"),
        (variable("", "dlatent_avg", np.zeros(11, np.float32)), r"dlatent_avg: .*\(12,\).*\(11,\)"),
    ],
)
def test_other_tensorflow_networks_are_refused_by_name(
    change: Change, message: str, source: Generator
) -> None:
    state = tensorflow_state(source)
    change(state)
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_tensorflow(state)
    assert str(refusal.value).startswith("network.pkl: Gs")


@pytest.mark.parametrize("networks", [(), (1,), (1, 2, 3), (TfNetwork({}), TfNetwork({}))])
def test_tuples_of_anything_else_are_refused(networks: tuple[object, ...]) -> None:
    with pytest.raises(CheckpointError, match="expected the last of three networks"):
        tensorflow.from_networks(networks, FILE, "const")
