"""One attribute moved in faces, way by way (Figs. 3, 4 and 8 to 11 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from wstar.images import RGB
from wstar_training.figures.sheet import CELL, LINE, PITCH, Sheet
from wstar_training.figures.style import FAINT, QUIET, Heading

_NAMES = 122
_HEAD = 30
_ROW = CELL + 2 * LINE + 14
_GAP = 24


@dataclass(frozen=True)
class Edited:
    """A picture uint8 (S, S, 3), what was asked for, and what the referee sees of the attribute.

    asked: such as `step +3.1` or `to 0.99`. seen: probability, 0 to 1.
    """

    picture: RGB
    asked: str
    seen: float


@dataclass(frozen=True)
class EditedFace:
    """One face: as given, as G rebuilds it, and edited each way, least to most of the attribute.

    ways: name, such as `W+, step`, to as many pictures as any other way has.
    """

    originals: Sequence[Edited]
    ways: Sequence[tuple[str, Sequence[Edited]]]


def edits(world: str, attribute: str, faces: Sequence[EditedFace]) -> Figure:
    """A block of rows per face, a row per way, a column per strength."""
    strengths = len(faces[0].ways[0][1])
    ways = len(faces[0].ways)
    block = ways * _ROW + _GAP
    width = _NAMES + (strengths + 1) * PITCH + 30
    details = (
        f"{len(faces)} test faces; below each picture: what was asked for, and the probability "
        "that an independent referee sees"
    )
    heading = Heading(f"Edits of {attribute.replace('_', ' ')}", world, details)
    sheet = Sheet(width, _HEAD + len(faces) * block - _GAP, heading)
    edited_x = _NAMES + PITCH + 20
    sheet.text(_NAMES + CELL / 2, 0, "original", color=QUIET)
    sheet.text(edited_x + CELL / 2, 0, "← less", color=QUIET)
    sheet.text(edited_x + (strengths - 1) * PITCH + CELL / 2, 0, "more →", color=QUIET)
    for number, face in enumerate(faces):
        y = _HEAD + number * block
        if number:
            sheet.axes.plot([14, width - 14], [y - _GAP / 2 - 4] * 2, color=FAINT, linewidth=0.8)
        for line, original in enumerate(face.originals):
            _put(sheet, _NAMES, y + line * _ROW, original)
        for line, (name, strip) in enumerate(face.ways):
            top = y + line * _ROW
            sheet.text(
                14, top + CELL / 2, name.replace(", ", "\n"), ha="left", va="center", size=9,
                weight="bold", linespacing=1.3,
            )  # fmt: skip
            for column, edited in enumerate(strip):
                _put(sheet, edited_x + column * PITCH, top, edited)
    return sheet.done()


def _put(sheet: Sheet, x: int, y: int, edited: Edited) -> None:
    sheet.picture(x, y, edited.picture)
    sheet.text(x + CELL / 2, y + CELL + 4, edited.asked)
    sheet.text(x + CELL / 2, y + CELL + 4 + LINE, f"seen {edited.seen:.2f}", color=QUIET)
