"""Tables as data, and as aligned text: what a pipe gets and any terminal can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Table:
    """One header, and rows of as many cells.

    text: indices of the columns that hold text, to the left; the others hold figures.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        """Make every cell printable: a file may have any name."""
        object.__setattr__(self, "header", list(map(printable, self.header)))
        object.__setattr__(self, "rows", [list(map(printable, row)) for row in self.rows])


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows under a header: the first column to the left, the others to the right."""
    return aligned(Table(header, rows))


def aligned(table: Table) -> str:
    """Lay out one table in columns two spaces apart."""
    widths = [max(map(len, column)) for column in zip(table.header, *table.rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = []
    for row in (table.header, rule, *table.rows):
        cells = [
            cell.ljust(width) if column in table.text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def plain(parts: Sequence[Table | str]) -> str:
    """Write tables and paragraphs one below the other."""
    return "\n\n".join(part if isinstance(part, str) else aligned(part) for part in parts)


def figure(value: float | None) -> str:
    """Write a measured number with four significant digits; nothing for None.

    What rounding leaves of an exact 0 is shown as 0.
    """
    if value is None:
        return ""
    return f"{value:.4g}" if abs(value) >= _ROUNDING else "0"


def printable(text: str) -> str:
    """Write what is no printable character, as what steers a terminal, by its code."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
