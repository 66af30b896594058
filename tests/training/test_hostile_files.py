"""Files made to run something, or to use up the machine, are refused by name and run nothing."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from wstar.errors import CheckpointError
from wstar_training.models.weights import content
from wstar_training.models.weights.pickles import Persistent

# Loads each file as its authors would have it, in a process that can be spoilt.
UNPROTECTED = """
import pickle, sys, types, torch
def reconstruct(meta):
    exec(meta["module_src"], {})
persistence = types.ModuleType("torch_utils.persistence")
persistence._reconstruct_persistent_obj = reconstruct
sys.modules["torch_utils"] = types.ModuleType("torch_utils")
sys.modules["torch_utils.persistence"] = persistence
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        try:
            load = torch.load if path.endswith(".pt") else pickle.load
            load(file, **({"weights_only": False} if path.endswith(".pt") else {}))
        except Exception as error:
            print(path, repr(error))
"""


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _bytes(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _dict(**items: bytes) -> bytes:
    return b"}(" + b"".join(_text(key) + value for key, value in items.items()) + b"u"


def _call(function: bytes, *arguments: bytes) -> bytes:
    return function + _tuple(*arguments) + b"R"


def _value(value: object) -> bytes:
    """The steps of a value's own pickle."""
    return pickle.dumps(value, protocol=3)[2:-1]


def _touch(marker: Path) -> bytes:
    return _call(_name("posix", "system"), _text(f"touch {marker}"))


def _pickled(steps: bytes) -> bytes:
    return b"\x80\x03" + steps + b"."


def _nested(raw: bytes) -> bytes:
    return _pickled(_call(_name("torch.storage", "_load_from_bytes"), _bytes(raw)))


