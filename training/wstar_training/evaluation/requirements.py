"""What an evaluation must find: `NAME>=VALUE` or `NAME<=VALUE`, NAME one of its main figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wstar.errors import InvalidInput
from wstar_training.editing.reached import TOLERANCE
from wstar_training.evaluation.yardsticks import TARGETS

_REQUIREMENT = re.compile(r"\s*(?P<name>[\w.]+)\s*(?P<sign>>=|<=)\s*(?P<value>\S+)\s*")
_ALLOWED = "NAME>=VALUE or NAME<=VALUE"
# Not of every report: edits on request, equal labels of what is served.
_LEFT_OUT = ("editing", "all_labels")

_DISTANCE = {
    "two_alternative": "2AFC over triplets",
    "pearson": "correlation of distances over pairs",
    "spearman": "correlation of their ranks",
    "kendall": "Kendall's tau-b",
    "r2": "share of the variance of perceptual distance explained by W*'s as it is",
    "slope": "slope of perceptual distance on W*'s, ideally 1",
}


def _names() -> dict[str, tuple[str, str]]:
    """Name to its place in the report and what it is."""
    star, edits, found = "spaces.W_STAR", "editing.reached.W_STAR_ID", {}
    for target in TARGETS:
        of = f"; {target} pictures"
        for name, text in _DISTANCE.items():
            found[f"{name}.{target}"] = (f"{star}.distance.{target}.{name}", text + of)
        found[f"std_ratio.{target}"] = (
            f"{star}.gain.std_ratio.{target}", "STD by that of W+ after its best rescale" + of
        )  # fmt: skip
        found[f"ceiling.two_alternative.{target}"] = (
            f"ceiling.distance.{target}.two_alternative", "2AFC of a free network" + of
        )  # fmt: skip
    return found | {
        "svm.avg": (f"{star}.svm.avg", "SVM accuracy, average over attributes"),
        "svm.min": (f"{star}.svm.min", "SVM accuracy of the worst attribute"),
        "svm.balanced": (f"{star}.svm.balanced", "balanced SVM accuracy, average"),
        "svm.auc": (f"{star}.svm.auc", "area under the SVMs' ROC curves, average"),
        "svm.gain": (f"{star}.gain.svm.avg", "average SVM accuracy minus that of W+"),
        "attributes.worse": (
            f"{star}.gain.attributes.worse", "attributes significantly below W+ (McNemar, Holm)"
        ),
        "attributes.better": (f"{star}.gain.attributes.better", "and significantly above it"),
        "svm.gain_all_labels": (
            f"{star}.all_labels.gain.svm.avg",
            "svm.gain with SVMs of both fitted on T's codes too",
        ),
        "attributes.worse_all_labels": (
            f"{star}.all_labels.gain.attributes.worse",
            "attributes.worse with those",
        ),
        "dci.disentanglement": (f"{star}.dci.disentanglement", "D"),
        "dci.completeness": (f"{star}.dci.completeness", "C, plain mean over attributes"),
        "dci.informativeness": (f"{star}.dci.informativeness", "I, an error"),
        "dci.gain": (f"{star}.gain.dci.disentanglement", "D minus that of W+ along the same axes"),
        "ceiling.gain": (
            "ceiling.attributes.gain.avg", "ceiling.attributes minus SVMs in W+ on the same labels"
        ),
        "ceiling.attributes": (
            "ceiling.attributes.all.avg", "average accuracy of a free network on all labelled codes"
        ),
        "round_trip": (f"{star}.round_trip", "largest error of T⁻¹(T(w)) by the spread of w"),
        "round_trip.id": ("spaces.W_STAR_ID.round_trip", "the same of W*_ID"),
        "edits.within": (
            f"{edits}.within", f"share of targeted edits in W*_ID that come within {TOLERANCE} of "
            "the probability wanted, at the worst of those wanted"
        ),
        "edits.worst": (f"{edits}.worst", "the largest distance to it of any"),
    }  # fmt: skip


MAIN = _names()


@dataclass(frozen=True)
class Requirement:
    """A main figure and the bound that it must keep."""

    name: str
    at_least: bool
    value: float

    def __str__(self) -> str:
        return f"{self.name} {'>=' if self.at_least else '<='} {self.value:g}"

    def met(self, found: float) -> bool:
        """Whether a figure keeps the bound; one that could not be measured does not."""
        return found >= self.value if self.at_least else found <= self.value


def requirement(text: str) -> Requirement:
    """Read `NAME>=VALUE` or `NAME<=VALUE`.

    Raises
    ------
    InvalidInput: it is neither, or no main figure has that name.
    """
    match = _REQUIREMENT.fullmatch(text)
    if match is None:
        raise InvalidInput("require", text, _ALLOWED)
    if match["name"] not in MAIN:
        raise InvalidInput("require", match["name"], ", ".join(MAIN))
    try:
        value = float(match["value"])
    except ValueError as error:
        raise InvalidInput("require", text, f"{_ALLOWED}, VALUE a number") from error
    if value != value:
        raise InvalidInput("require", text, f"{_ALLOWED}, VALUE a number")
    return Requirement(match["name"], match["sign"] == ">=", value)


def main_figures(report: Mapping[str, Any]) -> dict[str, float]:
    """The main figures of a report by name; NaN for what could not be measured."""
    found = {}
    for name, (place, _) in MAIN.items():
        value: Any = report
        for key in place.split("."):
            if value is not None:
                value = value.get(key) if key in _LEFT_OUT else value[key]
        if isinstance(value, Mapping):
            value = value["value"]
        elif isinstance(value, list):
            value = len(value)
        found[name] = float("nan") if value is None else float(value)
    return found


def failures(required: Iterable[Requirement], report: Mapping[str, Any]) -> list[str]:
    """A line for every requirement that a report does not meet: what was found, what was wanted."""
    found = main_figures(report)
    return [
        f"{each.name}: found {found[each.name]:.4g}, wanted {each}"
        for each in required
        if not each.met(found[each.name])
    ]


def explained() -> str:
    """The main figures, a line each."""
    width = max(map(len, MAIN))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in MAIN.items()]
    return "\n".join(["main figures, of W* where nothing else is said:", *lines])
