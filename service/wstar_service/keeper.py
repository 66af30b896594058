"""Keeps a server proved: opens a runner, proves it, and starts again when it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from wstar.errors import RunnerUnavailable, WstarError
from wstar_service.contract import OPTIONAL_GRAPH
from wstar_service.runner import GraphRunner, deadline

RETRY_S = 2.0
# The golden requests of a full-size model on one CPU take half a minute.
_PROOF_S = 300.0
_LOG = logging.getLogger("wstar.keeper")


class Served(Protocol):
    """What is kept proved."""

    async def make_ready(self, runner: GraphRunner) -> None:
        """Prove the runner and serve it; raises WstarError if that fails."""

    async def withdraw(self) -> None:
        """Serve nothing."""


class Keeper:
    """Holds the one runner of a server.

    open_runner: connects or loads, and compares with the contract; raises WstarError.
    retry_s: seconds between two tries; None where trying again cannot help.
    failed: is called when an opened runner does not pass its proof, each time.
    """

    def __init__(
        self,
        server: Served,
        open_runner: Callable[[], Awaitable[GraphRunner]],
        retry_s: float | None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._server = server
        self._open = open_runner
        self._retry_s = retry_s
        self._failed = failed
        self._runner: GraphRunner | None = None

    async def keep(self, proved: Callable[[], None]) -> None:
        """Serve until cancelled; call `proved` when a runner is served, each time anew.

        Raises WstarError: there is nothing to serve and no use in trying again.
        """
        while True:
            runner = await self._proved()
            proved()
            why = await runner.lost()
            _LOG.warning("not serving: the engine was lost: %s", why)
            await self._server.withdraw()
            await self.close()

    async def close(self) -> None:
        """Close the runner, if there is one."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.close()

    async def _proved(self) -> GraphRunner:
        told = ""
        while True:
            try:
                self._runner = await self._open()
                await self._prove(self._runner)
                return self._runner
            except WstarError as error:
                if self._retry_s is None:
                    raise
                if str(error) != told:
                    told = str(error)
                    _LOG.warning("not serving, trying every %g s: %s", self._retry_s, told)
            await self.close()
            await asyncio.sleep(self._retry_s)

    async def _prove(self, runner: GraphRunner) -> None:
        with deadline(None if self._retry_s is None else _PROOF_S):
            proving = asyncio.ensure_future(self._server.make_ready(runner))
        losing = asyncio.ensure_future(runner.lost())
        try:
            # An engine that is lost may leave requests without an answer until their deadline.
            await asyncio.wait((proving, losing), return_when=asyncio.FIRST_COMPLETED)
            if not proving.done():
                raise RunnerUnavailable(f"the engine was lost during its proof: {losing.result()}")
            await proving
        except WstarError:
            self._failed()
            raise
        finally:
            for task in (proving, losing):
                task.cancel()
            await asyncio.gather(proving, losing, return_exceptions=True)
        if OPTIONAL_GRAPH not in runner.graphs:
            _LOG.warning("serving without graph %r: nothing can be drawn", OPTIONAL_GRAPH)
