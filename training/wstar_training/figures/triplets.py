"""Faces of which W+ and W* disagree which is nearer to another (Fig. 2 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from wstar.graphs import Space
from wstar.images import RGB
from wstar_training.evaluation.metrics import Float64, Int64
from wstar_training.figures.sheet import CELL, LINE, PITCH, Sheet
from wstar_training.figures.style import BLACK, QUIET, SPACES, Heading

_COLUMNS = 2
_MARGIN = 40
_BLOCK = (3 * PITCH + 50, CELL + 5 * LINE + 30)


@dataclass(frozen=True)
class Triplet:
    """An anchor and two candidates.

    pictures: uint8 (S, S, 3) each: anchor, first, second.
    perceptual: d of the anchor to either candidate, (2,). latent: D* likewise, by space.
    """

    pictures: Sequence[RGB]
    perceptual: Float64
    latent: Mapping[Space, Float64]


@dataclass(frozen=True)
class Disagreement:
    """Triplets in which W+ and W* name different candidates.

    rows: of the triplets, the clearest to the eye first. asked: how many triplets there were.
    right: in how many of `rows` W* names the candidate that is nearer to the eye.
    """

    rows: Int64
    asked: int
    right: int


def disagreement(perceptual: Float64, latent: Mapping[Space, Float64]) -> Disagreement:
    """Find them among distances (Q, 2) of anchors to their two candidates."""
    second = {space: found[:, 1] < found[:, 0] for space, found in latent.items()}
    rows = np.flatnonzero(second[Space.W_PLUS] != second[Space.W_STAR])
    difference = perceptual[rows, 1] - perceptual[rows, 0]
    clearest = np.argsort(-np.abs(difference) / perceptual[rows].mean(1), kind="stable")
    right = int((second[Space.W_STAR][rows] == (difference < 0)).sum())
    return Disagreement(rows[clearest], len(perceptual), right)


def triplets(world: str, shown: Sequence[Triplet], found: Disagreement) -> Figure:
    """Panels: first candidate, anchor, second candidate; who says which is nearer."""
    many = len(found.rows)
    details = (
        f"W+ and W* disagree in {many} of {found.asked} triplets, and W* is right in "
        f"{found.right} of those; shown are the {len(shown)} clearest to the eye; "
        "✓ nearer: by perceptual distance d"
    )
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    sheet = Sheet(
        2 * _MARGIN + columns * _BLOCK[0] - 50, rows * _BLOCK[1],
        Heading("Which of two faces is nearer to the one in the middle?", world, details),
    )  # fmt: skip
    for number, triplet in enumerate(shown):
        x = _MARGIN + (number % columns) * _BLOCK[0]
        _panel(sheet, x, (number // columns) * _BLOCK[1], triplet)
    return sheet.done()


def _panel(sheet: Sheet, x: int, y: int, triplet: Triplet) -> None:
    anchor, *candidates = triplet.pictures
    nearer = int(triplet.perceptual.argmin())
    left, middle, right = (x + column * PITCH for column in range(3))
    sheet.text(middle + CELL / 2, y, "anchor", color=QUIET)
    for side, (at, picture) in enumerate(zip((left, right), candidates, strict=True)):
        sheet.picture(at, y + LINE + 4, picture)
        words, weight = ("✓ nearer", "bold") if side == nearer else ("farther", "normal")
        sheet.text(at + CELL / 2, y, words, weight=weight)
        if side == nearer:
            sheet.axes.add_patch(
                Rectangle(
                    (at - 3, y + LINE + 1),
                    CELL + 6,
                    CELL + 6,
                    fill=False,
                    edgecolor=BLACK,
                    linewidth=2.0,
                    zorder=3,
                )  # fmt: skip
            )
    sheet.picture(middle, y + LINE + 4, anchor)
    down = y + LINE + CELL + 14
    _distances(sheet, x, down, "perceptual d", triplet.perceptual, None, BLACK)
    for line, (space, found) in enumerate(triplet.latent.items(), start=1):
        look = SPACES[space]
        agrees = int(found.argmin()) == nearer
        _distances(
            sheet, x, down + line * LINE, f"D* in {look.label}", found, agrees, look.color
        )  # fmt: skip


def _distances(
    sheet: Sheet, x: int, y: int, name: str, found: Float64, right: bool | None, color: str
) -> None:
    """One line: two distances, the smaller one bold with an arrow to it; and the verdict."""
    verdict = "" if right is None else (" ✓" if right else " ✗")
    sheet.text(x + PITCH + CELL / 2, y, name + verdict, color=color)
    smaller = int(found.argmin())
    for side, value in enumerate(found):
        words = f"{value:.3f}"
        if side == smaller:
            words = f"{words} ◀" if side == 0 else f"▶ {words}"
        sheet.text(
            x + 2 * side * PITCH + CELL / 2, y, words, color=color,
            weight="bold" if side == smaller else "normal",
        )  # fmt: skip
