"""One serving process: opens its runner, keeps it proved, answers probes, stops on a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from wstar.errors import InvalidInput
from wstar_service.cpus import allowed_cpus
from wstar_service.embedded import EmbeddedRunner
from wstar_service.keeper import RETRY_S, Keeper
from wstar_service.metrics import Metrics
from wstar_service.pages import listen
from wstar_service.pulse import Pulse
from wstar_service.runner import GraphRunner
from wstar_service.server import Server
from wstar_service.settings import Settings

_LOG = logging.getLogger("wstar.server")


async def serve(settings: Settings, pulse: Pulse) -> None:
    """Serve until SIGTERM or SIGINT; print the address on stdout when first ready.

    SIGTERM lets clients go first (`drain_s`), Ctrl-C does not; a second signal ends the process
    at once. The loop beats `pulse` and tells it whether calls are answered.

    Raises WstarError, OSError when the server cannot become ready.
    """
    server = Server(settings, pulse)
    # A repository on disk does not get better by waiting; a Triton may be on its way.
    retry_s = None if settings.triton is None else RETRY_S
    keeper = Keeper(
        server, _opener(settings, server.metrics), retry_s, failed=server.metrics.proof_failed
    )
    stopped = _signals()
    beating = asyncio.gather(pulse.beating(), server.observe())
    work: list[asyncio.Future[Any]] = [stopped]
    drain_s = 0.0
    close_pages: Callable[[], None] = lambda: None  # noqa: E731
    try:
        if settings.metrics is not None:
            where, close_pages = listen(
                settings.metrics, server.metrics.registry, pulse.alive, pulse.ready
            )
            _LOG.info("metrics on %s", where)
        # Whoever shares a port is given connections from the moment it listens: when it is ready.
        if not settings.reuse_port:
            _LOG.info("listening on %s", await server.listen())
        keeping = asyncio.ensure_future(keeper.keep(_announcement(server)))
        work.append(keeping)
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            await keeping
        drain_s = settings.drain_s if stopped.result() == signal.SIGTERM else 0.0
        _LOG.info("stopping: %g s until calls end, %g s for them", drain_s, settings.grace_s)
    finally:
        # The runner is kept while calls drain: it may be lost and come back once more.
        await server.stop(drain_s)
        for task in [*work, beating]:
            task.cancel()
        await asyncio.gather(*work, beating, return_exceptions=True)
        await keeper.close()
        await asyncio.to_thread(close_pages)


def _signals() -> asyncio.Future[int]:
    """Return a future of the first SIGTERM or SIGINT; the next one ends the process."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(number: int) -> None:
        if stopped.done():
            # Not the default action of the signal: the first process of a container has none.
            os._exit(128 + number)
        stopped.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopped


def _announcement(server: Server) -> Callable[[], None]:
    said = False

    def proved() -> None:
        nonlocal said
        _LOG.info("serving")
        if not said:
            said = True
            print(server.address, flush=True)

    return proved


def _opener(settings: Settings, metrics: Metrics) -> Callable[[], Awaitable[GraphRunner]]:
    """How the runner that the settings name is opened; raises what its `open` raises."""
    target, repository = settings.triton, settings.repository
    if target is not None:
        # Its client is not installed where graphs run in this process.
        from wstar_service.triton import TritonRunner

        return lambda: TritonRunner.open(target, settings.triton_shared_memory, observer=metrics)
    if repository is None:
        raise InvalidInput("repository", None, "a folder, where no Triton is named")
    return lambda: asyncio.to_thread(
        EmbeddedRunner.open,
        repository,
        settings.threads or allowed_cpus(),
        observer=metrics,
        max_delay_s=settings.batch_delay_ms / 1e3,
    )
