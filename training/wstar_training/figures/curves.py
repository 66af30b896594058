"""Leakage and identity at equal achieved change, way by way of editing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from wstar_training.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    VERMILLION,
    Heading,
    Look,
    new_figure,
    panels,
)

# By way, as the report names them. Open markers: the same space with hyperplanes made for edits.
WAYS: Mapping[str, Look] = {
    "W_PLUS step": Look("W+, step", VERMILLION, "s", "--"),
    "W_PLUS_FOR_EDITS step": Look("W+, step, planes made for edits", VERMILLION, "v", ":"),
    "W_STAR step": Look("W*, step", BLUE, "o", "-"),
    "W_STAR_ID step": Look("W*_ID, step", GREEN, "^", "-."),
    "W_STAR_ID targeted": Look("W*_ID, targeted", BLACK, "D", ":"),
}


@dataclass(frozen=True)
class Curve:
    """One way of editing: lists of the same length, by growing strength.

    change: achieved change of the target's probability. leakage: mean |change| of the others.
    identity: mean cosine to the reconstruction; None where no network tells faces apart.
    """

    change: Sequence[float]
    leakage: Sequence[float]
    identity: Sequence[float] | None


def curves(world: str, details: str, ways: Mapping[str, Curve]) -> Figure:
    """Left: leakage, lower is better. Right: identity, higher is better.

    ways: named as in `WAYS`.
    """
    identities = [curve.identity for curve in ways.values()]
    told = all(identity is not None for identity in identities)
    figure = new_figure(
        7.6 if told else 4.6, 3.5, Heading("Edits at equal achieved change", world, details)
    )
    left, *right = panels(figure, 1, 2 if told else 1)[0]
    for name, curve in ways.items():
        look = WAYS[name]
        for axes, values in zip((left, *right), (curve.leakage, curve.identity), strict=False):
            axes.plot(
                curve.change, values or [], color=look.color, linestyle=look.dashes,
                marker=look.marker, label=look.label, fillstyle=_filling(name),
            )  # fmt: skip
    left.set(title="Leakage (lower is better)", ylabel="mean |change| of other attributes")
    left.set_ylim(bottom=0.0)
    for axes in right:
        axes.set(title="Identity (higher is better)", ylabel="cosine to the reconstruction")
    for axes in (left, *right):
        axes.set_xlabel("achieved change of the target's probability")
        axes.grid(axis="y")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=3 if told else 2)
    return figure


def _filling(way: str) -> str:
    return "none" if "FOR_EDITS" in way else "full"
