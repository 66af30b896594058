"""Requests that Triton finishes though nobody waits for them any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from wstar.errors import DeadlineExceeded, Overloaded

Reply = TypeVar("Reply")

# So many that callers gave up may be under way; more is an engine that cannot follow.
MOST_GIVEN_UP = 64
_RETRY_AFTER_S = 0.5


class Finishing:
    """Lets callers leave, and leaves their requests alone.

    A gRPC call that is cancelled, or passes its deadline, just when tritonserver answers it can
    end tritonserver 2.51 with a segmentation fault: one impatient client would stop all. So no
    call is; what was given up is counted, and bounded.
    """

    def __init__(self) -> None:
        self._given_up: set[asyncio.Future[Any]] = set()

    async def waited(
        self, what: str, ask: Callable[[], Coroutine[Any, Any, Reply]], seconds: float | None
    ) -> Reply:
        """Ask and wait, so long at most; the caller's going does not end the request.

        Raises
        ------
        Overloaded: too many that were given up are still under way.
        DeadlineExceeded: the time is over.
        """
        if len(self._given_up) >= MOST_GIVEN_UP:
            raise Overloaded(f"{MOST_GIVEN_UP} given-up requests in Triton", _RETRY_AFTER_S)
        work = asyncio.ensure_future(ask())
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(work)
        except TimeoutError as error:
            text = f"{what}: the deadline passed before Triton answered"
            raise DeadlineExceeded(text) from error
        finally:
            if not work.done():
                self._given_up.add(work)
                work.add_done_callback(self._finished)

    async def rest(self, seconds: float) -> None:
        """Return when all have finished, after so long at most."""
        if self._given_up:
            await asyncio.wait(self._given_up, timeout=seconds)

    def _finished(self, work: asyncio.Future[Any]) -> None:
        self._given_up.discard(work)
        # Nobody else asks how it ended.
        if not work.cancelled():
            work.exception()
