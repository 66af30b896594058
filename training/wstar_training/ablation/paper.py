"""The paper's own figures that are known here, each with what it is.

Only those that a document of this project states; every other cell of the paper's tables is "not at
hand". They are of CelebA-HQ, never of the world that T is trained in here.
"""

from __future__ import annotations

from dataclasses import dataclass

WORLD = "paper, CelebA-HQ"
NOT_AT_HAND = "not at hand"


@dataclass(frozen=True)
class PaperFigure:
    """A cell of the paper's tables.

    row: `W_PLUS`, or the name of a variant. column: as in `tables.TABLES`.
    text: the figure with the paper's digits. what: its unit, and what is not known of it.
    """

    row: str
    column: str
    text: str
    what: str

    @property
    def value(self) -> float:
        """The figure as a number."""
        return float(self.text)


PAPER_FIGURES = (
    PaperFigure(
        "W_PLUS",
        "mean.input",
        "-1.185",
        "mean of D\\* − d itself, not in units of the mean of d; d times 10",
    ),
    PaperFigure(
        "W_PLUS", "mean_unscaled.input", "1.95", "mean of D\\* − d itself, d without the factor 10"
    ),
    PaperFigure("W_PLUS", "i", "0.30", "an error: it fits RMSE over labels 0 and 1"),
    PaperFigure(
        "H",
        "two_alternative.input",
        "0.83",
        "stated for W\\*; of which capacity is not said, high capacity is assumed",
    ),
)


def paper_figure(row: str, column: str) -> PaperFigure | None:
    """The paper's figure of a cell; None where it is not at hand."""
    for one in PAPER_FIGURES:
        if (one.row, one.column) == (row, column):
            return one
    return None
