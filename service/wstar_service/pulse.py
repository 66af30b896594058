"""Whether a process lives and is ready: told by its event loop, asked by the pages over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableSequence

_EVERY_S = 1.0
# A loop that stood still for so long is stuck: the work of the loop takes milliseconds.
_ALIVE_S = 30.0
# Numbers that one pulse takes in `cells`: the time of the last beat, and 1 for ready.
CELLS = 2


class Pulse:
    """The pulse of one process, in two numbers that another process may share.

    cells: numbers in memory, `CELLS` per pulse; None for some of its own.
    place: whose numbers they are, counted from 0.
    """

    def __init__(self, cells: MutableSequence[float] | None = None, place: int = 0) -> None:
        self._cells = [0.0] * CELLS if cells is None else cells
        self._place = CELLS * place
        self.start()

    def start(self) -> None:
        """Count a process as living, not ready, from now on."""
        self.set_ready(False)
        self.beat()

    def beat(self) -> None:
        """Tell that the event loop runs."""
        # CLOCK_MONOTONIC, which is one for all processes of a machine.
        self._cells[self._place] = time.monotonic()

    async def beating(self) -> None:
        """Beat every second until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(_EVERY_S)

    def set_ready(self, ready: bool) -> None:
        """Tell whether calls are answered."""
        self._cells[self._place + 1] = float(ready)

    def alive(self) -> bool:
        """Whether the event loop beat within the last 30 s."""
        return time.monotonic() - self._cells[self._place] <= _ALIVE_S

    def ready(self) -> bool:
        """Whether calls are answered."""
        return self._cells[self._place + 1] > 0.0
