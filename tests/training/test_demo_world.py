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
from wstar_training.demo.sizes import recall, remember
from wstar_training.editing import editing_tables
from wstar_training.evaluation.report import markdown
from wstar_training.evaluation.requirements import main_figures
from wstar_training.learning.codes import load_codes
from wstar_training.learning.loop import load_flow
from wstar_training.readout.served import load_readout

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
    # So few faces may leave nothing to edit.
    unknown = {name for name, value in main_figures(report).items() if value != value}
    assert unknown <= {"edits.within", "edits.worst"}


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
def test_edits_are_measured_in_every_space(quick: Path) -> None:
    edits = json.loads((quick / "evaluation.json").read_text())["editing"]
    assert edits["identity"]
    spaces = {space.value for space in Space} | {"W_PLUS_FOR_EDITS"}
    assert set(edits["reached"]) == set(edits["units"]["squared_distance"]) == spaces
    for figures in edits["reached"].values():
        for each in figures["wanted"].values():
            assert each["targeted"] is None or each["targeted"]["within"] == 1.0
        assert figures["within"] in (None, 1.0)
        assert figures["worst"] is None or figures["worst"] <= 0.05
    assert editing_tables(edits)


@pytest.mark.slow
def test_stages_that_are_there_are_not_made_again(
    quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(quick, tmp_path / "again")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.pt")}
    assert main(["demo-world", "--quick", "--run", str(run)]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.pt")} == before
    assert "flow.pt: there" in capsys.readouterr().out


@pytest.mark.slow
def test_requirements_decide_the_exit_code(
    quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(quick, tmp_path / "measured")
    command = ["evaluate", "--run", str(run), "--edit-faces", "0", "--require"]
    assert main([*command, "round_trip<=1e-3", "two_alternative.input>=0"]) == 0
    tables = capsys.readouterr().out
    assert tables.startswith("# Evaluation: demo world")
    assert tables.strip() == (run / "evaluation.md").read_text().strip()
    assert main([*command, "edits.within>=1"]) == 2
    assert "edit_faces: found 0, allowed: 1 or more" in capsys.readouterr().err
    assert main([*command, "svm.avg>=0", "two_alternative.input>=1.01", "--json"]) == 3
    found = capsys.readouterr()
    assert json.loads(found.out)["world"].startswith("demo world")
    assert "not met: two_alternative.input: found 0." in found.err
    assert "wanted two_alternative.input >= 1.01" in found.err
    assert "svm.avg" not in found.err


def test_a_run_that_cannot_be_measured_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--run", str(tmp_path)]) == 1
    assert "no such file" in capsys.readouterr().err


def test_a_run_of_another_size_is_refused(tmp_path: Path) -> None:
    assert remember(tmp_path, "quick") == recall(tmp_path)
    with pytest.raises(InvalidInput, match="size"):
        remember(tmp_path, "full")
