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

from wstar_training.models.mapping import MappingNetwork
from wstar_training.models.stylegan2 import Generator, channels_of

DATA = Path(__file__).resolve().parents[1] / "data"

Golden = tuple[dict[str, Any], dict[str, Tensor]]


def _filled(row: dict[str, Any]) -> Tensor:
    """A recorded tensor: zeros, given values, or normal noise that is a function of its key."""
    kind, *rest = row["fill"]
    shape = tuple(row["shape"])
    if kind == "zeros":
        return torch.from_numpy(np.zeros(shape, row["dtype"]))
    if kind == "values":
        return torch.from_numpy(np.asarray(rest[0], row["dtype"]).reshape(shape))
    assert kind in ("normal", "absnormal"), kind
    random = np.random.default_rng(zlib.crc32(row["key"].encode()))
    noise = np.asarray(random.standard_normal(shape), np.float32)
    if kind == "absnormal":
        noise = np.abs(noise)
    filled = np.float32(rest[0]) + np.float32(rest[1]) * noise
    return torch.from_numpy(np.asarray(filled, row["dtype"]))


@pytest.fixture(scope="session")
def golden() -> Callable[[str, tuple[str, ...]], Golden]:
    """Load tests/data/<name>.npz: its arrays, and the state dict of its keys by their prefixes."""

    def load(name: str, prefixes: tuple[str, ...]) -> Golden:
        with np.load(DATA / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file.files}
        rows = json.loads(str(arrays["manifest"]))
        state = {row["key"]: _filled(row) for row in rows if row["key"].startswith(prefixes)}
        return arrays, state

    return load


@pytest.fixture(scope="session")
def small_generator() -> Callable[..., Generator]:
    """Build a generator of 8 channels and w of 12, with noise and biases that show."""

    def build(resolution: int = 16, **arguments: Any) -> Generator:  # noqa: ANN401
        channels = dict.fromkeys(channels_of(resolution), 8)
        generator = Generator(resolution, channels, w_dim=12, **arguments).eval()
        for name, parameter in generator.named_parameters():
            if name.endswith(("noise.weight", "bias")):
                torch.nn.init.normal_(parameter, 0.2, 0.3)
        return generator.requires_grad_(False)

    return build


@pytest.fixture
def source(small_generator: Callable[..., Generator]) -> Generator:
    """A conditional generator with a bound and a mean: what other layouts are made from."""
    generator: Generator = small_generator(
        conv_clamp=0.9, style=MappingNetwork(5, [7, 12], labels=3, embedding=4)
    )
    generator.mean_w = torch.randn(12)
    return generator
