"""`wstar-train ablate` on a quick demo world, killed once: it goes on, and takes only its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.ablation.jobs import FREE, unscaled
from wstar_training.cli import main
from wstar_training.commands.opening import open_study
from wstar_training.demo.sizes import QUICK, remember
from wstar_training.demo.train_demo import World, build
from wstar_training.evaluation.space import PAPER_PAIRS, space_distances
from wstar_training.evaluation.yardsticks import yardsticks

CODE = "import sys; from wstar_training.cli import main; sys.exit(main())"
STEPS = "6"
ASKED = ["--variants", "L3", "R", "--seeds", "0", "1", "--steps", STEPS]


def stamps(run: Path, name: str) -> dict[Path, int]:
    """When files of a name were written."""
    return {path: path.stat().st_mtime_ns for path in (run / "ablation").rglob(name)}


# The quick size, with networks that have learned still less: none of this is about figures.
LEAST = replace(
    QUICK,
    judge=replace(QUICK.judge, images=64),
    identity=replace(QUICK.identity, images=64),
    referee=replace(QUICK.referee, images=64),
    identity_referee=replace(QUICK.identity_referee, images=64),
    autoencoder=replace(QUICK.autoencoder, images=48),
    flow=replace(QUICK.flow, steps=2),
    flow_id=replace(QUICK.flow_id, steps=2, identity_weight=0.0),
    edit_penalties=(0.1,),
    chosen_by=1,
)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo world and its ablation, which was killed while it measured."""
    run = tmp_path_factory.mktemp("world")
    remember(run, "quick")
    build(World(run, LEAST))
    command = [sys.executable, "-c", CODE, "ablate", "--run", str(run), "--threads", "1", *ASKED]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("ablation: measuring 2 of 2"):
                os.kill(process.pid, signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL, "".join(said[-20:])
    return run


@pytest.mark.slow
def test_a_killed_ablation_goes_on(killed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained, kept = stamps(killed, "flow.pt"), stamps(killed, "measured.json")
    assert len(trained) == 4 and len(kept) == 2
    command = ["ablate", "--run", str(killed), *ASKED]
    assert main(command) == 0
    tables, progress = capsys.readouterr()
    assert tables.startswith("# Ablation: demo world")
    assert "| L3: low capacity: 3 couplings | demo world, trial |" in tables
    assert "training" not in [line.split()[1] for line in progress.splitlines() if "abl" in line]
    assert stamps(killed, "flow.pt") == trained
    after = stamps(killed, "measured.json")
    assert len(after) == 4 and kept.items() <= after.items()
    folder = killed / "ablation" / f"trial-{STEPS}-steps"
    assert (folder / "ablation.md").read_text() == tables

    # Now everything is read, and says the same.
    assert main([*command, "--json", "--output", str(killed / "elsewhere")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((folder / "ablation.json").read_text())
    assert found == json.loads((killed / "elsewhere" / "ablation.json").read_text())
    assert stamps(killed, "measured.json") == after
    assert found["rows"]["R"]["svm_avg"]["by_seed"][0] > 0
    assert set(found["rows"]) == {"W_PLUS", "L3", "R", FREE}


@pytest.mark.slow
def test_what_was_trained_otherwise_is_refused(
    killed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(killed, tmp_path / "run")
    trial = run / "ablation" / f"trial-{STEPS}-steps"
    # A trial in the place of the real thing.
    shutil.copytree(trial / "L3-seed0", run / "ablation" / "L3-seed0")
    command = ["ablate", "--run", str(run), "--variants", "L3", "--seeds", "0"]
    assert main(command) == 2
    assert "steps of" in capsys.readouterr().err
    # Features that no T was trained on.
    content = checkpoint.load(run / "features.pt")
    checkpoint.save(run / "features.pt", {**content, "scale": 2.0 * content["scale"]})
    assert main([*command, "--steps", STEPS]) == 2
    assert "features.pt that" in capsys.readouterr().err


@pytest.mark.slow
def test_unscaled_errors_are_of_a_tenth_of_what_the_judge_says(killed: Path) -> None:
    study = open_study(killed)
    yard, flow = yardsticks(study), study.flow(Space.W_PLUS)
    w, drawn = study.codes.w["test"], yard.drawn["test"]
    found = space_distances(flow, w[: drawn.count], drawn.trials).pairs[:PAPER_PAIRS]
    faces = study.faces("test")(np.arange(drawn.count))
    a, b = drawn.trials.pairs[:PAPER_PAIRS].T
    factor = study.perceptual_scale / study.judge.scale / 10.0
    features = [factor**0.5 * tap.flatten(1) for tap in study.judge.features(faces)]
    wanted = sum((tap[a] - tap[b]).square().sum(1).double().numpy() for tap in features)
    error = unscaled(study, yard, flow)["input"]
    # float32 features on both sides.
    assert error["mean"] == pytest.approx(float((found - wanted).mean()), rel=1e-4)
    assert error["std"] == pytest.approx(float((found - wanted).std()), rel=1e-4)
