"""How T was trained: its loss and the parts of it, step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from wstar.graphs import Space
from wstar_training.figures.style import BLACK, BLUE, GREEN, VERMILLION, Heading, new_figure, panels

Log = Sequence[Mapping[str, float]]

_PARTS = {
    "attribute": ("attributes, eq. 2", BLUE, "o"),
    "distance": ("distance, eq. 1", VERMILLION, "s"),
    "identity": ("identity, eq. 4", GREEN, "^"),
    "scale": ("mean of s²", BLACK, "D"),
}
_TITLES = {
    Space.W_STAR: "T of W*: eq. 3 and mean of s²",
    Space.W_STAR_ID: "T of W*_ID: eq. 5 and mean of s²",
}
_MARKS = 12
_FEW = 1e3


def read_log(path: Path) -> Log:
    """The lines of a training log, one per validation; one that a kill cut short is left out."""
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def losses(world: str, logs: Mapping[Space, Log]) -> Figure:
    """One row per space: the loss on training and held-out codes; and its parts, unweighted."""
    steps = " and ".join(f"{log[-1]['step']:.0f}" for log in logs.values())
    figure = new_figure(
        8.6, 2.45 * len(logs) + 0.2,
        Heading("Training of T", world, f"{steps} steps; parts are of held-out codes, unweighted"),
    )  # fmt: skip
    for (whole, parts), (space, log) in zip(
        panels(figure, len(logs), 2), logs.items(), strict=True
    ):
        _line(whole, log, "train_total", "training batch", VERMILLION, "s", "--")
        _line(whole, log, "total", "held-out codes", BLUE, "o", "-")
        best = min(log, key=lambda line: line["total"])
        whole.plot(
            best["step"], best["total"], "o", color=BLACK, markersize=11, fillstyle="none",
            label=f"kept: step {best['step']:.0f}",
        )  # fmt: skip
        whole.set_title(_TITLES[space])
        whole.legend(loc="upper right")
        for key, (label, color, marker) in _PARTS.items():
            _line(parts, log, key, label, color, marker, "-")
        parts.set_title("its parts")
        parts.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        for axes in (whole, parts):
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            # Plain numbers instead of powers of ten; over few decades at 1, 2 and 5 of each.
            subs = (1.0, 2.0, 5.0) if high < _FEW * low else (1.0,)
            axes.yaxis.set_major_locator(LogLocator(subs=subs))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set(xlabel="step", ylabel="loss (log scale)")
            axes.grid(axis="y")
    return figure


def _line(axes: Axes, log: Log, key: str, label: str, color: str, marker: str, dashes: str) -> None:
    """One curve, where the log has it; zeros have no place on a log scale."""
    points = [(line["step"], line[key]) for line in log if line.get(key, 0.0) > 0.0]
    if points:
        every = max(1, len(points) // _MARKS)
        axes.plot(
            *np.array(points).T, dashes, label=label, color=color, marker=marker, markevery=every
        )
