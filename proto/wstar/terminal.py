"""Answers on a terminal: tables with rules, in its width; progress while it waits.

Colour says nothing that the text does not say too. Without rich, or into a pipe, it is the
aligned text of `wstar.tables`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from wstar.tables import Table, plain, printable

if TYPE_CHECKING:
    from rich.console import Console

# What rules and padding add to a column's width.
_FRAME = 3


def show(parts: Sequence[Table | str]) -> None:
    """Print tables and paragraphs to stdout."""
    if not _rich_on(sys.stdout):
        print(plain(parts))
        return
    from rich.console import Console
    from rich.text import Text

    # The lines of a table are its own: emphasis of numbers would be noise.
    console = Console(file=sys.stdout, highlight=False)
    for number, part in enumerate(parts):
        if number:
            console.print()
        if isinstance(part, str):
            console.print(Text(part))
        else:
            for fitting in _fitting(part, console.width):
                _show_table(fitting, console)


def say(text: str) -> None:
    """Print one line to stderr, above a progress bar if there is one."""
    print(f"wstar: {printable(text)}", file=sys.stderr)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show on stderr how many of `total` are done; yields what to call after each.

    Only in a terminal, and only with rich; `say` prints above it.
    """
    if not _rich_on(sys.stderr):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    # stdout stays as it is, for pipes; what goes to stderr meanwhile is put above the bar.
    with Progress(
        *(TextColumn(what), BarColumn(), MofNCompleteColumn(), Left(elapsed_when_finished=True)),
        console=Console(file=sys.stderr),
        redirect_stdout=False,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def _rich_on(stream: TextIO) -> bool:
    return (
        stream.isatty()
        and os.environ.get("TERM") != "dumb"
        and importlib.util.find_spec("rich") is not None
    )


def _show_table(table: Table, console: Console) -> None:
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=box.ROUNDED, header_style="bold")
    for column, name in enumerate(table.header):
        left = column in table.text
        drawn.add_column(
            Text(name),
            justify="left" if left else "right",
            no_wrap=not left,
            overflow="fold",
            style="cyan" if column == 0 else "",
        )
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    console.print(drawn)


def _fitting(table: Table, width: int) -> Iterator[Table]:
    """Split a table that is too wide by its columns, each part with the first column."""
    from rich.cells import cell_len

    widths = [
        max(map(cell_len, column)) + _FRAME
        for column in zip(table.header, *table.rows, strict=True)
    ]
    # Text folds, so it need not fit; but half of the width is left to figures.
    for column in table.text:
        widths[column] = min(widths[column], width // 2 - 1)
    columns: list[int] = []
    used = widths[0] + 1
    for column, needed in enumerate(widths[1:], start=1):
        if columns and used + needed > width:
            yield _part(table, columns)
            columns, used = [], widths[0] + 1
        columns.append(column)
        used += needed
    yield _part(table, columns)


def _part(table: Table, columns: Sequence[int]) -> Table:
    kept = [0, *columns]
    return Table(
        [table.header[column] for column in kept],
        [[row[column] for column in kept] for row in table.rows],
        [index for index, column in enumerate(kept) if column in table.text],
    )
