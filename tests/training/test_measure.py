"""A study measured: a small one whose T is made by hand, and runs reopened by the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.training.small_study import ROWS, SIDE, Painter, SmallStudy
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar.errors import CheckpointError
from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.cli import main
from wstar_training.commands.opening import open_study
from wstar_training.demo.sizes import remember
from wstar_training.demo.train_demo import World
from wstar_training.evaluation.measure import measure, measure_baseline, on_all_labels, plain
from wstar_training.evaluation.metrics import REDRAWS
from wstar_training.evaluation.report import markdown, show
from wstar_training.evaluation.requirements import MAIN, main_figures
from wstar_training.evaluation.space import as_figure
from wstar_training.evaluation.yardsticks import TARGETS, labelled, probe_faces, yardsticks
from wstar_training.learning.codes import Batch, Codes, load_codes, save_codes
from wstar_training.learning.config import FlowOptions
from wstar_training.models.flow import Coupling, Flow, half_masks
from wstar_training.readout.fitted import Bools
from wstar_training.study.stages import CodeSplit, Study, flow_stages

AXES = 5
COUNTS: dict[CodeSplit, int] = {"flow": 120, "probe": 90, "test": 80}


@dataclass(frozen=True)
class Small(SmallStudy):
    """A study without files of its own: codes in five dimensions, attributes that are signs."""

    run: Path
    looks: list[int] = field(default_factory=list)

    labels = {"world": "a small world"}
    referee = nn.Identity()
    identity_referee = None

    @cached_property
    def codes(self) -> Codes:
        """Codes of a fixed draw."""
        path = self.path("codes.pt")
        if not path.exists():
            random = torch.Generator().manual_seed(0)
            axes = torch.zeros(AXES, ROWS * 512)
            axes[:, :12] = torch.randn(AXES, 12, generator=random)
            w: dict[str, Tensor] = {
                split: (torch.randn(count, AXES, generator=random) @ axes).unflatten(1, (ROWS, 512))
                for split, count in COUNTS.items()
            }
            save_codes(path, w, "flow", AXES)
        return load_codes(path)

    def attributes(self, split: CodeSplit) -> Bools:
        """Attribute k is the sign of number k mod 12 of a code; the last one nobody has."""
        flat = self.codes.w[split].flatten(1)[:, np.arange(len(ATTRIBUTES)) % 12].numpy()
        return np.asarray(flat > 0) & (np.arange(len(ATTRIBUTES)) < len(ATTRIBUTES) - 1)

    def faces(self, split: CodeSplit) -> Batch:
        """Pictures as G makes them, with a little noise."""

        def batch(rows: NDArray[np.int64]) -> Tensor:
            self.looks.append(len(rows))
            noise = torch.randn(COUNTS[split], 3, SIDE, SIDE, generator=torch.Generator())
            some = torch.from_numpy(rows)
            drawn: Tensor = Painter()(self.codes.w[split][some])
            return (drawn + 0.05 * noise[some]).clamp(-1, 1)

        return batch

    @property
    def flow_options(self) -> Mapping[Space, FlowOptions]:
        """Only their steps count here."""
        options = FlowOptions(couplings=2, steps=20, batch=8)
        return {Space.W_STAR: options, Space.W_STAR_ID: options}


def bent(study: Study, seed: int = 0) -> Flow:
    """A T that is no identity."""
    torch.manual_seed(seed)
    axes = study.codes.axes
    couplings = [Coupling(mask, 8) for mask in half_masks(AXES, 2, seed)]
    for coupling in couplings:
        nn.init.normal_(coupling.t[4].weight, std=0.5)  # type: ignore[arg-type]
    return Flow(couplings, axes.mean, axes.std, axes.basis).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A small study up to its features."""
    study = Small(tmp_path_factory.mktemp("small"))
    _ = study.codes
    dict(flow_stages(study))["features.pt"]()
    return study


