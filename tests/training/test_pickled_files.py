"""Honest pickles come out as plain data; damaged and oversized ones are refused, never worse."""

from __future__ import annotations

import pickle
import random
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wstar.errors import CheckpointError
from wstar_training.models.weights import content
from wstar_training.models.weights.pickles import Persistent, TfNetwork

NVIDIA = Path(__file__).resolve().parents[1] / "data" / "nvidia_tiny.pkl"


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _value(value: object) -> bytes:
    """The steps of a value's own pickle."""
    return pickle.dumps(value, protocol=3)[2:-1]


def _call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def _read(path: Path, steps: bytes) -> Any:  # noqa: ANN401
    path.write_bytes(b"\x80\x03" + steps + b".")
    return content.read(path)


def test_the_tree_of_a_published_layout() -> None:
    tree: Any = content.read(NVIDIA)
    assert tree["training_set_kwargs"]["class_name"] == "training.dataset.ImageFolderDataset"
    network = tree["G_ema"]
    assert isinstance(network, Persistent)
    assert (network.class_name, network.state["img_resolution"]) == ("Generator", 32)
    synthesis = network.state["_modules"]["synthesis"]
    layer = synthesis.state["_modules"]["b32"].state["_modules"]["conv1"]
    assert (layer.class_name, layer.state["conv_clamp"]) == ("SynthesisLayer", 256)
    assert {key: tuple(value.shape) for key, value in layer.state["_parameters"].items()} == {
        "weight": (8, 8, 3, 3),
        "noise_strength": (),
        "bias": (8,),
    }
    assert tuple(layer.state["_buffers"]["noise_const"].shape) == (32, 32)


@pytest.mark.parametrize("protocol", range(6))
def test_what_checkpoints_hold_is_read_from_every_protocol(protocol: int, tmp_path: Path) -> None:
    weights = torch.randn(4, 6)
    values: dict[str, Any] = {
        "tensor": weights.T[1:, :2],
        "half": weights.half(),
        "mask": weights > 0,
        "parameter": torch.nn.Parameter(weights),
        "array": np.asfortranarray(np.random.default_rng(1).normal(size=(3, 5))),
        "big-endian": np.arange(6, dtype=">i4").reshape(2, 3),
        "empty": np.zeros((0, 512), np.float32),
    }
    plain = {
        "names": {"a", "b"},
        "frozen": frozenset({1, 2}),
        "ordered": OrderedDict(b=[1, (2.5, None)], a=b"\x00\xff"),
        "seed": 2**63,
        "number": np.float32(0.5),
        "type": torch.float16,
        "size": torch.Size([2, 3]),
        "shared": [values["array"]] * 2,
    }
    path = tmp_path / "honest.pkl"
    path.write_bytes(pickle.dumps({"tensors": values, "plain": plain}, protocol=protocol))
    found: Any = content.read(path)
    for key, value in values.items():
        torch.testing.assert_close(
            torch.as_tensor(found["tensors"][key]),
            torch.as_tensor(value if torch.is_tensor(value) else value.astype(value.dtype.type)),
            rtol=0,
            atol=0,
        )
    first, second = found["plain"].pop("shared")
    assert first is second
    del plain["shared"]
    assert found["plain"] == plain
    assert {type(value) for value in found["plain"].values()} == {
        set, frozenset, dict, int, float, torch.dtype, tuple,
    }  # fmt: skip


