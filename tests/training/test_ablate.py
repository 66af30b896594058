"""An ablation: its tables, from made-up measurements."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from wstar.errors import CheckpointError
from wstar_training.ablation.jobs import FREE, jobs, measurement, shortened, time_left
from wstar_training.ablation.paper import NOT_AT_HAND, PAPER_FIGURES, WORLD, paper_figure
from wstar_training.ablation.tables import TABLES, label, markdown, over_seeds, summary
from wstar_training.ablation.variants import VARIANTS, Variant, variant
from wstar_training.cli import main
from wstar_training.demo.sizes import QUICK
from wstar_training.demo.train_demo import World
from wstar_training.evaluation.yardsticks import TARGETS
from wstar_training.learning.config import FlowOptions


def figure(value: float | None) -> dict[str, float | None]:
    """A figure without an interval."""
    return {"value": value, "low": None, "high": None}


def distances(value: float) -> dict[str, Any]:
    """What a report says of distances; the mean of d is 2."""
    return {
        "mean_wanted": 2.0,
        "paper": {"mean": 2.0 * value, "std": 4.0 * value},
        **{key: figure(value) for key in ("two_alternative", "pearson", "spearman")},
    }


def measured(name: str, value: float) -> dict[str, Any]:
    """What is kept of a training all of whose figures are `value`; those of W+ are 0.5."""

    def space(value: float) -> dict[str, Any]:
        return {
            "svm": {key: figure(value) for key in ("min", "max", "avg", "balanced", "auc")},
            "svm_gap": {"avg": figure(value)},
            "dci": {
                key: figure(value) for key in ("disentanglement", "completeness", "informativeness")
            },
            "round_trip": value,
            "distance": {target: distances(value) for target in TARGETS},
            "distance_gap": {target: {"two_alternative": figure(value)} for target in TARGETS},
            "gain": {
                "attributes": {"better": list("abc"), "worse": ["d"]},
                "std_ratio": {target: figure(None) for target in TARGETS},
            },
            "gain_by_labels": {"attributes": {"better": ["a"], "worse": []}},
        }

    free = space(0.9)
    raw = {target: {"mean": 7.0, "std": 8.0} for target in TARGETS}
    return {
        "options": asdict(FlowOptions(couplings=13, steps=50)),
        "report": {
            "world": "demo world: made up",
            "codes": {
                "t_trained_on": 10, "svm": {"fit": 8, "test": 2}, "distance": {"pictures": 2}
            },
            "spaces": {"W_PLUS": space(0.5), name: space(value)},
            "ceiling": {**free, "attributes": {"all": free["svm"]}},
        },
        "unscaled": {"W_PLUS": raw, name: raw, FREE: raw},
        "identity": {"W_PLUS": 0.5, name: value},
    }  # fmt: skip


def made_up(names: tuple[str, ...], seeds: int = 2, steps: int | None = None) -> dict[str, Any]:
    """The summary of trainings whose figures are 0.6 plus a tenth of their seeds."""
    found = {}
    for job in jobs(Path("run"), [variant(name) for name in names], range(seeds), steps):
        found[job] = measured(job.name, 0.6 + 0.1 * job.seed)
    return summary(found, steps)


def rows(text: str, title: str) -> list[list[str]]:
    """Cells of the table under a heading, its first lines left out."""
    section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_a_table_puts_every_space_of_the_world_above_that_of_the_paper() -> None:
    text = markdown(made_up(tuple(one.name for one in VARIANTS)))
    for one in TABLES:
        found = rows(text, one.title)
        assert f"## {one.title}\n\n{one.compares}\n\n|" in text
        # W+ and the free network stand in each.
        assert found[0][0] == "W+" and found[-1][0].startswith("free MLP")
        of = [row[1] for row in found]
        if one.paper:
            beside = [variant(name).ours for name in one.variants]
            rows_of = [["demo world"] if ours else ["demo world", WORLD] for ours in beside]
            assert of == ["demo world", WORLD, *itertools.chain(*rows_of), "demo world"]
        else:
            assert set(of) == {"demo world"}
        assert {len(row) for row in found} == {2 + len(one.columns)}
        shown = [row[0].partition(":")[0] for row in found if row[1] == "demo world"]
        assert shown[1:-1] == list(one.variants)


def test_figures_are_means_and_ranges_over_seeds() -> None:
    text = markdown(made_up(("H", "L3"), seeds=3))
    table = {row[0].partition(":")[0]: row for row in rows(text, "Table 2") if row[1] != WORLD}
    # Mean and STD in units of the mean of d, 2.
    assert table["H"][2:] == ["0.700 [0.600, 0.800]"] * 7 + [
        "1.400 [1.200, 1.600]", "0.700 [0.600, 0.800]",
    ]  # fmt: skip
    assert table["W+"][2:] == ["0.500"] * 7 + ["1.000", "0.500"]
    assert table["free MLP, not invertible"][5:8] == ["–"] * 3
    assert "Not trained here: L4, R, 1R." in text
    # One seed has no range.
    assert rows(markdown(made_up(("H",), seeds=1)), "Table 1")[2][2] == "0.600"


def test_settings_of_every_variant_stand_above_the_tables() -> None:
    text = markdown(made_up(("H", "ID1")))
    lines = text.partition("\n## ")[0].splitlines()
    assert (
        "| H: high capacity: 13 couplings | 13 | 50 | 0.0001 | 8 | 10 | 0 | 0.1 | half | free |"
        in lines
    )
    assert len([line for line in lines if line.startswith("|")]) == 4


def test_tables_without_a_variant_are_left_out() -> None:
    text = markdown(made_up(("R",)))
    assert "## Table 2" in text and "## Table 1" not in text and "## Table 3" not in text


def test_a_trial_is_called_one_everywhere() -> None:
    found = made_up(("H",), steps=5)
    text = markdown(found)
    assert label(found) == "demo world, trial"
    assert "**A trial: training was cut to at most 5 steps.**" in text
    assert {row[1] for row in rows(text, "Table 1")} == {"demo world, trial", WORLD}


def test_the_paper_says_what_is_known_and_nothing_else() -> None:
    text = markdown(made_up(tuple(one.name for one in VARIANTS)))
    told = [
        cell for one in TABLES for row in rows(text, one.title) if row[1] == WORLD
        for cell in row[2:] if cell != NOT_AT_HAND
    ]  # fmt: skip
    assert {cell.partition(" ")[0] for cell in told} == {one.text for one in PAPER_FIGURES}
    columns = {key for one in TABLES for key in one.columns}
    names = {"W_PLUS"} | {one.name for one in VARIANTS}
    for letter, one in zip("abcd", PAPER_FIGURES, strict=True):
        assert one.column in columns and one.row in names
        assert paper_figure(one.row, one.column) is one
        assert f"{one.text} ({letter})" in told and f"- ({letter}) {one.text}: {one.what}" in text
    assert paper_figure("H", "svm_avg") is None


def test_the_papers_means_of_w_plus_are_of_one_distance() -> None:
    """D* − 10 d and D* − d with the latent 2.30 and the perceptual 0.35 of checkpoints.md."""
    scaled, plain = (paper_figure("W_PLUS", f"{key}.input") for key in ("mean", "mean_unscaled"))
    assert scaled is not None and plain is not None
    perceptual = (plain.value - scaled.value) / 9.0
    # Half of the last digit that is stated.
    assert perceptual == pytest.approx(0.35, abs=0.005)
    assert plain.value + perceptual == pytest.approx(2.30, abs=0.005)


def test_a_figure_that_a_seed_cannot_tell_is_unknown() -> None:
    found = over_seeds([1.0, 2.0, 4.5])
    assert found == {
        "mean": 2.5, "low": 1.0, "high": 4.5, "sd": pytest.approx(1.80278, abs=1e-5),
        "by_seed": [1.0, 2.0, 4.5],
    }  # fmt: skip
    assert over_seeds([1.0, None])["mean"] is None
    one = over_seeds([3.0])
    assert (one["mean"], one["low"], one["sd"]) == (3.0, None, None)


def test_a_summary_is_plain_data() -> None:
    found = made_up(("H", "ID1"))
    assert json.loads(json.dumps(found, allow_nan=False))["rows"] == found["rows"]
    assert found["seeds"] == [0, 1] and list(found["rows"]) == ["W_PLUS", "H", "ID1", FREE]


def test_the_time_left_is_that_of_each_variant() -> None:
    assert time_left({}, ["H", "A"]) is None
    assert time_left({"H": [10.0, 20.0]}, ["H", "H"]) == 30.0
    # One of which nothing is known takes what a variant usually does.
    assert time_left({"H": [10.0], "L3": [2.0]}, ["L3", "A"]) == 8.0


def test_all_variants_of_a_seed_come_before_the_next_seed() -> None:
    wanted = jobs(Path("run"), VARIANTS[:2], [3, 5])
    assert [job.name for job in wanted] == ["H-seed3", "L3-seed3", "H-seed5", "L3-seed5"]
    assert {job.folder.parent for job in wanted} == {Path("run/ablation")}
    trial = jobs(Path("run"), VARIANTS[:1], [3], steps=7)
    assert trial[0].folder == Path("run/ablation/trial-7-steps/H-seed3")


@pytest.mark.parametrize("one", VARIANTS, ids=lambda one: one.name)
def test_a_trial_only_cuts_steps(one: Variant, tmp_path: Path) -> None:
    world = World(tmp_path, QUICK)
    whole, short = one.options(world, 1), shortened(one, 4).options(world, 1)
    differing = {f.name for f in fields(whole) if getattr(whole, f.name) != getattr(short, f.name)}
    assert short.steps == 4 and differing == {"steps"}
    assert shortened(one, 10**6).options(world, 1) == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seeds", "-1"], "seeds: found -1"), (["--steps", "0"], "1 or more")],
)
def test_wrong_usage_is_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["ablate", "--run", str(tmp_path), *arguments]
    try:
        code = main(command)
    except SystemExit as exit:
        code = int(exit.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err


def test_what_was_measured_of_another_flow_is_not_read(tmp_path: Path) -> None:
    job = jobs(tmp_path, [variant("H")], [0])[0]
    made_from = {"flow.pt": "one", "yardsticks.pt": "two"}
    assert measurement(job, made_from) is None
    job.folder.mkdir(parents=True)
    path = job.folder / "measured.json"
    path.write_text(json.dumps({"made_from": made_from, "report": {}}))
    assert measurement(job, made_from) == {"made_from": made_from, "report": {}}
    for name in made_from:
        assert measurement(job, {**made_from, name: "another"}) is None
    path.write_text("[")
    with pytest.raises(CheckpointError, match="not what an ablation measured"):
        measurement(job, made_from)
