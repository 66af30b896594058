"""Sheets of pictures with words between them, laid out in pixels of the PNG."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from wstar.images import RGB
from wstar_training.figures.style import DPI, Heading, new_figure

# Side of a picture, and the distance from one picture to the next.
CELL = 128
PITCH = 142
# Distance of two lines of words.
LINE = 21


class Sheet:
    """A figure of so many pixels below its heading; x to the right, y down."""

    def __init__(self, width: int, height: int, heading: Heading) -> None:
        self.pixels = np.full((height, width, 3), 255, np.uint8)
        self.figure: Figure = new_figure(width / DPI, height / DPI, heading)
        share = height / DPI / self.figure.get_figheight()
        self.figure.set_layout_engine("none")
        self.axes: Axes = self.figure.add_axes((0.0, 0.0, 1.0, share))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.set_axis_off()

    def picture(self, x: int, y: int, picture: RGB) -> None:
        """Put a picture uint8 (S, S, 3) of any side with its corner at (x, y)."""
        self.pixels[y : y + CELL, x : x + CELL] = cell(picture)

    def text(self, x: float, y: float, words: str, **how: object) -> None:
        """Put words below (x, y), in the middle unless `how` says otherwise."""
        self.axes.text(x, y, words, **{"ha": "center", "va": "top", "size": 8, **how})  # type: ignore[arg-type]

    def done(self) -> Figure:
        """The figure, pictures included."""
        height, width, _ = self.pixels.shape
        # One pixel of the sheet is one of the PNG: nothing is resampled.
        self.axes.imshow(
            self.pixels, extent=(0, width, height, 0), interpolation="none", aspect="auto", zorder=0
        )
        return self.figure


def cell(picture: RGB) -> NDArray[np.uint8]:
    """A picture at the side of a cell, uint8 (CELL, CELL, 3)."""
    resampling = Image.Resampling.BICUBIC if len(picture) < CELL else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize((CELL, CELL), resampling))
