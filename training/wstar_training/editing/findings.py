"""What every way to edit did, attribute by attribute, and the tables that it adds up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.geometry import sigmoid
from wstar_training.editing.comparison import COMPARED, Edits, compared, joined
from wstar_training.editing.edits import Bools, Edit, Float64
from wstar_training.editing.equal_change import at_change
from wstar_training.editing.sweep import Effects, Sitting, Sweep, effects
from wstar_training.evaluation.metrics import averages

# Strengths that the leakage matrices show, and wanted probabilities whose agreement is told.
MATRIX_STEP, MATRIX_PROBABILITY = 3.0, 0.99
AGREEMENT = (0.9, 0.99)
CHANGES = (0.1, 0.3, 0.5, 0.7, 0.9)
# The curve follows edits up to here, the same ones all the way.
CURVE_END = 0.7

_MATRICES = (("step", MATRIX_STEP), ("targeted", MATRIX_PROBABILITY))
_TARGETED = ("W_STAR_ID", "targeted")
# Of the 1600 numbers of a matrix.
_DECIMALS = 4


@dataclass(frozen=True)
class Way:
    """A way to edit in a space.

    kind: "step", "targeted" or "held". strengths: those of swept attributes. others: those of the
    other attributes.
    """

    space: str
    kind: str
    edit: Edit
    strengths: tuple[float, ...]
    others: tuple[float, ...]

    @property
    def name(self) -> str:
        """Space and kind."""
        return f"{self.space} {self.kind}"


def main_ways(ways: Sequence[Way]) -> list[str]:
    """Those that one table compares: steps in every space, and targeted edits in W*_ID."""
    return [w.name for w in ways if w.kind == "step" or (w.space, w.kind) == _TARGETED]


class Findings:
    """What is found, attribute by attribute."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self.ways = ways
        self.sweeps: dict[str, dict[str, Any]] = {way.name: {} for way in ways}
        self.targeted: dict[str, dict[str, dict[str, Any]]] = {}
        self.leakage: dict[str, dict[str, dict[str, Float64]]] = {}
        self.edits: dict[float, dict[str, list[Edits]]] = {
            change: {way.name: [] for way in ways} for change in CHANGES
        }
        self.faces: dict[str, NDArray[np.int64]] = {}

    def add(self, way: Way, sitting: Sitting, seen: Sweep) -> None:
        """Take in what a way did to an attribute that its space can tell."""
        means = _over_faces(effects(sitting, seen))
        self.sweeps[way.name][sitting.name] = {
            "faces": len(sitting.faces),
            "strength": seen.strengths[1:],
            **{key: None if mean is None else mean[1:] for key, mean in means.items()},
        }
        for row, strength in enumerate(seen.strengths.tolist()):
            if way.kind == "targeted" and strength in AGREEMENT:
                figures = {key: None if mean is None else mean[row] for key, mean in means.items()}
                each = self.targeted.setdefault(way.space, {}).setdefault(str(strength), {})
                each[sitting.name] = {"faces": len(sitting.faces), **figures}
            if (way.kind, strength) in _MATRICES:
                spaces = self.leakage.setdefault(way.kind, {})
                if way.space not in spaces:
                    empty = np.full((len(ATTRIBUTES), len(ATTRIBUTES)), np.nan)
                    spaces[way.space] = {"absolute": empty, "signed": empty.copy()}
                change = sigmoid(seen.logits[row]) - sigmoid(sitting.logits)
                matrices = spaces[way.space]
                signed = sitting.sign[:, None] * change
                for key, values in (("absolute", np.abs(change)), ("signed", signed)):
                    matrices[key][sitting.column] = values.mean(0).round(_DECIMALS)

    def compare(self, sitting: Sitting, seen: Mapping[str, Sweep]) -> None:
        """Take in what every way did to a swept attribute."""
        self.faces[sitting.name] = sitting.faces
        for change, edits in self.edits.items():
            for way in self.ways:
                edits[way.name].append(at_change(sitting, seen[way.name], change))

    def tables(self, faces: int) -> dict[str, Any]:
        """All of it, JSON-able but for arrays; `faces` is the size of the pool."""
        for space in self.targeted.values():
            for each in space.values():
                each["mean"] = _mean_figures(list(each.values()))
        return {
            "targeted": self.targeted,
            "sweeps": self.sweeps,
            "leakage": {
                "attributes": list(ATTRIBUTES),
                "strength": dict(_MATRICES),
                **self.leakage,
            },
            **self._equal_change(faces),
        }

    def _equal_change(self, count: int) -> dict[str, Any]:
        main = main_ways(self.ways)
        if not self.faces:
            return {"main": main, "equal_change": {}, "curves": {}}
        faces = np.concatenate(list(self.faces.values()))
        attribute = np.repeat(list(self.faces), [len(rows) for rows in self.faces.values()])
        tables: dict[str, Any] = {}
        each = {
            change: {name: joined(parts) for name, parts in edits.items()}
            for change, edits in self.edits.items()
        }
        for change, edits in each.items():
            tables[str(change)] = compared(edits, main, faces, count)
            tables[str(change)]["by_attribute"] = {
                one: {
                    name: float(way.reached[attribute == one].mean()) for name, way in edits.items()
                }
                for one in self.faces
            }
        followed = np.all([each[CURVE_END][name].reached for name in main], axis=0)
        return {"main": main, "equal_change": tables, "curves": _curves(each, main, followed)}


def _curves(
    each: Mapping[float, Mapping[str, Edits]], main: Sequence[str], followed: Bools
) -> dict[str, Any]:
    """Means of the followed edits at every change up to the last one that all of them reach."""
    changes = [change for change in each if change <= CURVE_END]
    weights = followed[None].astype(np.float64)

    def mean(way: str, key: str) -> list[float] | None:
        values = [getattr(each[change][way].effects, key) for change in changes]
        if values[0] is None or not followed.any():
            return None
        return [float(averages(weights, value)[0]) for value in values]

    ways = {way: {key: mean(way, key) for key in COMPARED} for way in main}
    return {"edits": int(followed.sum()), "change": changes, "ways": ways}


def _over_faces(found: Effects) -> dict[str, Float64 | None]:
    """Means over faces, (S,) each."""
    values = {field.name: getattr(found, field.name) for field in fields(Effects)}
    return {key: None if value is None else value.mean(-1) for key, value in values.items()}


def _mean_figures(each: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The mean over attributes of every figure."""
    keys = [key for key in each[0] if key != "faces"]
    return {
        key: None if each[0][key] is None else float(np.mean([e[key] for e in each]))
        for key in keys
    }
