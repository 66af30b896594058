"""What figures take from the report of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wstar.graphs import Space
from wstar_training.evaluation.metrics import Float64
from wstar_training.figures.curves import Curve
from wstar_training.figures.material import NothingToDraw

Report = Mapping[str, Any]


def svm_accuracies(report: Report, space: Space, attributes: Sequence[str]) -> list[float]:
    """Accuracy of the linear SVM of each attribute in a space."""
    found = report["attributes"]
    return [float(found[name]["spaces"][space.value]["accuracy"]["value"]) for name in attributes]


def editing(report: Report | None) -> Report:
    """What was measured of edits.

    Raises
    ------
    NothingToDraw: nothing was.
    """
    if report is None:
        raise NothingToDraw("no evaluation.json; `wstar-train evaluate` writes it")
    if "editing" not in report:
        raise NothingToDraw("evaluation.json measures no edits; `wstar-train evaluate` does")
    found: Report = report["editing"]
    return found


def leakage_matrices(edits: Report) -> dict[str, Float64]:
    """Mean |change of probability| after a step, (K, K) by space; NaN where nothing was edited."""
    found = {
        space: np.array(matrices["absolute"], np.float64)
        for space, matrices in edits["leakage"].get("step", {}).items()
    }
    if not found:
        raise NothingToDraw("no attribute was edited by steps")
    return found


def equal_change_curves(edits: Report) -> dict[str, Curve]:
    """Leakage and identity at growing change, by way of editing.

    Raises
    ------
    NothingToDraw: no edit reaches the largest change in every way.
    """
    found = edits["curves"]
    if not found.get("edits"):
        raise NothingToDraw("no edit reaches the largest change in every way")
    return {
        way: Curve(found["change"], figures["leakage"], figures["identity_reconstruction"])
        for way, figures in found["ways"].items()
    }
