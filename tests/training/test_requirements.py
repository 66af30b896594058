"""What an evaluation is held to: read, refused, met or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wstar.errors import InvalidInput
from wstar_training.cli import main
from wstar_training.evaluation.requirements import (
    MAIN,
    explained,
    failures,
    main_figures,
    requirement,
)


def report(value: float | None) -> dict[str, Any]:
    """A report of which every main figure is `value`."""
    made: dict[str, Any] = {}
    for place, _ in MAIN.values():
        *path, last = place.split(".")
        inner = made
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = {"value": value, "low": None, "high": None}
    return made


@pytest.mark.parametrize(
    ("text", "name", "at_least", "value"),
    [
        ("two_alternative.input>=0.83", "two_alternative.input", True, 0.83),
        (" svm.avg >= .9 ", "svm.avg", True, 0.9),
        ("std_ratio.regenerated<=5e-1", "std_ratio.regenerated", False, 0.5),
        ("attributes.worse<=0", "attributes.worse", False, 0.0),
        ("svm.gain>=-0.005", "svm.gain", True, -0.005),
    ],
)
def test_a_requirement_is_read(text: str, name: str, at_least: bool, value: float) -> None:
    read = requirement(text)
    assert (read.name, read.at_least, read.value) == (name, at_least, value)
    assert requirement(str(read)) == read


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("two_alternative.input", "NAME>=VALUE"),
        ("two_alternative.input>0.5", "NAME>=VALUE"),
        ("two_alternative.input=0.5", "NAME>=VALUE"),
        ("two_alternative.input>=high", "VALUE a number"),
        ("two_alternative.input>=nan", "VALUE a number"),
        ("two_alternative>=0.5", "two_alternative.input, "),
        ("spaces.W_STAR.svm.avg>=0.5", "two_alternative.input, "),
    ],
)
def test_what_is_no_requirement_is_refused(text: str, allowed: str) -> None:
    with pytest.raises(InvalidInput) as error:
        requirement(text)
    assert allowed in str(error.value)


def test_bounds_are_kept_up_to_themselves() -> None:
    assert requirement("svm.avg>=0.5").met(0.5) and not requirement("svm.avg>=0.5").met(0.4999)
    assert requirement("svm.avg<=0.5").met(0.5) and not requirement("svm.avg<=0.5").met(0.5001)
    # What could not be measured is not met, whichever way.
    assert not requirement("svm.avg<=0.5").met(float("nan"))


def test_failures_say_what_was_found_and_wanted() -> None:
    required = [requirement("svm.avg>=0.5"), requirement("svm.min>=0.9")]
    assert failures(required, report(0.75)) == ["svm.min: found 0.75, wanted svm.min >= 0.9"]
    assert len(failures(required, report(None))) == 2


def test_every_main_figure_is_found_and_explained() -> None:
    assert main_figures(report(0.25)) == dict.fromkeys(MAIN, 0.25)
    assert all(name in explained() for name in MAIN)


@pytest.mark.parametrize("text", ["nothing>=1", "svm.avg", "svm.avg>=much"])
def test_the_command_refuses_before_it_measures(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder holds no run: what is wrong with the requirement is said first."""
    assert main(["evaluate", "--run", str(tmp_path), "--require", text]) == 2
    assert "require: found" in capsys.readouterr().err


def test_the_help_lists_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in MAIN)
    assert "  3    `evaluate`" in text
