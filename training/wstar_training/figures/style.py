"""The look of every figure, and its two files: PNG and SVG with the same bytes every time.

Figures are made without pyplot and inside `style()`, so that no global state changes.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from wstar.files import write_file
from wstar.graphs import Space

# Okabe & Ito 2008. Only these four: any two stay far apart for every common kind of colour vision.
VERMILLION, BLUE, GREEN, BLACK = PALETTE = ("#D55E00", "#0072B2", "#009E73", "#000000")
INK, QUIET, FAINT = "#222222", "#555555", "#C8C8C8"

# Pixels per inch of a PNG: twice what a page shows.
DPI = 150
# A page is slow with larger PNGs: they are written in multiples of 4, white kept, or 256 colours.
_LARGEST_BYTES = 400_000
_COARSE = [min(255, (level + 2) // 4 * 4) for level in range(256)]
_SETTLES = 2
_HEAD_IN = 0.30
_LINE_IN = 0.19
# At 9 pt a line of DejaVu Sans holds about 14 characters per inch.
_CHARACTERS_PER_INCH = 13.5

_LOOK: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "svg.fonttype": "none",  # text stays text: searched, read aloud, tested
    "svg.hashsalt": "wstar",  # the same element names in every run
}


@dataclass(frozen=True)
class Look:
    """How one series is told from the others: by colour, and by marker and dashes."""

    label: str
    color: str
    marker: str
    dashes: str


SPACES: Mapping[Space, Look] = {
    Space.W_PLUS: Look("W+", VERMILLION, "s", "--"),
    Space.W_STAR: Look("W*", BLUE, "o", "-"),
    Space.W_STAR_ID: Look("W*_ID", GREEN, "^", "-."),
}


@dataclass(frozen=True)
class Heading:
    """What stands above a figure: what it shows in bold, then where it is from and how much of it.

    world: such as `demo world` (see `world_name`).
    """

    title: str
    world: str
    details: str


def world_name(labels: Mapping[str, str]) -> str:
    """Name the world of a study by its labels: the demo world, or the files it was made with."""
    if "world" in labels:
        return labels["world"].partition(":")[0]
    return f"{labels['pictures']} pictures encoded by {labels['encoder']}"


@contextmanager
def style() -> Iterator[None]:
    """Draw and write in our look, whatever the user's settings are; they come back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_LOOK)
        yield


def new_figure(width_in: float, height_in: float, heading: Heading) -> Figure:
    """An empty figure of these inches, the heading above them; what is added fits itself in."""
    columns = int((width_in - 0.2) * _CHARACTERS_PER_INCH)
    lines = textwrap.wrap(f"{heading.world}; {heading.details}", columns)
    head_in = _HEAD_IN + _LINE_IN * len(lines) + 0.08
    total_in = height_in + head_in
    figure = Figure((width_in, total_in), dpi=DPI, layout="constrained")
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0.0, 0.0, 1.0, height_in / total_in))
    left = 0.1 / width_in
    top = 1.0 - 0.08 / total_in
    figure.text(left, top, heading.title, size=11, weight="bold", va="top")
    for number, line in enumerate(lines):
        down = (0.08 + 0.24 + _LINE_IN * number) / total_in
        figure.text(left, 1.0 - down, line, color=QUIET, va="top")
    # Names the SVG, where it is read aloud.
    figure.set_label(f"{heading.title}. {heading.world}; {heading.details}")
    return figure


def panels(figure: Figure, rows: int, columns: int, **shared: bool) -> list[list[Axes]]:
    """Axes of a figure, by row and column; `shared` may say sharex or sharey."""
    grid = figure.subplots(rows, columns, squeeze=False, **shared)  # type: ignore[call-overload]
    return [list(row) for row in grid]


def aside(axes: Axes, words: str) -> None:
    """Write figures above axes, at their right end: nothing drawn can lie below them."""
    axes.set_title(words.replace("-", "−"), loc="right", weight="normal", size=8.5)


def write(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `name`.png and `name`.svg into a folder, each whole or not at all; their paths.

    To be called inside the `style()` that the figure was drawn in.
    """
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        # Axes of a fixed aspect move their own margins: the layout settles, then both files use it.
        for _ in range(_SETTLES):
            figure.draw_without_rendering()
        figure.set_layout_engine("none")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    for path, content in zip(paths, (_png(figure), _svg(figure)), strict=True):
        write_file(path, content)
    return paths


def _png(figure: Figure) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, facecolor="white")
    picture = Image.open(drawn).convert("RGB")
    packed = _packed(picture)
    if len(packed) > _LARGEST_BYTES:
        # Many photographs: no one sees a step of 4 levels in 255.
        packed = _packed(picture.point(_COARSE * 3))
    if len(packed) > _LARGEST_BYTES:
        # Many points in few colours.
        palette = picture.quantize(dither=Image.Dither.NONE)
        packed = _packed(palette)
    return packed


def _packed(picture: Image.Image) -> bytes:
    packed = io.BytesIO()
    picture.save(packed, "PNG", optimize=True, dpi=(DPI, DPI))
    return packed.getvalue()


def _svg(figure: Figure) -> bytes:
    text = io.BytesIO()
    metadata = {"Date": None, "Creator": None, "Title": str(figure.get_label())}
    figure.savefig(text, format="svg", dpi=DPI, facecolor="white", metadata=metadata)
    return text.getvalue()
