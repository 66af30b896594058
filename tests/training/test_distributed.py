"""Several processes train the T that one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from wstar.errors import InvalidInput
from wstar_training import checkpoint
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.distributed import ALONE, Group, joined
from wstar_training.models.flow import flow_checkpoint

if TYPE_CHECKING:
    from tests.training.conftest import SmallTraining

WORKER = Path(__file__).with_name("train_saved.py")
EQ_3 = FlowOptions(couplings=3, steps=20, hidden=16, batch=16, rate=3e-3, validate_every=5)
# Three disturbed codes for two processes: one has more of them than the other.
EQ_5 = replace(EQ_3, identity_weight=5.0, identity_batch=3, ema=0.5)
# And one: the other process has none.
ONE = replace(EQ_5, identity_batch=1)


def test_shares_are_the_batch_in_its_order() -> None:
    batch = torch.arange(24).reshape(12, 2)
    for size in (1, 2, 3, 4):
        shares = [Group(rank, size).share(batch) for rank in range(size)]
        assert {len(share) for share in shares} == {12 // size}
        assert torch.equal(torch.cat(shares), batch)


def test_a_process_alone_is_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as group:
        assert group == ALONE and group.first
        assert group.mean([1.0, torch.tensor(2.0)]) == [1.0, 2.0]
        assert group.agreed("this") == "this"
        group.wait()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidInput, match="device: found 'cuda'"), joined("cuda"):
        pass


@pytest.mark.slow
def test_two_processes_end_where_one_does(small_training: SmallTraining, tmp_path: Path) -> None:
    given = small_training.data
    trainings = {"eq3": EQ_3, "eq5": EQ_5, "one": ONE}
    problem = {
        "flow": flow_checkpoint(small_training.flow()),
        # In float64, or Adam makes full steps of the rounding of gradients that are nearly 0.
        "x": given.x.double(),
        "attributes": given.attributes.double(),
        "features": given.distances.features,  # type: ignore[attr-defined]
        "before": given.x[:, :2].clone(),
        "weight": torch.from_numpy(small_training.classifiers.weight),
        "bias": torch.from_numpy(small_training.classifiers.bias),
        "options": json.dumps({name: asdict(options) for name, options in trainings.items()}),
    }
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, launcher in (("alone", []), ("together", torchrun)):
        checkpoint.save(tmp_path / name / "problem.pt", problem)
        command = [sys.executable, *launcher, str(WORKER), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
    start = small_training.flow().state_dict()
    for name in trainings:
        alone, together = (
            checkpoint.load(tmp_path / folder / f"{name}.pt")["state"]
            for folder in ("alone", "together")
        )
        for key, value in alone.items():
            # Sums in another order are rounded otherwise, by 1e-16, and Adam divides by the size of
            # the gradient.
            torch.testing.assert_close(together[key], value, rtol=0, atol=1e-8)
        assert any((alone[key] - start[key]).abs().max() > 1e-3 for key in start)
        log = (tmp_path / "together" / f"{name}.jsonl").read_text().splitlines()
        # One process writes.
        assert [json.loads(line)["step"] for line in log] == [5, 10, 15, 20]
    assert not list(tmp_path.rglob("*.state")) and not list(tmp_path.rglob("*.partial"))
