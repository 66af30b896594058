"""Latent against perceptual distance, pair by pair (Fig. 5 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import spearmanr

from wstar.graphs import Space
from wstar_training.evaluation.metrics import Float64, pearson
from wstar_training.figures.style import INK, SPACES, Heading, aside, new_figure, panels

_PANEL_IN = 3.1
# Beyond this share of the pairs the axes would only show outliers.
_SHOWN = 0.998


def scatter(world: str, perceptual: Float64, latent: Mapping[Space, Float64]) -> Figure:
    """One panel per space; the line is where D* equals the perceptual distance.

    Parameters
    ----------
    world: name of the study. perceptual: d of each pair, (P,). latent: D* of the same pairs, (P,).
    """
    shown = [perceptual, *latent.values()]
    limit = 1.05 * max(float(np.quantile(values, _SHOWN)) for values in shown)
    outside = np.any([values > limit for values in shown], axis=0).sum()
    details = f"{len(perceptual)} pairs of test pictures, which trained nothing"
    figure = new_figure(
        _PANEL_IN * len(latent), _PANEL_IN + 0.2,
        Heading(
            "Distance in the latent space and to the eye", world,
            details + (f"; {outside} outside the axes" if outside else ""),
        ),
    )  # fmt: skip
    for axes, (space, found) in zip(
        panels(figure, 1, len(latent), sharey=True)[0], latent.items(), strict=True
    ):
        look = SPACES[space]
        axes.plot([0, limit], [0, limit], color=INK, linewidth=1.0)
        axes.text(
            0.97 * limit, 0.9 * limit, "D* = d", size=8, rotation=45, ha="right", va="center",
            rotation_mode="anchor",
        )  # fmt: skip
        axes.scatter(
            perceptual, found, s=7, color=look.color, alpha=0.35, linewidths=0, rasterized=True
        )
        axes.set(xlim=(0, limit), ylim=(0, limit), aspect="equal", title=look.label)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("perceptual distance d (scaled)")
        order = float(spearmanr(perceptual, found).statistic)
        aside(axes, f"Pearson {pearson(found, perceptual):.3f}, Spearman {order:.3f}")
    figure.axes[0].set_ylabel("latent distance D* (mean square)")
    return figure