def test_a_tensorflow_network_is_its_state(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    state = {"version": 4, "build_module_src": "1/0", "variables": [("lod", array)]}
    network = _name("dnnlib.tflib.network", "Network") + b")\x81"
    easy = _name("dnnlib.util", "EasyDict") + b")\x81" + _text("resolution") + _value(64) + b"s"
    found = _read(tmp_path / "tf.pkl", network + _value(state) + b"b" + easy + b"\x86")
    assert isinstance(found[0], TfNetwork)
    assert found[0].state["build_module_src"] == "1/0"
    np.testing.assert_array_equal(found[0].state["variables"][0][1], array)
    assert found[1] == {"resolution": 64}


def _tensor(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    numbers = [_value(part) for part in (offset, size, stride)]
    rebuild = _name("torch._utils", "_rebuild_tensor_v2")
    return _call(rebuild, _value(torch.zeros(3)._typed_storage()), *numbers, b"\x89", b"N")


def _raw_storage(count: int) -> bytes:
    """What a pickled storage keeps its elements in."""
    raw: bytes = torch.zeros(count)._typed_storage().__reduce__()[1][0]
    return raw


ORDERED = _call(_name("collections", "OrderedDict"))
STATE = b"}" + _text("keys") + b"Ns"
DOUBLED = b")q\x000" + 60 * b"h\x00h\x00\x86q\x000" + b"h\x00"
KEPT = b"B" + struct.pack("<I", len(_raw_storage(999))) + _raw_storage(999) + b"q\x000"
AGAIN = _name("torch.storage", "_load_from_bytes") + b"h\x00\x85R"

# Steps, and what the refusal says.
ABUSES: dict[str, tuple[bytes, str]] = {
    "extension registry": (b"\x82\x05", "extension code 5"),
    "persistent id": (_text("a") + b"Q", "persistent id"),
    "attributes of a name": (_name("collections", "OrderedDict") + STATE + b"b", "a Name where"),
    "slots of an object": (ORDERED + b"N" + STATE + b"\x86b", "a tuple where a dict belongs"),
    "append to no list": (ORDERED + b"Na", "a dict where a list belongs"),
    "call of no name": (_call(_text("print")), "a str where a Name belongs"),
    "name as data": (_name("collections", "OrderedDict"), "a Name that is no data"),
    "item of a tensor": (_tensor(0, (3,), (1,)) + _value(0) + b"Ns", "a Tensor where a dict"),
    "tensor too long": (_tensor(0, (4,), (1,)), "outside its storage of 3"),
    "tensor too far": (_tensor(1, (2, 2), (1, 1)), "outside its storage of 3"),
    "tensor before": (_tensor(-1, (2,), (1,)), "outside its storage of 3"),
    "tensor repeated": (_tensor(0, (2**40,), (0,)), r"\(1099511627776,\) in a file of"),
    "array too long": (
        _value(np.zeros(2)).replace(b"K\x02\x85", b"K\x03\x85"),
        r"shape \(3,\) and 16 bytes",
    ),
    "structures": (_value(np.zeros(2, [("a", "f4")])), "no numbers"),
    "endless bytes": (b"\x8e" + struct.pack("<Q", 2**60), "1152921504606846976 bytes"),
    "endless bytearray": (b"\x96" + struct.pack("<Q", 2**60), "1152921504606846976 bytes"),
    "endless frame": (b"\x95" + struct.pack("<Q", 2**60) + b"Na", "pop from empty|list index"),
    "large integer": (b"\x8b" + struct.pack("<i", 99) + 99 * b"\x11", "integer of 789 bits"),
    "deep": (10**5 * b"]" + (10**5 - 1) * b"a", "within parts"),
    # Lists of 90 within each other, each of which ends in the one before.
    "deep in pieces": (
        b"](Nq\x000" + 9 * (90 * b"](" + b"h\x00" + 89 * b"e" + b"e" + b"q\x00") + b"e",
        "within parts",
    ),
    "inside itself": (b"]q\x00h\x00a", "within parts"),
    "doubled": (DOUBLED, "more than 1000000 parts"),
    "doubled key": (b"}" + DOUBLED + b"Ns", "a tuple as key"),
    "doubled member": (b"\x8f(" + DOUBLED + b"\x90", "a tuple as key"),
    "bytes used again": (KEPT + b"(" + 9 * AGAIN + b"l", "over and over"),
    "more steps than any": (1_000_001 * b"N0", "more than 2000000 steps"),
    "more behind": (b"N.N", "bytes after its end"),
}


@pytest.mark.parametrize("abuse", ABUSES)
def test_abuse_is_refused_with_its_reason(abuse: str, tmp_path: Path) -> None:
    steps, reason = ABUSES[abuse]
    with pytest.raises(CheckpointError, match=reason):
        _read(tmp_path / "abuse.pkl", steps)


class _Large:
    """Pickles as a request for eight tebibytes."""

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return bytearray, (2**43,)


class _Repeated:
    """Pickles as one element announced as a tebi of them."""

    def __reduce__(self) -> tuple[Any, ...]:
        storage = torch.zeros(1)._typed_storage()
        return torch._utils._rebuild_tensor_v2, (storage, 0, (2**40,), (0,), False, None)


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize(
    ("value", "reason"), [(_Large(), "builtins.bytearray"), (_Repeated(), "in a file of")]
)
def test_torch_files_announce_no_more_than_they_hold(
    value: object, reason: str, archive: bool, tmp_path: Path
) -> None:
    path = tmp_path / "large.pt"
    torch.save({"a": value}, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(CheckpointError, match=reason):
        content.read(path)


def test_damage_never_raises_anything_else(tmp_path: Path) -> None:
    whole = NVIDIA.read_bytes()
    draw = random.Random(3)
    path = tmp_path / "damaged.pkl"
    refused = 0
    for round_ in range(200):
        damaged = bytearray(whole)
        for _ in range(1 + round_ % 4):
            damaged[draw.randrange(len(whole))] = draw.randrange(256)
        path.write_bytes(damaged[: draw.randrange(len(whole))] if round_ % 5 == 0 else damaged)
        try:
            content.read(path)
        except CheckpointError as refusal:
            refused += 1
            assert str(path) in str(refusal)
    # Every fifth is cut short; a changed weight is none of the reader's business.
    assert refused >= 40


@pytest.mark.parametrize("garbage", [b"", b"\0", b"GIF89a", b"{}\n", b"PK\x03\x04", bytes(99)])
def test_other_files_are_refused(garbage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "garbage.bin"
    path.write_bytes(garbage)
    with pytest.raises(CheckpointError, match="truncated, or neither a torch file|is empty"):
        content.read(path)
