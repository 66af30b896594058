"""What Prometheus may ask of a server: every series there is, declared once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from wstar.graphs import Space
from wstar.space import SpaceManifest

CAPABILITIES = ("embed", "distance", "classify", "edit")
# From a read-out of one code to a picture of full size on a few CPUs.
_SECONDS = tuple(digit * 10.0**power for power in range(-4, 1) for digit in (1.0, 2.5, 5.0)) + (
    10.0,
    30.0,
)
_FACES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The series of one server, in a registry of its own.

    Values of labels are words of this program: methods of the `.proto`, gRPC status codes,
    reasons of errors, graphs, stages, and what the served repository calls itself. None is
    text of a client, so no client can grow the number of series.

    Where several processes are one server, gauges add up over those that live, or are the
    least or the most of them, as their `multiprocess_mode` says; a series is never removed,
    because the others could not know, but set to 0.
    """

    def __init__(self) -> None:
        # The time each series began says nothing, and is missing with several processes.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = self._histogram(
            "wstar_request_duration_seconds",
            "Calls answered, streams included, and how long each took.",
            ("method", "code"),
            _SECONDS,
        )
        self._stages = self._histogram(
            "wstar_stage_duration_seconds",
            "Where the time of calls and stream items went: decode, queue, each graph, encode.",
            ("stage",),
            _SECONDS,
        )
        self._batches = self._histogram(
            "wstar_batch_size_faces", "Faces run at once by a graph.", ("graph",), _FACES
        )
        self._received = self._counter(
            "wstar_received_bytes", "Bytes of requests, encoded.", ("method",)
        )
        self._sent = self._counter("wstar_sent_bytes", "Bytes of replies, encoded.", ("method",))
        self._faces = self._counter("wstar_faces", "Faces read.", ("method",))
        self._items = self._counter("wstar_stream_items", "Items of streams answered.", ("code",))
        self._refused = self._counter(
            "wstar_refused", "Errors that callers were told.", ("reason",)
        )
        self._proof_failures = self._counter(
            "wstar_proof_failures", "Golden requests that did not give the golden answer."
        )
        self._in_flight = self._gauge("wstar_in_flight_calls", "Calls being worked on.", "livesum")
        self._streams = self._gauge("wstar_open_streams", "Streams open.", "livesum")
        self._queues = self._gauge(
            "wstar_queue_depth",
            "What waits: calls for a place (calls), faces for the engine (graphs).",
            "livesum",
            ("queue",),
        )
        self._queued = self._queues.labels("calls")
        self._waiting = self._queues.labels("graphs")
        self._ready = self._gauge(
            "wstar_ready", "1 for what is served, else 0.", "livemin", ("capability",)
        )
        self._certificate = self._gauge(
            "wstar_certificate_expiry_timestamp_seconds",
            "When the served certificate expires, in Unix time; 0 without TLS.",
            "livemin",
        )
        # Gauges, because prometheus_client has no Info for several processes.
        self._build = self._gauge(
            "wstar_build_info", "1 for what is running.", "livemax", ("version", "runner")
        )
        self._spaces = self._gauge(
            "wstar_space_info", "1 for each space served.", "livemax", ("space", "space_id")
        )
        self._tasks = self._gauge(
            "wstar_event_loop_tasks", "Tasks of the event loop, once per second.", "livesum"
        )
        self._described: list[Gauge] = []
        self.ready(())

    def answered(
        self,
        method: str,
        code: str,
        seconds: float,
        *,
        faces: int,
        received_bytes: int,
        sent_bytes: int,
        stages: Mapping[str, float],
    ) -> None:
        """Count a call that ended with the status `code`, and the seconds of its stages."""
        self._requests.labels(method, code).observe(seconds)
        self._faces.labels(method).inc(faces)
        self._received.labels(method).inc(received_bytes)
        self._sent.labels(method).inc(sent_bytes)
        self._spent(stages)

    def item(self, code: str, stages: Mapping[str, float]) -> None:
        """Count an item of a stream that ended with the status `code`, and its stages."""
        self._items.labels(code).inc()
        self._spent(stages)

    def refused(self, reason: str) -> None:
        """Count an error that a caller was told."""
        self._refused.labels(reason).inc()

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a call while it is worked on."""
        with self._in_flight.track_inprogress():
            yield

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream while it is open."""
        with self._streams.track_inprogress():
            yield

    @contextmanager
    def queued(self) -> Iterator[None]:
        """Count a call while it waits for a place."""
        with self._queued.track_inprogress():
            yield

    def ran(self, graph: str, faces: int) -> None:
        """One batch of `faces` faces was run."""
        self._batches.labels(graph).observe(faces)

    def waiting(self, change: int) -> None:
        """`change` more (or, negative, fewer) faces wait for the engine."""
        self._waiting.inc(change)

    def describe(self, version: str, runner: str, manifests: Mapping[Space, SpaceManifest]) -> None:
        """Publish what is served, instead of what was served before."""
        for series in self._described:
            series.set(0)
        self._described = [
            self._build.labels(version, runner),
            *(self._spaces.labels(space.value, m.space_id) for space, m in manifests.items()),
        ]
        for series in self._described:
            series.set(1)

    def ready(self, capabilities: Collection[str]) -> None:
        """Publish which of `CAPABILITIES` are served now."""
        for capability in CAPABILITIES:
            self._ready.labels(capability).set(capability in capabilities)

    def proof_failed(self) -> None:
        """Count a golden request that did not give its golden answer."""
        self._proof_failures.inc()

    def tasks(self, count: int) -> None:
        """Publish how many tasks the event loop has: a number that only grows is a leak."""
        self._tasks.set(count)

    def certificate_expires(self, unix_s: float) -> None:
        """Publish when the served certificate expires."""
        self._certificate.set(unix_s)

    def _spent(self, stages: Mapping[str, float]) -> None:
        for stage, seconds in stages.items():
            self._stages.labels(stage).observe(seconds)

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(
        self,
        name: str,
        text: str,
        mode: Literal["livesum", "livemin", "livemax"],
        labels: tuple[str, ...] = (),
    ) -> Gauge:
        return Gauge(name, text, labels, multiprocess_mode=mode, registry=self.registry)