@pytest.fixture(scope="module")
def report(small: Small) -> dict[str, Any]:
    """W+, the same W+ by another name, and a T that is neither."""
    flows = {
        "W_STAR": bent(small),
        "W_STAR_ID": bent(small, 1),
        "same": small.flow(Space.W_PLUS),
    }
    return dict(plain(measure(small, flows)))


def test_a_report_is_plain_data_with_every_main_figure(report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    # All but those that only a whole evaluation has.
    unknown = {name for name, value in main_figures(report).items() if value != value}
    assert unknown == {
        "svm.gain_all_labels", "attributes.worse_all_labels", "edits.within", "edits.worst"
    }  # fmt: skip
    assert set(main_figures(report)) == set(MAIN)
    assert report["world"] == "a small world"
    assert list(report["spaces"]) == ["W_PLUS", "W_STAR", "W_STAR_ID", "same"]
    assert report["codes"]["svm"] == {"fit": 90, "test": 80}


def test_a_space_that_is_w_plus_gains_nothing(report: dict[str, Any]) -> None:
    """Differences are paired, so even their intervals are of no width."""
    same = report["spaces"]["same"]
    none = {"value": 0.0, "low": 0.0, "high": 0.0}
    for target in TARGETS:
        gain = same["gain"]["distance"][target]
        assert gain["two_alternative"] == gain["pearson"] == gain["kendall"] == none
    assert same["gain"]["svm"]["avg"] == none
    assert same["gain"]["attributes"] == {"better": [], "worse": []}
    assert same["gain"]["dci"]["disentanglement"]["value"] == 0.0
    for attribute in report["attributes"].values():
        assert attribute["spaces"]["same"]["p_holm"] == 1.0
        assert attribute["spaces"]["W_STAR"]["gain"] is not None


def test_gaps_and_gains_are_differences_of_what_is_shown(report: dict[str, Any]) -> None:
    star, plus = report["spaces"]["W_STAR"], report["spaces"]["W_PLUS"]
    for target in TARGETS:
        for name, gap in star["distance_gap"][target].items():
            own, fresh = (star[key][target][name] for key in ("distance_train", "distance"))
            assert gap["value"] == pytest.approx(own["value"] - fresh["value"])
        ratio = star["gain"]["std_ratio"][target]["value"]
        wanted = star["distance"][target]["std"]["value"]
        assert ratio == pytest.approx(wanted / plus["distance"][target]["std_rescaled"]["value"])
    assert star["gain"]["svm"]["avg"]["value"] == pytest.approx(
        star["svm"]["avg"]["value"] - plus["svm"]["avg"]["value"]
    )
    # Its own best scale is what W+ is rescaled by.
    for name in ("mean", "std"):
        figures = plus["distance"]["input"]
        assert figures[f"{name}_w_plus_scale"]["value"] == pytest.approx(
            figures[f"{name}_rescaled"]["value"]
        )


def test_equal_labels_are_equal_in_both_spaces(small: Small, report: dict[str, Any]) -> None:
    base = measure_baseline(small)
    same = on_all_labels(small, small.flow(Space.W_PLUS), base)
    assert same["svm"] == report["linear"]
    assert same["gain"]["attributes"] == {"better": [], "worse": []}
    assert same["gain"]["svm"]["avg"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    # W+ on fewer labels is not the same.
    assert report["spaces"]["W_PLUS"]["gain_by_labels"]["svm"]["avg"]["value"] != 0.0
    w_plus = small.flow(Space.W_PLUS)
    fit = probe_faces(small, w_plus).fit
    every = labelled(small, w_plus, fit)
    assert len(every) == small.trained + len(fit)
    assert (every.y[small.trained :] == fit.y).all()
    star = {**report["spaces"]["W_STAR"], "all_labels": same}
    text = markdown({**report, "spaces": {**report["spaces"], "W_STAR": star}})
    assert "| W\\*, T's codes too | W+, T's codes too | 0 | 0 |" in text


def test_what_does_not_depend_on_a_flow_is_looked_at_once(small: Small) -> None:
    before = len(small.looks)
    again = measure(small, {"W_STAR": bent(small)})
    assert len(small.looks) == before
    assert set(again["spaces"]) == {"W_PLUS", "W_STAR"}


def test_what_is_kept_is_made_again_for_other_codes(small: Small, tmp_path: Path) -> None:
    run = shutil.copytree(small.run, tmp_path / "run")
    study = Small(run)
    yardsticks(study)
    assert not study.looks
    content = checkpoint.load(run / "features.pt")
    checkpoint.save(run / "features.pt", {**content, "scale": 2.0 * content["scale"]})
    other = yardsticks(study)
    assert study.looks
    first = yardsticks(small).perceptual["test", "input"]
    np.testing.assert_allclose(other.perceptual["test", "input"].pairs, 2.0 * first.pairs)


def test_spaces_are_redrawn_by_the_same_pictures(small: Small) -> None:
    weights = yardsticks(small).drawn["test"].pairs
    assert weights.shape[0] == 1 + REDRAWS and (weights[0] == 1).all()
    assert (weights == yardsticks(small).drawn["test"].pairs).all()


def test_splits_of_the_probes_are_disjoint(small: Small) -> None:
    faces = probe_faces(small, small.flow(Space.W_PLUS))
    parts = (faces.fit, faces.test, faces.own_fit, faces.own_test)
    every = np.concatenate([part.y for part in parts])
    assert len(np.unique(every, axis=0)) == len(every)
    # T's own codes, without those that validate it, cut as the others are.
    assert len(faces.own_fit) + len(faces.own_test) == small.trained
    assert len(faces.own_fit) / small.trained == pytest.approx(90 / 170, abs=0.01)


def test_dci_is_along_the_axes_of_w_plus_whatever_the_layout(small: Small) -> None:
    rows = Flow([], small.codes.axes.mean, 2.0, None)
    assert probe_faces(small, rows).fit.y.shape == (90, ROWS * 512)
    seen = probe_faces(small, rows, dci_axes=True)
    wanted = probe_faces(small, small.flow(Space.W_PLUS))
    # float32 codes against their axes.
    np.testing.assert_allclose(seen.fit.y, wanted.fit.y, atol=1e-4)


def test_tables_name_the_world_and_every_space(report: dict[str, Any]) -> None:
    text = markdown(report)
    assert text.startswith("# Evaluation: a small world")
    for words in ("| W+ |", "| W\\* |", "| same |", "free MLP", "Spearman", "(Holm)", "base rate"):
        assert words in text
    widths = {}
    for block in text.split("\n\n"):
        if block.startswith("|"):
            widths[block] = {line.replace("\\|", "").count("|") for line in block.splitlines()}
    assert len(widths) > 8 and all(len(width) == 1 for width in widths.values())


def test_a_figure_is_shown_with_what_is_known_of_it() -> None:
    assert show(as_figure(np.array([0.5, 0.4, 0.6])), 1) == "0.5 [0.4, 0.6]"
    assert show({"value": 0.5, "low": None, "high": None}) == "0.500"
    assert show({"value": None, "low": None, "high": None}) == "–"
    assert show(1.0, 2, unit=4.0) == "0.25"


def test_a_demo_world_is_reopened(tmp_path: Path) -> None:
    sizes = remember(tmp_path, "quick")
    assert open_study(tmp_path) == World(tmp_path, sizes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no run was begun here"),
        ("{", "not the options of a run"),
        ("{}", "neither of a demo world nor of own files"),
        ('{"sha256": {}, "settings": {}}', "run its `wstar-train flow` command once more"),
    ],
)
def test_a_folder_that_holds_no_run_is_refused(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "options.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        open_study(tmp_path)
    assert main(["evaluate", "--run", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
