"""Spans of calls by OpenTelemetry, sent to a collector over OTLP: imported for `--otlp` only."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

import grpc
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import wstar
from wstar.v1 import wstar_pb2 as pb
from wstar_service.settings import Address
from wstar_service.stages import Stage
from wstar_service.tracing import Tracer

SERVICE = pb.DESCRIPTOR.services_by_name["LatentSpaceService"].full_name
_CLOSE_S = 3.0
_CONTEXT = TraceContextTextMapPropagator()
# The codes that OpenTelemetry counts as errors of a server; the others are the caller's.
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class OtlpTracer(Tracer):
    """One span per call with one child per stage; sent from a thread, a batch every 5 s.

    The queue holds 2048 spans (`OTEL_BSP_MAX_QUEUE_SIZE`); headers and batches are set by the
    variables of OpenTelemetry too.
    """

    def __init__(self, otlp: Address) -> None:
        self._exporter = OTLPSpanExporter(endpoint=f"http://{otlp}", insecure=True)
        self._provider = TracerProvider(
            # Whoever calls decides what is traced; a call that comes from nowhere is.
            ParentBased(ALWAYS_ON),
            Resource.create({"service.name": "wstar", "service.version": wstar.__version__}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("wstar", wstar.__version__)

    def call(
        self,
        method: str,
        code: grpc.StatusCode,
        started_s: float,
        ended_s: float,
        stages: Sequence[Stage],
        metadata: Iterable[tuple[str, str | bytes]],
        request_id: str,
        faces: int,
    ) -> str | None:
        """Tell of a call that ended, as `Tracer.call` says."""
        unix_ns = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(
            f"{SERVICE}/{method}",
            _caller(metadata),
            SpanKind.SERVER,
            {
                "rpc.system": "grpc",
                "rpc.service": SERVICE,
                "rpc.method": method,
                "rpc.grpc.status_code": code.value[0],
                "wstar.request_id": request_id,
                "wstar.faces": faces,
            },
            start_time=unix_ns + round(1e9 * started_s),
        )
        within = set_span_in_context(span, Context())
        for name, stage_started_s, stage_ended_s in stages:
            child = self._tracer.start_span(
                name, within, start_time=unix_ns + round(1e9 * stage_started_s)
            )
            child.end(unix_ns + round(1e9 * stage_ended_s))
        if code in _FAULTS:
            span.set_status(Status(StatusCode.ERROR))
        span.end(unix_ns + round(1e9 * ended_s))
        return format_trace_id(span.get_span_context().trace_id)

    def close(self) -> None:
        """Tell what has not been told yet, within 5 s; it blocks."""
        # OpenTelemetry itself would try for 30 s.
        given_up = threading.Timer(_CLOSE_S, self._exporter.shutdown)
        given_up.start()
        self._provider.shutdown()
        given_up.cancel()


def _caller(metadata: Iterable[tuple[str, str | bytes]]) -> Context:
    """Read `traceparent` and `tracestate`; a context without a span where they are not valid."""
    carrier: dict[str, list[str]] = {}
    for key, value in metadata:
        if isinstance(value, str) and key in _CONTEXT.fields:
            carrier.setdefault(key, []).append(value)
    return _CONTEXT.extract(carrier, Context())
