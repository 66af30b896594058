"""A training that was killed, at whatever step, ends where an unbroken one does, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from wstar.errors import CheckpointError
from wstar_training import checkpoint
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.loop import FlowData
from wstar_training.learning.supervision import Supervision
from wstar_training.models.flow import flow_checkpoint

if TYPE_CHECKING:
    from tests.training.conftest import SmallTraining

WORKER = Path(__file__).with_name("train_saved.py")
# Saves and validations that fall together, and that do not.
OPTIONS = FlowOptions(
    couplings=3, steps=14, hidden=16, batch=16, rate=3e-3, ema=0.8, validate_every=4, save_every=3,
    schedule="cosine", warmup=2,
)  # fmt: skip


class _Killed(BaseException):
    """What stands for a kill in a test of one process."""


@dataclass
class Doomed:
    """Distances that are asked for once per step; one time something happens instead."""

    given: Supervision
    left: int
    signal: signal.Signals | None = None

    @property
    def mean(self) -> float:
        """As of what is given."""
        return self.given.mean

    def pairs(self, rows: Tensor) -> Tensor:
        """As of what is given, or never."""
        self.left -= 1
        if self.left == 0:
            if self.signal is None:
                raise _Killed
            os.kill(os.getpid(), self.signal)
        return self.given.pairs(rows)


def doomed(data: FlowData, step: int, number: signal.Signals | None = None) -> FlowData:
    """Data of which something happens at a step, counted from 1."""
    return replace(data, distances=Doomed(data.distances, step, number))


def content(path: Path) -> dict[str, Any]:
    """A checkpoint, its tensors flattened to bytes: NaN would not be equal to itself."""

    def plain(value: object) -> object:
        if isinstance(value, Tensor):
            return value.numpy().tobytes()
        if isinstance(value, dict):
            return {name: plain(part) for name, part in value.items()}
        return value

    found = plain(checkpoint.load(path))
    assert isinstance(found, dict)
    found["validation"].pop("seconds", None)
    return found


def lines(path: Path) -> list[dict[str, float]]:
    """A log without the times, which differ."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for line in found:
        del line["seconds"]
    return found


@pytest.mark.parametrize("step", range(1, OPTIONS.steps + 1))
def test_a_training_that_ends_at_any_step_goes_on(
    step: int, small_training: SmallTraining, tmp_path: Path
) -> None:
    unbroken = small_training.train(tmp_path / "a.pt", OPTIONS)
    with pytest.raises(_Killed):
        small_training.train(tmp_path / "b.pt", OPTIONS, doomed(small_training.data, step))
    assert not (tmp_path / "b.pt").exists()
    # What a kill while a file is written leaves.
    (tmp_path / ".b.state.1.partial").write_text("half")
    resumed = small_training.train(tmp_path / "b.pt", OPTIONS)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert content(tmp_path / "a.pt") == content(tmp_path / "b.pt")
    assert lines(tmp_path / "a.jsonl") == lines(tmp_path / "b.jsonl")
    assert not list(tmp_path.glob("*.state")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [1, 5, 12])
def test_a_training_asked_to_stop_saves_the_step_it_was_in(
    step: int, number: signal.Signals, small_training: SmallTraining, tmp_path: Path
) -> None:
    small_training.train(tmp_path / "a.pt", OPTIONS)
    handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt):
        small_training.train(tmp_path / "b.pt", OPTIONS, doomed(small_training.data, step, number))
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert checkpoint.load(tmp_path / "b.state")["step"] == step
    small_training.train(tmp_path / "b.pt", OPTIONS)
    assert content(tmp_path / "a.pt") == content(tmp_path / "b.pt")


def test_a_state_of_other_options_is_refused(small_training: SmallTraining, tmp_path: Path) -> None:
    with pytest.raises(_Killed):
        small_training.train(tmp_path / "t.pt", OPTIONS, doomed(small_training.data, 5))
    with pytest.raises(CheckpointError, match="other options"):
        small_training.train(tmp_path / "t.pt", replace(OPTIONS, rate=1e-3))
    checkpoint.save(tmp_path / "t.state", {"options": json.dumps(asdict(OPTIONS)), "flow": {}})
    with pytest.raises(CheckpointError, match="not a state of this training"):
        small_training.train(tmp_path / "t.pt", OPTIONS)


@pytest.mark.slow
def test_a_process_killed_again_and_again_ends_in_the_same_bits(
    small_training: SmallTraining, tmp_path: Path
) -> None:
    given = small_training.data
    options = asdict(replace(OPTIONS, steps=60, identity_weight=0.5, identity_batch=4))
    problem = {
        "flow": flow_checkpoint(small_training.flow()),
        "x": given.x,
        "attributes": given.attributes,
        "features": given.distances.features,  # type: ignore[attr-defined]
        "before": given.x[:, :2].clone(),
        "weight": torch.from_numpy(small_training.classifiers.weight),
        "bias": torch.from_numpy(small_training.classifiers.bias),
        "options": json.dumps({"t": options}),
    }
    for name in ("unbroken", "killed"):
        checkpoint.save(tmp_path / name / "problem.pt", problem)

    def process(folder: str, *arguments: str) -> int:
        command = [sys.executable, str(WORKER), str(tmp_path / folder), *arguments]
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode

    assert process("unbroken") == 0
    # Before the first save, in a step that saves, and between saves.
    for step in (2, 13, 32):
        assert process("killed", "--kill-at", str(step)) == -signal.SIGKILL
        assert not (tmp_path / "killed" / "t.pt").exists()
    assert process("killed") == 0
    assert content(tmp_path / "unbroken" / "t.pt") == content(tmp_path / "killed" / "t.pt")
    logs = [lines(tmp_path / name / "t.jsonl") for name in ("unbroken", "killed")]
    assert logs[0] == logs[1]