class _Touch:
    """Pickles as a call that makes a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch {self._marker}",)


def _saved(value: object, archive: bool = True, protocol: int = 2) -> bytes:
    """What torch.save writes of a value."""
    file = io.BytesIO()
    torch.save(value, file, pickle_protocol=protocol, _use_new_zipfile_serialization=archive)
    return file.getvalue()


def _state(marker: Path) -> dict[str, object]:
    return {"g_ema": {"weight": torch.zeros(3)}, "evil": _Touch(marker)}


Attack = tuple[str, str, Callable[[Path], bytes]]

# Ending of the file's name, the name it wants, and its content, which makes a marker.
ATTACKS: dict[str, Attack] = {
    "text": ("pkl", "posix.system", lambda m: f"cposix\nsystem\n(S'touch {m}'\ntR.".encode()),
    "instance": ("pkl", "posix.system", lambda m: f"(S'touch {m}'\niposix\nsystem\n.".encode()),
    "object": (
        "pkl",
        "posix.system",
        lambda m: _pickled(b"(" + _name("posix", "system") + _text(f"touch {m}") + b"o"),
    ),
    "stack": ("pkl", "posix.system", lambda m: pickle.dumps({"G_ema": _Touch(m)}, protocol=4)),
    "memo": (
        "pkl",
        "posix.system",
        lambda m: _pickled(b"(}q\x05h\x05" + _tuple(_touch(m)) + b"l"),
    ),
    "eval": (
        "pkl",
        "builtins.eval",
        lambda m: _pickled(_call(_name("builtins", "eval"), _text(f"open({str(m)!r}, 'w')"))),
    ),
    "exec": (
        "pkl",
        "builtins.exec",
        lambda m: _pickled(_call(_name("builtins", "exec"), _text(f"open({str(m)!r}, 'w')"))),
    ),
    "process": (
        "pkl",
        "subprocess.check_call",
        lambda m: _pickled(_call(_name("subprocess", "check_call"), _value(["touch", str(m)]))),
    ),
    "attributes": (
        "pkl",
        "builtins.getattr",
        lambda m: _pickled(
            _call(
                _call(
                    _name("builtins", "getattr"),
                    _call(_name("builtins", "__import__"), _text("os")),
                    _text("system"),
                ),
                _text(f"touch {m}"),
            )
        ),
    ),
    "import": (
        "pkl",
        "importlib.import_module",
        lambda m: _pickled(
            _tuple(_call(_name("importlib", "import_module"), _text("os")), _touch(m))
        ),
    ),
    "partial": (
        "pkl",
        "functools.partial",
        lambda m: _pickled(
            _call(
                _call(_name("functools", "partial"), _name("posix", "system"), _text(f"touch {m}"))
            )
        ),
    ),
    "dotted": (
        "pkl",
        "torch.os.system",
        lambda m: (
            b"\x80\x04"
            + _call(_text("torch") + _text("os.system") + b"\x93", _text(f"touch {m}"))
            + b"."
        ),
    ),
    "state_setter": (
        "pkl",
        "posix.system",
        lambda m: _pickled(
            _call(_name("argparse", "Namespace"))
            + _dict(__setstate__=_name("posix", "system"))
            + b"b"
            + _text(f"touch {m}")
            + b"b"
        ),
    ),
    "nested_pickle": ("pkl", "posix.system", lambda m: _nested(_pickled(_touch(m)))),
    "nested_stream": ("pkl", "posix.system", lambda m: _nested(_saved(_Touch(m), archive=False))),
    "nested_archive": ("pkl", "posix.system", lambda m: _nested(_saved(_state(m)))),
    "array_of_objects": (
        "pkl",
        "posix.system",
        lambda m: pickle.dumps(np.array([_Touch(m)], dtype=object), protocol=2),
    ),
    "archive": ("pt", "posix.system", lambda m: _saved(_state(m))),
    "stream": ("pt", "posix.system", lambda m: _saved(_state(m), archive=False)),
    "newer_archive": ("pt", "posix.system", lambda m: _saved(_state(m), protocol=4)),
    "newer_stream": ("pt", "posix.system", lambda m: _saved(_state(m), False, 4)),
    "command_line": ("pt", "posix.system", lambda m: _saved(argparse.Namespace(path=_Touch(m)))),
}


def _with_source(marker: Path) -> bytes:
    """An object whose class travels as source code, as in honest files, which makes a file."""
    meta = _dict(
        type=_text("class"),
        version=_value(6),
        module_src=_text(f"open({str(marker)!r}, 'w')"),
        class_name=_text("Generator"),
        state=_dict(z_dim=_value(16)),
    )
    return _pickled(_call(_name("torch_utils.persistence", "_reconstruct_persistent_obj"), meta))


ALL = ATTACKS | {"source": ("pkl", "", _with_source)}


@pytest.fixture(scope="module")
def armed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Hostile file and its marker, by the attack's name; it did make the marker elsewhere."""
    folder = tmp_path_factory.mktemp("hostile")
    files = {}
    for attack, (ending, _, make) in ALL.items():
        files[attack] = folder / f"{attack}.{ending}"
        files[attack].write_bytes(make(folder / attack))
    command = [sys.executable, "-W", "ignore", "-c", UNPROTECTED, *map(str, files.values())]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def give(attack: str) -> tuple[Path, Path]:
        marker = folder / attack
        assert marker.exists(), f"{attack} does nothing even without protection: {printed}"
        marker.unlink()
        return files[attack], marker

    return give


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_runs_elsewhere_is_refused_by_name(
    attack: str, armed: Callable[[str], tuple[Path, Path]]
) -> None:
    file, marker = armed(attack)
    with pytest.raises(CheckpointError, match=r"refused: it wants .*; nothing was run") as refusal:
        content.read(file)
    assert repr(ATTACKS[attack][1]) in str(refusal.value)
    assert str(file) in str(refusal.value)
    assert not marker.exists()


def test_source_code_in_a_file_stays_text(armed: Callable[[str], tuple[Path, Path]]) -> None:
    file, marker = armed("source")
    assert content.read(file) == Persistent("Generator", {"z_dim": 16})
    assert not marker.exists()
