"""`wstar-train flow` on small files of the real layouts: runs, resumes, refuses strangers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.own_run import COUNT, RESOLUTION, arguments, make_files

from wstar.attributes import ATTRIBUTES
from wstar.errors import InvalidInput
from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.checkpoint import NETWORKS_FILE, file_sha256, save
from wstar_training.cli import main
from wstar_training.commands.opening import open_study
from wstar_training.editing import editing_report
from wstar_training.learning.loop import load_flow
from wstar_training.models.stylegan2 import Generator
from wstar_training.models.vggface import VGGFace
from wstar_training.models.weights.vggface import VGGFACE_LAYOUTS
from wstar_training.own.files import OwnFiles
from wstar_training.readout.served import load_readout
from wstar_training.study.flow import flow_data


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A small study."""
    return make_files(tmp_path)


@pytest.mark.parametrize("axes", [None, 5])
def test_every_stage_runs_and_is_made_once(
    files: Path, axes: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {} if axes is None else {"axes": str(axes)}
    assert main(arguments(files, **changes)) == 0, capsys.readouterr().err
    run = files / "run"
    w = checkpoint.load(run / "codes.pt")["w"]["test"]
    for name in ("flow", "flow_id"):
        flow = load_flow(run / f"{name}.pt")
        assert (flow.basis is None) == (axes is None)
        assert (flow(w) != w).any()
        assert ((flow.inverse(flow(w)) - w).abs().max() / w.std()) < 1e-5
        lines = (run / f"{name}.jsonl").read_text().splitlines()
        assert ("identity" in json.loads(lines[-1])) == (name == "flow_id")
    for space in Space:
        assert load_readout(run / f"space_{space.value}.pt")(w).shape == (len(w), len(ATTRIBUTES))
    named = json.loads((run / NETWORKS_FILE).read_text())
    assert named["encoder"]["sha256"] == file_sha256(files / "encoder.pt")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.pt")}
    assert main(arguments(files, **changes)) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.pt")} == before


def test_splits_are_disjoint_and_complete(files: Path) -> None:
    assert main(arguments(files)) == 0
    w = checkpoint.load(files / "run" / "codes.pt")["w"]
    rows = torch.cat([w["flow"], w["probe"], w["test"]]).flatten(1)
    made = torch.from_numpy(np.load(files / "codes" / "codes.npy")).flatten(1)
    assert len(rows) == len(made) and len(torch.unique(rows, dim=0)) == len(made)


def test_another_encoder_than_that_of_the_codes_is_refused(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(files / "encoder.pt", {"another": torch.zeros(2)})
    assert main(arguments(files)) == 1
    assert "not the encoder of these codes" in capsys.readouterr().err
    assert not (files / "run").exists()


def test_a_run_goes_on_with_its_own_settings_only(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(files)) == 0
    assert main(arguments(files, steps="5")) == 2
    assert "settings.flow.steps: found 5, allowed: 3" in capsys.readouterr().err
    (files / "run" / "options.json").write_text("{")
    assert main(arguments(files)) == 1
    assert "not the options of a run" in capsys.readouterr().err


def test_a_run_goes_on_with_its_own_labels_only(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(files)) == 0
    lines = (files / "attributes.txt").read_text().splitlines()
    one = lines[3].split()
    one[1] = str(-int(one[1]))
    (files / "attributes.txt").write_text("\n".join([*lines[:3], " ".join(one), *lines[4:]]))
    assert main(arguments(files)) == 2
    assert "sha256.labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"batch": "16"}, 2, "batch: found 16, allowed: at most 15"),
        ({"batch": "1"}, 2, "2 or more"),
        ({"identity-batch": "5"}, 2, "identity_batch: found 5, allowed: at most the batch, 4"),
        ({"axes": "18"}, 2, "axes: found 18, allowed: less than 18"),
        ({"perceptual-side": "4"}, 2, "side: found 4"),
        ({"perceptual-scale": "0"}, 2, "perceptual_scale: found 0.0, allowed: above 0, or match"),
        ({"perceptual-scale": "nan"}, 2, "perceptual_scale: found nan"),
        ({"generator": "face.pth"}, 1, "face.pth: expected one of the keys"),
        ({"generator": "other.pt"}, 1, "6 rows of w, as the codes have, found 4"),
        ({"judge": "face.pth"}, 1, "face.pth: no torchvision VGG16 file"),
        ({"identity": "vgg.pth"}, 1, "vgg.pth: no VGGFace or ArcFace file"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    files: Path,
    changes: dict[str, str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save(files / "other.pt", {"g_ema": Generator(8, {4: 8, 8: 8}).state_dict()})
    paths = {key: str(files / value) for key, value in changes.items() if "." in value}
    assert main(arguments(files, **(changes | paths))) == code
    assert message in capsys.readouterr().err
    assert not (files / "run").exists()


def test_a_picture_damaged_since_is_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (files / "pictures").iterdir():
        path.write_text("no picture")
    assert main(arguments(files)) == 1
    error = capsys.readouterr().err
    assert ".png: image: found" in error and error.count("\n") == 1


def test_pictures_without_labels_are_counted(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (files / "attributes.txt").read_text().splitlines()
    (files / "attributes.txt").write_text("\n".join(["28", *lines[1:-2]]))
    assert main(arguments(files)) == 0
    assert "2 of 30 pictures have no labels: left out" in capsys.readouterr().out


def test_numbers_of_celeba_hq_find_their_labels_without_a_partition(files: Path) -> None:
    lines = (files / "attributes.txt").read_text().splitlines()
    rows = [f"{index + 1:06d}{line[line.index('.') :]}" for index, line in enumerate(lines[2:])]
    (files / "attributes.txt").write_text("\n".join([*lines[:2], *rows]))
    mapping = [f"{index} {index} {index + 1:06d}.jpg" for index in range(COUNT)]
    (files / "mapping.txt").write_text("\n".join(mapping))
    assert main(arguments(files)) == 2
    assert main(arguments(files, mapping=str(files / "mapping.txt"))) == 0


def test_a_run_folder_that_cannot_be_made_is_refused(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(files, run=str(files / "vgg.pth" / "run"))) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_too_few_pictures_are_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (files / "attributes.txt").read_text().splitlines()
    (files / "attributes.txt").write_text("\n".join(["3", *text[1:5]]) + "\n")
    assert main(arguments(files)) == 2
    assert "or more" in capsys.readouterr().err


def test_a_run_is_reopened_as_it_was_begun(files: Path) -> None:
    assert main(arguments(files)) == 0
    study = open_study(files / "run")
    assert isinstance(study, OwnFiles)
    assert study.settings.flow.steps == 3 and study.sources.codes == files / "codes"
    assert study.attributes("test").shape == (len(study.rows["test"]), len(ATTRIBUTES))
    assert study.faces("test")(np.arange(2)).shape == (2, 3, 32, 32)


def test_files_that_moved_are_found_after_the_command_ran_again(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(files)) == 0
    (files / "codes").rename(files / "elsewhere")
    assert main(["evaluate", "--run", str(files / "run")]) == 1
    assert "codes" in capsys.readouterr().err
    assert main(arguments(files, codes=str(files / "elsewhere"))) == 0
    study = open_study(files / "run")
    assert isinstance(study, OwnFiles) and study.sources.codes == files / "elsewhere"


@pytest.mark.parametrize("axes", [pytest.param(None, marks=pytest.mark.slow), "5"])
def test_a_run_is_measured(
    files: Path, axes: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six test faces tell nothing, and break nothing."""
    assert main(arguments(files, **({} if axes is None else {"axes": axes}))) == 0
    capsys.readouterr()
    command = ["evaluate", "--run", str(files / "run"), "--edit-faces", "0"]
    assert main([*command, "--require", "svm.avg>=0"]) == 0
    assert capsys.readouterr().out.startswith("# Evaluation: own files: encoder.pt, generator.pt")
    for space in Space:
        served = checkpoint.load(files / "run" / f"space_{space.value}.pt")["evaluation"]
        assert served["svm_accuracy"] >= 0 and "two_alternative_input" in served


def test_edits_are_judged_by_networks_that_no_loss_has_seen(files: Path) -> None:
    torch.manual_seed(1)
    face = VGGFace(2, 16, 4)
    names = VGGFACE_LAYOUTS["dag"].names(face)
    save(files / "other.pth", {names[key]: value for key, value in face.state_dict().items()})
    assert main(arguments(files, **{"identity-referee": str(files / "other.pth")})) == 0
    study = open_study(files / "run")
    assert isinstance(study, OwnFiles)
    flows = {space.value: study.flow(space) for space in Space}
    readouts = {space.value: load_readout(study.readout_path(space)) for space in Space}
    report = editing_report(study, flows, readouts, 2, ("Smiling", "Male"), encoded=False)
    assert report["identity"] and report["pool"] == len(study.codes.w["test"])
    assert (files / "run" / "referee.pt").exists()
    for space in report["reached"].values():
        assert space["wanted"]["0.9"]["targeted"]["within"] == 1.0
    assert study.referee(torch.zeros(2, 3, RESOLUTION, RESOLUTION)).shape == (2, len(ATTRIBUTES))
    same = replace(study, identity_referee_file=study.networks.identity)
    with pytest.raises(InvalidInput, match="another network than F"):
        _ = same.identity_referee
    assert replace(study, identity_referee_file=None).identity_referee is None


def test_lpips_judges_in_the_loop_and_its_sketches_are_measured(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = {
        f"lin{index}.model.1.weight": torch.rand(1, 2 * factor, 1, 1)
        for index, factor in enumerate((1, 2, 4, 8, 8))
    }
    save(files / "lpips.pth", weights)
    assert main(arguments(files, lpips=str(files / "lpips.pth"), perceptual="exact")) == 0
    study = open_study(files / "run")
    exact, _ = flow_data(study, "both", exact=True, identity="input")
    sketched, held_out = flow_data(study, "both", identity="regenerated")
    rows = torch.tensor([3, 0, 7, 4])
    # Two sketches of 4096 numbers, averaged: four standard deviations.
    error = sketched.distances.pairs(rows) / exact.distances.pairs(rows) - 1.0
    assert error.abs().max() < 4 * (2 / 4096) ** 0.5
    assert exact.distances.mean == sketched.distances.mean
    for data in (exact, sketched, held_out):
        assert data.before is not None and len(data.before) == len(data)
    capsys.readouterr()
    assert main(["sketch", "--run", str(files / "run"), "--sizes", "64", "2048", "--json"]) == 0
    small, large = json.loads(capsys.readouterr().out)
    assert (small["size"], large["size"]) == (64, 2048) and large["mean"] < small["mean"]
    assert main(["sketch", "--run", str(files / "run"), "--pairs", "10"]) == 0
    assert "95th percentile" in capsys.readouterr().out
    # Without the weights the judge is another one.
    assert main(arguments(files, perceptual="exact")) == 2
    assert "sha256.lpips" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["flat", "rows"])
def test_a_variant_is_made_beside_the_run(
    files: Path, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"layout": layout, "ema": "0.9", "schedule": "cosine", "precision": "bf16"}
    assert main(arguments(files, variant="ID_R", **changes)) == 0, capsys.readouterr().err
    run = files / "run"
    flow = load_flow(run / "ablation" / "ID_R-seed0" / "flow.pt")
    assert flow.flat == (layout == "flat") and len(flow.couplings) == 3
    assert not (run / "flow.pt").exists()
    # The run goes on with the same settings, and takes what is there.
    assert main(arguments(files, **changes)) == 0
    assert "features.pt: there" in capsys.readouterr().out
    assert load_flow(run / "flow.pt").flat == flow.flat


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "principal"}, "axes: found None, allowed: a number"),
        ({"layout": "flat", "axes": "5"}, "axes: found 5, allowed: none with the layout flat"),
        ({"lambda-d": "-1"}, "distance_weight: found -1.0"),
        ({"ema": "1"}, "ema: found 1.0"),
    ],
)
def test_options_of_t_that_contradict_are_refused(
    files: Path, changes: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(files, **changes)) == 2
    assert message in capsys.readouterr().err
