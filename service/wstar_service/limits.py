"""What the server refuses instead of trying: too many calls at once, too much in one call."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

from wstar.errors import InvalidInput, LimitExceeded, Overloaded
from wstar_service.stages import QUEUE, stage

RETRY_AFTER_S = 0.5


class Admission:
    """Places for the calls worked on, and a short queue in front of them.

    Who finds the queue full is told at once and can go elsewhere. Who waits and gives up, or
    whose deadline passes, leaves the queue. Places go to whoever waits longest. Used from the
    event loop only.

    max_concurrency: places. max_queue: calls that may wait for one.
    max_per_caller: most calls of one named caller, waiting or worked on; None for no bound.
    queued: counts a call while it waits.
    """

    def __init__(
        self,
        max_concurrency: int,
        max_queue: int,
        max_per_caller: int | None,
        queued: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._max_concurrency = max_concurrency
        self._max_queue = max_queue
        self._max_per_caller = max_per_caller
        self._queued = queued
        self._places = asyncio.Semaphore(max_concurrency)
        self._waiting = 0
        self._callers: Counter[str] = Counter()

    @asynccontextmanager
    async def place(self, caller: str | None) -> AsyncIterator[None]:
        """Hold a place, after waiting for it if need be; raises Overloaded without waiting."""
        if caller is not None and self._callers[caller] == self._max_per_caller:
            raise Overloaded(
                f"the limit of {self._max_per_caller} calls at once for one token", RETRY_AFTER_S
            )
        full = self._places.locked()
        if full and self._waiting >= self._max_queue:
            raise Overloaded(
                f"the limit of {self._max_concurrency} calls at once and {self._max_queue} waiting",
                RETRY_AFTER_S,
            )
        with self._counted(caller):
            if full:
                await self._wait()
            else:
                await self._places.acquire()
            try:
                yield
            finally:
                self._places.release()

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            with self._queued(), stage(QUEUE):
                await self._places.acquire()
        finally:
            self._waiting -= 1

    @contextmanager
    def _counted(self, caller: str | None) -> Iterator[None]:
        """Count one call of a named caller; names without calls are forgotten."""
        if caller is None:
            yield
            return
        self._callers[caller] += 1
        try:
            yield
        finally:
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]


def check_batch(field: str, found: int, max_batch: int, unit: str = "faces") -> None:
    """Refuse an empty list and one above `max_batch`: InvalidInput, LimitExceeded."""
    if found == 0:
        raise InvalidInput(field, "nothing", f"1 to {max_batch} {unit}")
    if found > max_batch:
        raise LimitExceeded(field, found, max_batch, unit)
