"""Spans as a collector gets them, and what a server without one does not notice."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import wstar
from wstar.errors import InvalidInput
from wstar_service.settings import Address
from wstar_service.stages import Stage
from wstar_service.tracing import Tracer

# How long OpenTelemetry waits for a collector by default.
_EXPORT_S = 10.0
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector(TraceServiceServicer):
    """A collector of OpenTelemetry's own protocol; it answers when `open` is set."""

    requests: list[otlp.ExportTraceServiceRequest] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    address: Address = Address("127.0.0.1", 0)

    def Export(
        self, request: otlp.ExportTraceServiceRequest, context: object
    ) -> otlp.ExportTraceServiceResponse:
        """Take spans."""
        self.requests.append(request)
        self.open.wait(20)
        return otlp.ExportTraceServiceResponse()

    def spans(self) -> list[Span]:
        """The spans of all requests so far."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    found.open.set()
    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(found, server)  # type: ignore[no-untyped-call]
    found.address = Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
    server.start()
    yield found
    found.open.set()
    server.stop(None).wait()


def call(
    tracer: Tracer,
    code: grpc.StatusCode = grpc.StatusCode.OK,
    metadata: tuple[tuple[str, str | bytes], ...] = (),
) -> str | None:
    """Tell of a call of 50 ms that ended now, with two stages of one name and one of another."""
    now = time.monotonic()
    stages = [
        Stage("decode", now - 0.050, now - 0.040),
        Stage("encoder", now - 0.040, now - 0.030),
        Stage("decode", now - 0.030, now),
    ]
    return tracer.call("Embed", code, now - 0.050, now, stages, metadata, "r-1", 3)


def attributes(span: Span) -> dict[str, Any]:
    return {
        a.key: a.value.int_value if a.value.HasField("int_value") else a.value.string_value
        for a in span.attributes
    }


def test_a_call_is_a_span_and_its_stages_are_its_children(collector: Collector) -> None:
    tracer = Tracer.open(collector.address)
    before_ns = time.time_ns()
    trace_id = call(tracer)
    tracer.close()
    (root,) = [s for s in collector.spans() if s.kind == Span.SPAN_KIND_SERVER]
    children = [s for s in collector.spans() if s.kind == Span.SPAN_KIND_INTERNAL]
    assert root.name == "wstar.v1.LatentSpaceService/Embed"
    assert root.trace_id.hex() == trace_id
    assert root.parent_span_id == b""
    assert attributes(root) == {
        "rpc.system": "grpc",
        "rpc.service": "wstar.v1.LatentSpaceService",
        "rpc.method": "Embed",
        "rpc.grpc.status_code": 0,
        "wstar.request_id": "r-1",
        "wstar.faces": 3,
    }
    assert [s.name for s in children] == ["decode", "encoder", "decode"]
    for child in children:
        assert child.trace_id == root.trace_id
        assert child.parent_span_id == root.span_id
        # Two floats of seconds are rounded to nanoseconds.
        assert root.start_time_unix_nano - 1 <= child.start_time_unix_nano
        assert child.start_time_unix_nano < child.end_time_unix_nano
        assert child.end_time_unix_nano <= root.end_time_unix_nano + 1
    assert abs(root.end_time_unix_nano - root.start_time_unix_nano - 50_000_000) < 1000
    # The call ended when it was told; the clocks are read one after the other.
    assert abs(root.end_time_unix_nano - before_ns) < 50_000_000


def test_the_server_names_itself(collector: Collector) -> None:
    tracer = Tracer.open(collector.address)
    call(tracer)
    tracer.close()
    resource = collector.requests[0].resource_spans[0].resource
    names = {a.key: a.value.string_value for a in resource.attributes}
    assert names["service.name"] == "wstar"
    assert names["service.version"] == wstar.__version__


def test_the_caller_s_span_is_the_parent(collector: Collector) -> None:
    tracer = Tracer.open(collector.address)
    metadata = (
        ("x-other-bin", b"\x00"),
        ("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01"),
        ("tracestate", "vendor=1"),
    )
    assert call(tracer, metadata=metadata) == TRACE_ID
    tracer.close()
    (root,) = [s for s in collector.spans() if s.kind == Span.SPAN_KIND_SERVER]
    assert root.trace_id.hex() == TRACE_ID
    assert root.parent_span_id.hex() == PARENT_ID
    assert root.trace_state == "vendor=1"
    assert {s.trace_id.hex() for s in collector.spans()} == {TRACE_ID}


def test_a_caller_who_is_not_traced_makes_no_spans(collector: Collector) -> None:
    tracer = Tracer.open(collector.address)
    metadata = (("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-00"),)
    assert call(tracer, metadata=metadata) == TRACE_ID
    tracer.close()
    assert collector.spans() == []


@pytest.mark.parametrize(
    "found",
    ["", "00", f"00-{'0' * 32}-{PARENT_ID}-01", f"00-{TRACE_ID}-{PARENT_ID}", "é" * 55, "x" * 9000],
)
def test_a_traceparent_that_is_none_is_ignored(collector: Collector, found: str) -> None:
    tracer = Tracer.open(collector.address)
    trace_id = call(tracer, metadata=(("traceparent", found),))
    tracer.close()
    (root,) = [s for s in collector.spans() if s.kind == Span.SPAN_KIND_SERVER]
    assert root.parent_span_id == b""
    assert trace_id not in (None, TRACE_ID)


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_faults_of_the_server_are_errors(collector: Collector, code: grpc.StatusCode) -> None:
    tracer = Tracer.open(collector.address)
    call(tracer, code)
    tracer.close()
    (root,) = [s for s in collector.spans() if s.kind == Span.SPAN_KIND_SERVER]
    assert attributes(root)["rpc.grpc.status_code"] == code.value[0]
    # https://opentelemetry.io/docs/specs/semconv/rpc/grpc/: what a server's span counts as error.
    errors = "UNKNOWN DEADLINE_EXCEEDED UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS"
    is_error = root.status.code == Status.STATUS_CODE_ERROR
    assert is_error == (code.name in errors.split())


@pytest.mark.parametrize("there", [False, True])
def test_a_collector_that_does_not_answer_holds_up_nobody(
    collector: Collector, there: bool
) -> None:
    collector.open.clear()
    # Port 9 is the discard service, which nobody runs on a loopback address of its own.
    tracer = Tracer.open(collector.address if there else Address("127.0.0.9", 9))
    started = time.monotonic()
    # More spans than the queue holds: 4 per call.
    for _ in range(1000):
        assert call(tracer) is not None
    tracer.close()
    # The collector answers never: whoever waited for it would be here much later.
    assert time.monotonic() - started < _EXPORT_S


def test_without_a_collector_nothing_is_told_and_nothing_imported() -> None:
    code = (
        "import sys; from wstar_service.tracing import Tracer; import wstar_service.server;"
        "import grpc; tracer = Tracer.open(None);"
        "print(tracer.call('Embed', grpc.StatusCode.OK, 0.0, 1.0, [], (), 'r', 1));"
        "tracer.close(); print(*(name for name in sys.modules if 'opentelemetry' in name))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split("\n") == ["None", "", ""]


def test_a_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from wstar_service.tracing import Tracer\n"
        "from wstar_service.settings import Address\n"
        "from wstar.errors import InvalidInput\n"
        "try:\n    Tracer.open(Address('127.0.0.1', 4317))\n"
        "except InvalidInput as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("otlp: found '127.0.0.1:4317', allowed: ")
    assert "pip install 'wstar[tracing]'" in done.stdout
    assert issubclass(InvalidInput, wstar.errors.WstarError)
