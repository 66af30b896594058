"""The demo world's quick size from nothing: it runs, resumes, and writes what export reads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from wstar.attributes import ATTRIBUTES
from wstar.errors import InvalidInput
from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.cli import main
from wstar_training.codes import load_codes
from wstar_training.config import FlowOptions
from wstar_training.demo.sizes import recall, remember
from wstar_training.directions import load_readout
from wstar_training.loop import FlowData, load_flow, train
from wstar_training.models.flow import Coupling, Flow, half_masks
from wstar_training.pretrain import Readout
from wstar_training.report import markdown

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from wstar_training.cli import main; sys.exit(main())",
]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick demo world, killed once while it was being made."""
    run = tmp_path_factory.mktemp("world")
    arguments = [*COMMAND, "demo-world", "--quick", "--threads", "1", "--run", str(run)]
    first = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while first.poll() is None and not (run / "identity.pt").exists():
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert not (run / "evaluation.json").exists()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return run


@pytest.mark.slow
def test_a_killed_run_is_completed_by_the_next(quick: Path) -> None:
    for file in ("judge", "identity", "referee", "autoencoder", "codes", "flow", "flow_id"):
        checkpoint.load(quick / f"{file}.pt")
    report = json.loads((quick / "evaluation.json").read_text())
    assert set(report["spaces"]) == {space.value for space in Space}
    assert not list(quick.rglob("*.partial"))
    tables = markdown(report)
    assert "W\\*" in tables and "PSNR" in tables


@pytest.mark.slow
def test_what_is_served_fits_together(quick: Path) -> None:
    w = load_codes(quick / "codes.pt").w["test"]
    for space in Space:
        path = quick / f"space_{space.value}.pt"
        content, readout = checkpoint.load(path), load_readout(path)
        assert content["quantiles"].shape == (101,)
        assert content["perceptual_scale"] > 0
        assert content["evaluation"]["two_alternative_input"] > 0
        assert readout(w).shape == (len(w), len(ATTRIBUTES))
        assert torch.isfinite(readout.weight).all()
    flow = load_flow(quick / "flow.pt")
    error = (flow.inverse(flow(w)) - w).abs().max() / w.std()
    assert error < 1e-5


@pytest.mark.slow
def test_stages_that_are_there_are_not_made_again(
    quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(quick, tmp_path / "again")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.pt")}
    assert main(["demo-world", "--quick", "--run", str(run)]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.pt")} == before
    assert "flow.pt: there" in capsys.readouterr().out


def test_a_run_that_cannot_be_measured_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--run", str(tmp_path)]) == 1
    assert "no such file" in capsys.readouterr().err


def problem(count: int) -> tuple[Flow, FlowData, Readout]:
    """A small flow, faces whose distances are those of stretched coordinates, and a C."""
    torch.manual_seed(0)
    flow = Flow(
        [Coupling(mask, 16) for mask in half_masks(8, 3, seed=0)],
        torch.zeros(2, 512),
        1.0,
        torch.eye(8, 1024),
    )
    x = torch.randn(count, 8)
    features = (x * torch.linspace(0.5, 2.0, 8) / 32.0).half()
    data = FlowData(x, (x[:, :2] > 0).float(), features)
    return flow, data, Readout(torch.eye(2, 8).double().numpy(), torch.zeros(2).double().numpy())


def options(steps: int, **changes: float) -> FlowOptions:
    return FlowOptions(couplings=3, steps=steps, hidden=16, batch=32, validate_every=20, **changes)  # type: ignore[arg-type]


def test_training_learns_distances(tmp_path: Path) -> None:
    flow, data, readout = problem(400)
    train(tmp_path / "t.pt", options(200), flow, data, data.rows(slice(0, 60)), readout)
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert lines[-1]["distance"] < 0.5 * lines[0]["distance"]
    assert {"s_std", "round_trip", "order", "pearson", "attribute"} <= set(lines[-1])
    assert load_flow(tmp_path / "t.pt")(torch.randn(2, 2, 512)).shape == (2, 2, 512)
    assert not (tmp_path / "t.state").exists()


class _Killed(Exception):
    """What stands for a kill in a test of one process."""


def test_a_resumed_training_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    flow, data, readout = problem(400)
    held_out = data.rows(slice(0, 60))
    unbroken = train(tmp_path / "a.pt", options(100), flow, data, held_out, readout)

    class KilledLater(FlowData):
        """Data whose 51st batch never comes."""

        batches = 0

        def rows(self, rows: slice | torch.Tensor) -> FlowData:
            KilledLater.batches += 1
            if KilledLater.batches > 50:
                raise _Killed
            return super().rows(rows)

    killed = KilledLater(data.x, data.attributes, data.features)
    with pytest.raises(_Killed):
        train(tmp_path / "b.pt", options(100), problem(400)[0], killed, held_out, readout)
    assert (tmp_path / "b.state").exists() and not (tmp_path / "b.pt").exists()
    resumed = train(tmp_path / "b.pt", options(100), problem(400)[0], data, held_out, readout)
    for name, value in unbroken.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    flow, data, readout = problem(400)
    held_out = data.rows(slice(0, 60))
    bad = FlowData(data.x.clone(), data.attributes, data.features)

    class SpoiltLater(FlowData):
        """Data that turn to NaN after the first validation."""

        batches = 0

        def rows(self, rows: slice | torch.Tensor) -> FlowData:
            SpoiltLater.batches += 1
            batch = super().rows(rows)
            if SpoiltLater.batches > 30:
                batch.x[0] = float("nan")
            return batch

    spoilt = SpoiltLater(bad.x, bad.attributes, bad.features)
    with pytest.raises(FloatingPointError, match="last good state"):
        train(tmp_path / "t.pt", options(100), flow, spoilt, held_out, readout)
    state = checkpoint.load(tmp_path / "t.state")
    assert state["step"] == 20
    assert all(torch.isfinite(value).all() for value in state["flow"].values())


def test_a_run_of_another_size_is_refused(tmp_path: Path) -> None:
    assert remember(tmp_path, "quick") == recall(tmp_path)
    with pytest.raises(InvalidInput, match="size"):
        remember(tmp_path, "full")
