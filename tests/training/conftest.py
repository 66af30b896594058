"""Answers recorded from the original networks, and the rule that fills their weights."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wstar_training.learning.config import FlowOptions
from wstar_training.learning.loop import FlowData, train
from wstar_training.learning.supervision import Sketched
from wstar_training.models.flow import Coupling, Flow, half_masks
from wstar_training.models.mapping import MappingNetwork
from wstar_training.models.stylegan2 import Generator, channels_of
from wstar_training.readout.fitted import Readout

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


@dataclass(frozen=True)
class SmallTraining:
    """A T of 8 coordinates and faces whose distances are those of stretched coordinates."""

    data: FlowData
    validation: FlowData
    classifiers: Readout

    def flow(self) -> Flow:
        """The T it starts from, the same every time."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            couplings = [Coupling(mask, 16) for mask in half_masks(8, 3, seed=0)]
        return Flow(couplings, torch.zeros(2, 512), 1.0, torch.eye(8, 1024))

    def train(self, path: Path, options: FlowOptions, data: FlowData | None = None) -> Flow:
        """Train it in this process, on `data` instead of its own if given."""
        given = self.data if data is None else data
        return train(path, options, self.flow(), given, self.validation, self.classifiers)


@pytest.fixture
def small_training() -> SmallTraining:
    """A training that takes a millisecond a step."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(460, 8, generator=random)
    features = (x * torch.linspace(0.5, 2.0, 8) / 32.0).half()
    attributes = (x[:, :2] > 0).float()

    def some(rows: slice) -> FlowData:
        return FlowData(x[rows], attributes[rows], Sketched(features[rows]), x[rows, :2])

    return SmallTraining(
        some(slice(0, 400)), some(slice(400, None)), Readout(np.eye(2, 8), np.zeros(2))
    )
