"""How far an encoding is: in place on a terminal, now and then a line elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

_TERMINAL_S = 0.2
_LINES_S = 10.0
_FORMAT = "{n_fmt}/{total_fmt} pictures, {rate_noinv_fmt}, {remaining} left{postfix}"


class _Lines:
    """A stream that gives each state of the bar a line of its own: logs know no carriage return."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if state := text.strip("\r\n "):
            self._stream.write(state + "\n")

    def flush(self) -> None:
        self._stream.flush()


@contextmanager
def shown(stream: TextIO, total: int, done: int) -> Iterator[Callable[[int, int], None]]:
    """Show progress on a stream; gives the function to call with pictures done and skipped.

    done: of earlier runs; it does not count for the rate.
    """
    terminal = stream.isatty()
    bar = tqdm(
        total=total,
        initial=done,
        unit=" pictures",
        file=stream if terminal else _Lines(stream),
        mininterval=_TERMINAL_S if terminal else _LINES_S,
        miniters=1,
        dynamic_ncols=terminal,
        bar_format=("{l_bar}{bar}| " if terminal else "") + _FORMAT,
    )

    def update(done: int, skipped: int) -> None:
        if skipped:
            bar.set_postfix_str(f"{skipped} skipped", refresh=False)
        bar.update(done - bar.n)

    with bar:
        yield update
