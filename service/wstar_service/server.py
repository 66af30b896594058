"""The server: listens, proves itself, serves, and stops when it is told to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import wstar
from wstar.errors import InvalidInput, WstarError
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import add_LatentSpaceServiceServicer_to_server
from wstar_service.answers import Answers
from wstar_service.calls import Calls
from wstar_service.cpus import allowed_cpus
from wstar_service.embedded import EmbeddedRunner
from wstar_service.golden import check_golden
from wstar_service.keeper import RETRY_S, Keeper
from wstar_service.limits import Admission
from wstar_service.metrics import Metrics
from wstar_service.pictures import Pictures
from wstar_service.pipeline import Pipeline
from wstar_service.runner import GraphRunner
from wstar_service.servicer import Servicer
from wstar_service.settings import Address, Settings
from wstar_service.watches import Health
from wstar_service.wire import ReadableRequests

SERVICE = pb.DESCRIPTOR.services_by_name["LatentSpaceService"].full_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# For replies on their way, and for streams that only their callers end.
_LAST_REPLIES_S = 0.5
_LOG = logging.getLogger("wstar.server")


class Server:
    """One gRPC server; what it serves is given to `make_ready` and stays the giver's."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._stop_metrics: Callable[[], None] | None = None
        self._calls = Calls(Admission(settings.max_concurrency), self._metrics)
        self._pictures = Pictures(
            settings.max_image_bytes,
            settings.max_image_pixels,
            settings.threads or allowed_cpus(),
        )
        self._health = Health()
        self._grpc = grpc.aio.server(
            interceptors=[ReadableRequests()],
            options=(
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # A second server on the same port would silently take half of the calls.
                ("grpc.so_reuseport", 0),
            ),
        )
        self._servicer = Servicer(self._calls)
        add_LatentSpaceServiceServicer_to_server(self._servicer, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        if settings.reflection:
            names = (SERVICE, HEALTH, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._grpc)

    async def listen(self) -> tuple[Address, Address | None]:
        """Open the ports, not serving yet; return where gRPC and metrics listen.

        Raises OSError: an address cannot be listened on.
        """
        await self._set_health(_NOT_SERVING)
        try:
            port = self._grpc.add_insecure_port(str(self._settings.listen))
        except RuntimeError as error:
            raise _not_listening(self._settings.listen) from error
        metrics = None
        if self._settings.metrics is not None:
            try:
                metrics, self._stop_metrics = self._metrics.listen(self._settings.metrics)
            except OSError as error:
                raise _not_listening(self._settings.metrics) from error
        await self._grpc.start()
        return Address(self._settings.listen.host, port), metrics

    async def make_ready(self, runner: GraphRunner) -> None:
        """Reproduce the golden requests, then serve; raises WstarError if that fails."""
        manifests = await runner.manifests()
        await check_golden(runner, manifests)
        pipeline = Pipeline(runner, manifests)
        self._servicer.answers = Answers(
            pipeline, self._pictures, manifests, self._settings, runner.description
        )
        self._metrics.describe(wstar.__version__, runner.description, manifests)
        self._calls.ready = True
        await self._set_health(_SERVING)

    async def withdraw(self) -> None:
        """Refuse calls until `make_ready` is called again."""
        self._calls.ready = False
        await self._set_health(_NOT_SERVING)

    async def stop(self) -> None:
        """Refuse new calls, give those in flight `grace_s` seconds, and close the ports.

        While calls finish the port stays open, so that whoever asks reads NOT_SERVING.
        """
        await self._health.enter_graceful_shutdown()
        await asyncio.gather(self._health.end_watches(), self._calls.finish(self._settings.grace_s))
        await self._grpc.stop(min(_LAST_REPLIES_S, self._settings.grace_s))
        # Calls that outlasted the grace unwind here; a closing loop would log each as a fault.
        await self._calls.finish(_LAST_REPLIES_S)
        self._pictures.close()
        if self._stop_metrics is not None:
            await asyncio.to_thread(self._stop_metrics)

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", SERVICE):
            await self._health.set(name, status)


def _not_listening(address: Address) -> OSError:
    return OSError(f"cannot listen on {address}: in use, or no address of this machine")


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; print the address on stdout when first ready.

    A second signal ends the process at once.

    Raises WstarError, OSError when the server cannot become ready.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        if stopped.is_set():
            # Not the default action of the signal: the first process of a container has none.
            os._exit(128 + number)
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    server = Server(settings)
    # A repository on disk does not get better by waiting; a Triton may be on its way.
    keeper = Keeper(server, _opener(settings), None if settings.triton is None else RETRY_S)
    waiting = asyncio.ensure_future(stopped.wait())
    work: list[asyncio.Future[Any]] = [waiting]
    try:
        address, metrics = await server.listen()
        _LOG.info("listening on %s, metrics on %s", address, metrics)
        unsaid = [str(address)]

        def proved() -> None:
            _LOG.info("serving")
            if unsaid:
                print(unsaid.pop(), flush=True)

        keeping = asyncio.ensure_future(keeper.keep(proved))
        work.append(keeping)
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            await keeping
        _LOG.info("stopping, %g s for calls in flight", settings.grace_s)
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await server.stop()
        await keeper.close()


def _opener(settings: Settings) -> Callable[[], Awaitable[GraphRunner]]:
    """How the runner that the settings name is opened; raises what its `open` raises."""
    target, repository = settings.triton, settings.repository
    if target is not None:
        # Its client is not installed where graphs run in this process.
        from wstar_service.triton import TritonRunner

        return lambda: TritonRunner.open(target, settings.triton_shared_memory)
    if repository is None:
        raise InvalidInput("repository", None, "a folder, where no Triton is named")
    threads = settings.threads or allowed_cpus()
    return lambda: asyncio.to_thread(EmbeddedRunner.open, repository, threads)


def main() -> int:
    """Run `wstar-serve`; 0 after a graceful stop, 1 with a message if it could not serve."""
    settings = Settings.from_args(sys.argv[1:], os.environ)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)
    try:
        asyncio.run(serve(settings))
    except (WstarError, OSError) as error:
        _LOG.error("cannot serve: %s", error)
        return 1
    return 0
