"""Latent minus perceptual distance (Fig. 6 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from wstar.graphs import Space
from wstar_training.evaluation.metrics import Float64, best_scale
from wstar_training.figures.style import INK, QUIET, SPACES, Heading, aside, new_figure, panels

_BINS = 45
_SHOWN = (0.005, 0.995)


def histograms(world: str, perceptual: Float64, latent: Mapping[Space, Float64]) -> Figure:
    """One row per space, on one scale; W+ stands there again after its best single factor.

    Parameters
    ----------
    world: name of the study. perceptual: d of each pair, (P,). latent: D* of the same pairs, (P,).
    """
    unit = float(perceptual.mean())
    rows: list[tuple[str, str, Float64]] = []
    for space, found in latent.items():
        look = SPACES[space]
        rows.append((look.label, look.color, (found - perceptual) / unit))
        if space is Space.W_PLUS:
            scale = best_scale(found, perceptual)
            label = f"{look.label} after its best rescale, × {scale:.3f}"
            rows.append((label, look.color, (scale * found - perceptual) / unit))
    low, high = np.quantile(np.concatenate([error for _, _, error in rows]), _SHOWN)
    bins = np.linspace(min(low, -0.01), max(high, 0.01), _BINS + 1)
    details = (
        f"{len(perceptual)} pairs of test pictures; 0 is a perfect distance; the outer 1 % is cut"
    )
    figure = new_figure(
        6.4, 1.15 * len(rows) + 0.45,
        Heading("Error of the latent distance", world, details),
    )  # fmt: skip
    for (axes,), (label, color, error) in zip(
        panels(figure, len(rows), 1, sharex=True, sharey=True), rows, strict=True
    ):
        plain = "rescale" not in label
        axes.hist(
            error, bins.tolist(), color=color if plain else "white", edgecolor=color, linewidth=0.8,
            hatch=None if plain else "//////", histtype="stepfilled",
        )  # fmt: skip
        axes.axvline(0, color=INK, linewidth=1.0)
        axes.set_title(label)
        axes.set_ylabel("pairs")
        aside(axes, f"mean {error.mean():+.3f}, STD {error.std():.3f}")
        axes.tick_params(axis="x", labelcolor=QUIET)
    figure.axes[-1].set_xlabel("(D* − d) / mean d")
    return figure
