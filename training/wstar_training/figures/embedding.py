"""Codes on a plane by t-SNE, coloured by attributes (Fig. 7 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from wstar.graphs import Space
from wstar_training.evaluation.metrics import Bools
from wstar_training.figures.style import BLUE, SPACES, Heading, new_figure, panels

_WITHOUT = "#D9B48F"
_PANEL_IN = 1.95
_PERPLEXITY = 30.0


def on_a_plane(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """t-SNE of codes (N, n, 512), averaged over their rows as in the paper; (N, 2), no unit."""
    averaged = codes.mean(1)
    # Below about 90 codes the usual perplexity asks for more neighbours than there are.
    perplexity = min(_PERPLEXITY, (len(averaged) - 1) / 3.0)
    plane: NDArray[np.float32] = TSNE(
        perplexity=perplexity, init="pca", random_state=0
    ).fit_transform(averaged)
    return plane


def embedding(
    world: str,
    planes: Mapping[Space, NDArray[np.float32]],
    attributes: Mapping[str, Bools],
    accuracy: Mapping[Space, Sequence[float]],
) -> Figure:
    """One row per space, one column per attribute.

    Parameters
    ----------
    planes: positions (N, 2) by space. attributes: which of the codes have it, (N,), by name.
    accuracy: of a linear SVM on whole codes, one per attribute, by space.
    """
    count = len(next(iter(attributes.values())))
    details = (
        f"t-SNE of {count} test codes averaged over their rows; accuracy of a linear SVM on "
        "whole codes it was not fitted on; axes have no unit"
    )
    figure = new_figure(
        _PANEL_IN * len(attributes) + 0.3, (_PANEL_IN + 0.15) * len(planes) + 0.5,
        Heading("Attributes in the latent spaces", world, details),
    )  # fmt: skip
    grid = panels(figure, len(planes), len(attributes))
    for row, (space, plane) in zip(grid, planes.items(), strict=True):
        for column, (axes, (name, has)) in enumerate(zip(row, attributes.items(), strict=True)):
            # Told apart by lightness and by shape, not by hue alone; the rarer lie on top.
            kinds = [(~has, _WITHOUT, "o", 5), (has, BLUE, "^", 7)]
            for some, color, marker, size in sorted(kinds, key=lambda kind: -int(kind[0].sum())):
                x, y = plane[some].T
                axes.scatter(
                    x, y, s=size, c=color, marker=marker, linewidths=0, alpha=0.8,
                    rasterized=True,
                )  # fmt: skip
            axes.set(xticks=[], yticks=[])
            below = f"SVM {accuracy[space][column]:.3f}"
            axes.set_xlabel(f"{below}\nt-SNE 1" if row is grid[-1] else below)
            if row is grid[0]:
                axes.set_title(f"{name.replace('_', ' ')} ({has.mean():.0%})")
        row[0].set_ylabel(f"{SPACES[space].label}\nt-SNE 2", weight="bold")
    handles = [
        figure.axes[0].scatter([], [], s=30, c=color, marker=marker, label=label)
        for label, color, marker in (("has it", BLUE, "^"), ("has it not", _WITHOUT, "o"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
