"""What an edit of one attribute does to the others: a K x K heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from wstar_training.evaluation.metrics import Float64
from wstar_training.figures.style import FAINT, Heading, new_figure, panels

# One scale for all heat maps: from what no one notices to what everyone does.
LOW, HIGH = 0.003, 0.3
NAMES: Mapping[str, str] = {
    "W_PLUS": "W+",
    "W_PLUS_FOR_EDITS": "W+, planes made for edits",
    "W_STAR": "W*",
    "W_STAR_ID": "W*_ID",
}

_CELL_IN = 0.145


def leakage(heading: Heading, attributes: Sequence[str], matrix: Float64) -> Figure:
    """Rows are edited, columns are looked at.

    Parameters
    ----------
    attributes: K names. matrix: mean |change of probability| that the referee sees, (K, K); NaN
    for what was not edited.
    """
    names = [name.replace("_", " ") for name in attributes]
    count = len(names)
    side = _CELL_IN * count
    figure = new_figure(side + 2.8, side + 1.6, heading)
    axes = panels(figure, 1, 1)[0][0]
    # The diagonal is what was wanted: it stands apart, as a number.
    shown = np.where(np.eye(count, dtype=bool), np.nan, matrix)
    axes.set_facecolor(FAINT)
    image = axes.imshow(
        np.clip(shown, LOW, HIGH), norm=LogNorm(LOW, HIGH), cmap="viridis", interpolation="none"
    )
    axes.set_xticks(range(count), names, rotation=90)
    axes.set_yticks(range(count), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="seen to change", ylabel="edited")
    for row, own in enumerate(matrix.diagonal()):
        words = "–" if np.isnan(own) else f"{own:.2f}"
        axes.text(count + 0.3, row, words, size=8, va="center", clip_on=False)
    axes.text(count + 0.3, -1.0, "own", size=8, weight="bold", va="center")
    bar = figure.colorbar(image, ax=axes, shrink=0.5, pad=0.01, aspect=25, extend="both")
    bar.set_ticks([0.003, 0.01, 0.03, 0.1, 0.3], labels=["0.003", "0.01", "0.03", "0.1", "0.3"])
    bar.minorticks_off()
    bar.set_label("mean |change of probability| (log scale)")
    return figure
