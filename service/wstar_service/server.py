"""The server: listens, proves itself, serves, and stops when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import wstar
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import add_LatentSpaceServiceServicer_to_server
from wstar_service.answers import Answers
from wstar_service.auth import Authentication, Tokens
from wstar_service.calls import Calls
from wstar_service.capabilities import ALL, served
from wstar_service.cpus import allowed_cpus
from wstar_service.golden import check_golden
from wstar_service.limits import Admission
from wstar_service.metrics import Metrics
from wstar_service.pictures import Pictures
from wstar_service.pipeline import Pipeline
from wstar_service.pulse import Pulse
from wstar_service.runner import GraphRunner
from wstar_service.servicer import Servicer
from wstar_service.settings import Address, Settings
from wstar_service.streams import Streams
from wstar_service.tls import ServerTls
from wstar_service.tracing import Tracer
from wstar_service.warmup import warm_up
from wstar_service.watches import Health
from wstar_service.wire import ReadableRequests

SERVICE = pb.DESCRIPTOR.services_by_name["LatentSpaceService"].full_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# For replies on their way, and for calls that outlasted the grace to unwind.
_LAST_REPLIES_S = 0.5
# Clients that ask more often whether a connection lives are taken for a fault of theirs.
_LEAST_PING_MS = 10_000
_OBSERVE_EVERY_S = 1.0


class Server:
    """One gRPC server; what it serves is given to `make_ready` and stays the giver's."""

    def __init__(self, settings: Settings, pulse: Pulse | None = None) -> None:
        """Read certificate and tokens; raises InvalidInput for files that make no sense."""
        self.metrics = Metrics()
        self._settings = settings
        self._pulse = pulse or Pulse()
        self._tracer = Tracer.open(settings.otlp)
        admission = Admission(
            settings.max_concurrency,
            settings.max_queue,
            settings.max_concurrency_per_token,
            self.metrics.queued,
        )
        self._calls = Calls(admission, self.metrics, self._tracer)
        self._streams = Streams(self._calls, settings.max_stream_in_flight)
        self._pictures = Pictures(
            settings.max_image_bytes,
            settings.max_image_pixels,
            settings.threads or allowed_cpus(),
        )
        self._tls: ServerTls | None = None
        if settings.tls_certificate is not None and settings.tls_key is not None:
            self._tls = ServerTls.read(
                settings.tls_certificate, settings.tls_key, settings.tls_client_ca
            )
        interceptors: list[grpc.aio.ServerInterceptor[object, object]] = [ReadableRequests()]
        if settings.tokens is not None:
            tokens = Tokens.read(settings.tokens)
            interceptors.insert(0, Authentication(tokens, self.metrics.refused))
        self._health = Health()
        self.address: Address | None = None
        self._grpc = grpc.aio.server(
            interceptors=interceptors,
            options=(
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # A second server on the same port would silently take half of the calls.
                ("grpc.so_reuseport", int(settings.reuse_port)),
                # gRPC spreads this by 10 % so that clients do not all come back at once.
                ("grpc.max_connection_age_ms", int(1e3 * settings.max_connection_age_s)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_MS),
            ),
        )
        self._servicer = Servicer(self._calls, self._streams)
        add_LatentSpaceServiceServicer_to_server(self._servicer, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        if settings.reflection:
            names = (SERVICE, HEALTH, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._grpc)

    async def observe(self) -> None:
        """Publish every second what no call tells of, until cancelled."""
        while True:
            self.metrics.tasks(len(asyncio.all_tasks()))
            if self._tls is not None:
                self.metrics.certificate_expires(self._tls.not_after_s())
            await asyncio.sleep(_OBSERVE_EVERY_S)

    async def listen(self) -> Address:
        """Open the port, if it is not, not serving yet; return where.

        Raises OSError if that is impossible.
        """
        if self.address is not None:
            return self.address
        await self._set_health(())
        address = self._settings.listen
        try:
            if self._tls is None:
                port = self._grpc.add_insecure_port(str(address))
            else:
                port = self._grpc.add_secure_port(str(address), self._tls.server_credentials())
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {address}: in use, or no address of this machine"
            ) from error
        await self._grpc.start()
        self.address = Address(address.host, port)
        return self.address

    async def make_ready(self, runner: GraphRunner) -> None:
        """Reproduce the golden requests, warm up, then serve; raises WstarError if that fails."""
        manifests = await runner.manifests()
        await check_golden(runner, manifests)
        await warm_up(runner, manifests)
        capabilities = served(runner.graphs)
        self._servicer.answers = Answers(
            Pipeline(runner, manifests),
            self._pictures,
            manifests,
            self._settings,
            runner.description,
            capabilities,
        )
        self.metrics.describe(wstar.__version__, runner.description, manifests)
        self._calls.ready = True
        await self.listen()
        await self._set_health(capabilities)

    async def withdraw(self) -> None:
        """Refuse calls until `make_ready` is called again."""
        self._calls.ready = False
        await self._set_health(())

    async def stop(self, drain_s: float = 0.0) -> None:
        """Say NOT_SERVING, serve on for `drain_s`, then finish what is in flight within `grace_s`.

        Whoever asks for health meanwhile learns it while the port is still open; connections are
        then told to go, and calls that came before are answered.
        """
        self._pulse.set_ready(False)
        await self._health.enter_graceful_shutdown()
        self.metrics.ready(())
        await asyncio.sleep(drain_s)
        self._streams.stop()
        await asyncio.gather(self._health.end_watches(), self._grpc.stop(self._settings.grace_s))
        # Calls that outlasted the grace unwind here; a closing loop would log each as a fault.
        await self._calls.finished(_LAST_REPLIES_S)
        self._pictures.close()
        await asyncio.to_thread(self._tracer.close)

    async def _set_health(self, capabilities: Collection[str]) -> None:
        self.metrics.ready(capabilities)
        self._pulse.set_ready(bool(capabilities))
        whole = {"": bool(capabilities), SERVICE: bool(capabilities)}
        for name, up in (whole | {name: name in capabilities for name in ALL}).items():
            await self._health.set(name, _SERVING if up else _NOT_SERVING)
