"""`wstar-train figures` on a small study: what is drawn, left out, and refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.training.small_study import COLOURS, ROWS, Painter, SmallStudy
from torch import Tensor, nn
from torch.nn import functional

from wstar.attributes import ATTRIBUTES
from wstar.errors import CheckpointError
from wstar.graphs import Space
from wstar_training.cli import main
from wstar_training.commands.figures import draw, read_report
from wstar_training.editing import editing_report
from wstar_training.figures.gallery import FIGURES, Source
from wstar_training.figures.material import NothingToDraw, distances, told_apart
from wstar_training.learning.codes import Axes, Batch, Codes
from wstar_training.learning.config import FlowOptions
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Coupling, Flow, half_masks
from wstar_training.readout.fitted import Bools
from wstar_training.readout.served import load_readout, save_readout
from wstar_training.study.stages import CodeSplit

AXES, COUNT = COLOURS, 60


class Reader(nn.Module):
    """A referee: attribute k is number k mod 12 of the picture."""

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, 3, S, S) to logits (N, 40)."""
        seen = functional.adaptive_avg_pool2d(picture, 2).flatten(1)
        return 20.0 * seen[:, torch.arange(len(ATTRIBUTES)) % AXES]


class Recogniser(nn.Module):
    """An identity network: the picture, as long as one."""

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, 3, S, S) to (N, 768)."""
        return functional.normalize(picture.flatten(1), dim=1)


@dataclass(frozen=True)
class Small(SmallStudy):
    """A study whose attributes are signs of numbers of its codes."""

    run: Path

    labels = {"world": "small world: colours"}
    referee, identity_referee = Reader(), Recogniser()
    perceptual_scale = 7.0

    @cached_property
    def codes(self) -> Codes:
        """Codes of a fixed draw."""
        random = torch.Generator().manual_seed(0)
        w = {split: torch.zeros(COUNT, ROWS, 512) for split in ("flow", "probe", "test")}
        for some in w.values():
            some[:, 0, :AXES] = torch.randn(COUNT, AXES, generator=random)
        return Codes(w, Axes(torch.zeros(ROWS, 512), 1.0, torch.eye(AXES, ROWS * 512)))

    def attributes(self, split: CodeSplit) -> Bools:
        """Attribute k is the sign of number k mod 12."""
        return self.codes.w[split][:, 0, np.arange(len(ATTRIBUTES)) % AXES].numpy() > 0

    def faces(self, split: CodeSplit) -> Batch:
        """Pictures as G makes them."""

        def batch(rows: NDArray[np.int64]) -> Tensor:
            pictures: Tensor = Painter()(self.codes.w[split][torch.from_numpy(rows)])
            return pictures

        return batch

    @property
    def flow_options(self) -> Mapping[Space, FlowOptions]:
        """Not needed here."""
        return {}

    def flow(self, space: Space) -> Flow:
        """The identity, or a T that is none."""
        if space is Space.W_PLUS:
            return super().flow(space)
        torch.manual_seed(len(space.value))
        layers = [Coupling(mask, 8) for mask in half_masks(AXES, 2, seed=0)]
        for layer in layers:
            nn.init.normal_(layer.t[4].weight, std=0.5)  # type: ignore[arg-type]
        axes = self.codes.axes
        return Flow(layers, axes.mean, axes.std, axes.basis).eval().requires_grad_(False)


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """A study with read-outs and logs in its folder."""
    study = Small(tmp_path / "run")
    weight = torch.zeros(len(ATTRIBUTES), ROWS * 512)
    weight[torch.arange(len(ATTRIBUTES)), torch.arange(len(ATTRIBUTES)) % AXES] = 2.0
    # Numbers that no code varies along keep attributes of the same number apart.
    weight[:, 512 : 512 + len(ATTRIBUTES)] = torch.eye(len(ATTRIBUTES))
    for space in Space:
        readout = Classifiers(weight, torch.zeros(len(ATTRIBUTES)))
        save_readout(study.readout_path(space), readout, np.linspace(0, 1, 101), 1.0, {}, {})
    line = {"train_total": 2.0, "total": 1.0, "attribute": 0.3, "distance": 0.02, "scale": 0.01}
    for name in ("flow", "flow_id"):
        lines = [json.dumps({"step": step, **line}) for step in (10, 20)]
        study.path(f"{name}.jsonl").write_text("\n".join(lines))
    return study


def report(study: Small) -> dict[str, Any]:
    """What an evaluation says: of edits, by the real one; of attributes, made up."""
    flows = {space.value: study.flow(space) for space in Space}
    readouts = {space.value: load_readout(study.readout_path(space)) for space in Space}
    swept = ("Smiling", "Eyeglasses")
    edits = editing_report(study, flows, readouts, 2, swept, swept, encoded=False)
    accuracy = {space.value: {"accuracy": {"value": 0.123}} for space in Space}
    return {
        "editing": json.loads(json.dumps(edits)),
        "attributes": {name: {"spaces": accuracy} for name in ATTRIBUTES},
    }


def words(path: Path) -> str:
    """The text of an SVG."""
    return path.read_text()


def drawn(small: Small, names: list[str], output: Path) -> set[str]:
    """Draw figures of a measured study; the names of their files."""
    draw(Source(small, report(small)), names, output)
    for path in output.glob("*.svg"):
        assert "small world" in words(path)
    stems = {path.stem for path in output.iterdir()}
    assert {path.name for path in output.iterdir()} == {
        f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")
    }
    return stems


def test_written_files_go_to_standard_output(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "figures"
    stems = drawn(small, ["scatter", "triplets", "curves"], output)
    assert stems == {"scatter", "triplets", "curves"}
    assert {Path(line) for line in capsys.readouterr().out.splitlines()} == set(output.iterdir())


@pytest.mark.slow
def test_every_figure_of_a_measured_study_is_drawn(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "figures"
    stems = drawn(small, list(FIGURES), output)
    assert "left out" not in capsys.readouterr().err
    assert {"scatter", "histograms", "triplets", "tsne", "losses", "curves"} <= stems
    assert {"edits-Smiling", "edits-Male", "leakage-W_PLUS", "leakage-W_STAR_ID"} <= stems
    assert "SVM 0.123" in words(output / "tsne.svg")


def test_what_was_not_measured_is_said_and_left_out(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(Source(small, None), ["leakage", "tsne", "curves"], tmp_path / "figures")
    said = capsys.readouterr()
    assert said.err.count("left out: no evaluation.json") == 2
    told = re.findall(r"SVM (\d\.\d+)", words(tmp_path / "figures" / "tsne.svg"))
    # Signs of numbers of a code are told by a plane, up to what 60 codes allow.
    assert len(told) == 12 and min(map(float, told)) > 0.6
    draw(Source(small, {"attributes": {}}), ["curves"], tmp_path / "figures")
    assert "measures no edits" in capsys.readouterr().err


def test_logs_alone_need_no_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = Small(tmp_path)
    draw(Source(study, None), ["losses"], tmp_path)
    assert "no training log" in capsys.readouterr().err
    (tmp_path / "flow_id.jsonl").write_text('{"step": 5, "total": 1.0, "attribute": 0.2}\n')
    draw(Source(study, None), ["losses"], tmp_path)
    assert "W*_ID" in words(tmp_path / "losses.svg")


def test_a_figure_that_does_not_exist_is_refused_with_those_that_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figures", "--run", str(tmp_path), "--only", "losses", "loss"]) == 2
    error = capsys.readouterr().err
    assert "found 'loss'" in error and all(name in error for name in FIGURES)


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figures", "--run", str(tmp_path)]) == 1
    assert "no run was begun here" in capsys.readouterr().err


def test_a_report_that_is_none_is_refused(tmp_path: Path) -> None:
    assert read_report(tmp_path / "evaluation.json") is None
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(CheckpointError, match="not a report"):
        read_report(tmp_path / "evaluation.json")


def test_distances_are_those_of_the_judge_at_the_served_scale_and_of_whole_codes(
    small: Small,
) -> None:
    w, flow = small.codes.w["test"], small.flow(Space.W_STAR)
    found = distances({Space.W_STAR: flow}, w, small.judge, 7.0, small.faces("test"), 25)
    anchor, first, second = found.triplets.T
    pictures = small.faces("test")
    with torch.no_grad():
        wanted = 0.7 * small.judge(pictures(anchor), pictures(second)).numpy()
        moved = flow(w)
    # float32 features, summed in another order.
    np.testing.assert_allclose(found.perceptual[:, 1], wanted, rtol=1e-4)
    latent = (moved[anchor] - moved[first]).square().mean((1, 2)).numpy()
    np.testing.assert_allclose(found.latent[Space.W_STAR][:, 0], latent, rtol=1e-5)
    assert len(found.triplets) == 25
    with pytest.raises(NothingToDraw, match="3 test faces"):
        distances({}, w[:2], small.judge, 7.0, pictures, 25)


def test_attributes_that_everyone_has_are_not_shown() -> None:
    has = np.zeros((4, len(ATTRIBUTES)), bool)
    has[:, ATTRIBUTES.index("Male")] = True
    has[0, ATTRIBUTES.index("Young")] = True
    assert told_apart(has, ("Male", "Young"), 4) == [ATTRIBUTES.index("Young")]
    with pytest.raises(NothingToDraw, match="Male"):
        told_apart(has, ("Male",), 4)
