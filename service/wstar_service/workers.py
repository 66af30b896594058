"""Several processes as one server: one port, one page of metrics, one thing to start and stop."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.context import SpawnProcess

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from wstar_service import pages
from wstar_service.cpus import allowed_cpus
from wstar_service.ports import reserved
from wstar_service.pulse import CELLS, Pulse
from wstar_service.settings import Address, Settings

# The life of one process: 0 after a graceful stop, 1 if it could not serve. A function of a
# module, because each worker imports it for itself.
RunWorker = Callable[[Settings, Pulse], int]

_LOOK_S = 0.1
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
# A worker that lived so long does not die of how it starts.
_HEALTHY_S = 60.0
# What a graceful stop takes beside `drain_s` and `grace_s`.
_STOP_S = 10.0
# Never a copy of this process: ONNX Runtime and gRPC do not survive that.
_SPAWN = multiprocessing.get_context("spawn")
_LOG = logging.getLogger("wstar.workers")


def supervise(settings: Settings, run_worker: RunWorker) -> int:
    """Serve with `settings.workers` processes until SIGTERM or SIGINT; return the exit code.

    0 after a graceful stop of all; 1 if a worker ended before it was ever ready, or had to be
    killed; 128 + signal after a second signal, which kills all. The address is printed on stdout
    when all are ready. A worker that ends later is started again, after 1 s, then 2 s, up to 30 s.

    Raises OSError: an address cannot be listened on, or there is no temporary folder for metrics.
    """
    with (
        reserved(settings.listen, shared=settings.reuse_port) as address,
        tempfile.TemporaryDirectory(prefix="wstar-") as folder,
    ):
        each = replace(
            settings,
            listen=address,
            metrics=None,
            workers=1,
            reuse_port=True,
            threads=settings.threads or max(1, allowed_cpus() // settings.workers),
        )
        cells = _SPAWN.Array("d", CELLS * settings.workers, lock=False)
        workers = [
            _Worker(place, each, run_worker, cells, folder) for place in range(settings.workers)
        ]
        with _pages(settings.metrics, workers, folder) as metrics:
            _LOG.info(
                "%d workers on %s, metrics on %s", settings.workers, address, metrics or "no port"
            )
            stop_s = settings.drain_s + settings.grace_s + _STOP_S
            return asyncio.run(_Supervisor(workers, address, stop_s).run())


class _Supervisor:
    """Starts workers, keeps them, and stops them when it is told to."""

    def __init__(self, workers: list[_Worker], address: Address, stop_s: float) -> None:
        self._workers = workers
        self._address = address
        self._stop_s = stop_s
        self._stopping = asyncio.Event()
        self._number = signal.SIGINT
        self._forced = 0

    async def run(self) -> int:
        """Return the exit code of the server."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._told, number)
        telling = asyncio.ensure_future(self._tell())
        stopping = asyncio.ensure_future(self._stopping.wait())
        keeping = [asyncio.ensure_future(worker.keep(self._stopping)) for worker in self._workers]
        await asyncio.wait([stopping, *keeping], return_when=asyncio.FIRST_COMPLETED)
        telling.cancel()
        # Without a signal it is a worker that could not serve; nobody was told of the others.
        code = 0 if self._stopping.is_set() else 1
        self._stopping.set()
        for worker in self._workers:
            worker.send(self._number)
        _, late = await asyncio.wait(keeping, timeout=self._stop_s)
        if late:
            _LOG.error("%d workers do not stop and are killed", len(late))
            code = 1
            self._kill()
        await asyncio.gather(stopping, *keeping)
        return self._forced or code

    def _told(self, number: int) -> None:
        if self._stopping.is_set():
            self._forced = 128 + number
            self._kill()
        else:
            self._number = signal.Signals(number)
            self._stopping.set()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.send(signal.SIGKILL)

    async def _tell(self) -> None:
        """Print the address when all workers are ready for the first time."""
        while not all(worker.pulse.ready() for worker in self._workers):
            await asyncio.sleep(_LOOK_S)
        print(self._address, flush=True)


class _Worker:
    """A place among the workers, and the process that has it."""

    def __init__(
        self,
        place: int,
        settings: Settings,
        run_worker: RunWorker,
        cells: MutableSequence[float],
        folder: str,
    ) -> None:
        self.pulse = Pulse(cells, place)
        self._place = place
        self._folder = folder
        self._arguments = (place, settings, run_worker, cells, folder)
        self._process: SpawnProcess | None = None

    def alive(self) -> bool:
        """Whether the loop of the process runs; one that is being replaced counts as well."""
        return self._process is None or self.pulse.alive()

    def send(self, number: int) -> None:
        """Send a signal to the process, if there is one."""
        if self._process is not None and self._process.pid is not None:
            # Not yet waited for, so its number is still its own.
            os.kill(self._process.pid, number)

    async def keep(self, stopping: asyncio.Event) -> None:
        """Have a process, until it is stopping; return early if the first was never ready."""
        pause_s, served = _FIRST_PAUSE_S, False
        while not stopping.is_set():
            started_s = time.monotonic()
            code, ready = await self._live()
            served = served or ready
            if stopping.is_set():
                return
            if not served:
                _LOG.error("worker %d could not serve, exit code %d", self._place, code)
                return
            if time.monotonic() - started_s > _HEALTHY_S:
                pause_s = _FIRST_PAUSE_S
            _LOG.warning(
                "worker %d ended with exit code %d; another in %g s", self._place, code, pause_s
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause_s)
                return
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _live(self) -> tuple[int, bool]:
        """Start a process and wait for its end; return its exit code and if it was ever ready."""
        self.pulse.start()
        # As a daemon it is ended with this process, should that fail.
        process = _SPAWN.Process(target=_work, args=self._arguments, daemon=True)
        process.start()
        self._process = process
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(process.sentinel, ended.set)
        ready = False
        try:
            while not ended.is_set():
                ready = ready or self.pulse.ready()
                with suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), None if ready else _LOOK_S)
        finally:
            loop.remove_reader(process.sentinel)
        self._process = None
        process.join()
        code = process.exitcode or 0
        process.close()
        ready = ready or self.pulse.ready()
        self.pulse.set_ready(False)
        # Its gauges; its counters are continued by whoever has this place next.
        mark_process_dead(self._place, self._folder)  # type: ignore[no-untyped-call]
        return code, ready


@contextmanager
def _pages(
    address: Address | None, workers: list[_Worker], folder: str
) -> Iterator[Address | None]:
    """Answer for all workers over HTTP."""
    if address is None:
        yield None
        return
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    where, stop = pages.listen(
        address,
        registry,
        lambda: all(worker.alive() for worker in workers),
        lambda: all(worker.pulse.ready() for worker in workers),
    )
    try:
        yield where
    finally:
        stop()


def _work(
    place: int,
    settings: Settings,
    run_worker: RunWorker,
    cells: MutableSequence[float],
    folder: str,
) -> None:
    """Be a worker: what its process does."""
    # Ctrl-C in a terminal goes to the supervisor alone, who passes it on once.
    os.setsid()
    threading.Thread(target=_follow, args=(settings,), daemon=True).start()
    # The address is printed by the supervisor.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    # One set of files per place, not per process: who comes next continues its counters.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]
    sys.exit(run_worker(settings, Pulse(cells, place)))


def _follow(settings: Settings) -> None:
    """Stop this process gracefully, and then at all events, when the supervisor is gone."""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(settings.drain_s + settings.grace_s + _STOP_S)
        os._exit(1)
