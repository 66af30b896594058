"""Answers recorded from the original networks, and the rule that fills their weights."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

DATA = Path(__file__).resolve().parents[1] / "data"

Golden = tuple[dict[str, Any], dict[str, Tensor]]


def _filled(row: dict[str, Any]) -> Tensor:
    """A recorded tensor: given values, or normal noise that is a function of its key alone."""
    kind, *rest = row["fill"]
    shape = tuple(row["shape"])
    if kind == "values":
        return torch.tensor(rest[0], dtype=torch.float32).reshape(shape)
    assert kind == "normal", kind
    random = np.random.default_rng(zlib.crc32(row["key"].encode()))
    noise = random.standard_normal(shape).astype(np.float32)
    return torch.from_numpy(np.float32(rest[0]) + np.float32(rest[1]) * noise)


@pytest.fixture
def golden() -> Callable[[str, tuple[str, ...]], Golden]:
    """Load tests/data/<name>.npz: its arrays, and the state dict of its keys by their prefixes."""

    def load(name: str, prefixes: tuple[str, ...]) -> Golden:
        with np.load(DATA / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file.files}
        rows = json.loads(str(arrays["manifest"]))
        state = {row["key"]: _filled(row) for row in rows if row["key"].startswith(prefixes)}
        return arrays, state

    return load
