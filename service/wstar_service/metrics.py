"""What Prometheus may ask of a server; each server has its own registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    start_http_server,
)

from wstar.graphs import Space
from wstar.space import SpaceManifest
from wstar_service.settings import Address

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "wstar_requests", "Calls answered.", ("method", "code"), registry=self.registry
        )
        self._refused = Counter(
            "wstar_refused", "Calls answered with an error.", ("reason",), registry=self.registry
        )
        self._faces = Counter("wstar_faces", "Faces read.", ("method",), registry=self.registry)
        self._in_flight = Gauge("wstar_in_flight", "Calls being worked on.", registry=self.registry)
        self._build = Info(
            "wstar", "Version of the service and its engine.", registry=self.registry
        )
        self._spaces = Gauge(
            "wstar_space", "1 for each space served.", ("space", "space_id"), registry=self.registry
        )
        self._seconds = Histogram(
            "wstar_stage_seconds",
            "Time of each stage of an answered call; stage total is the whole call.",
            ("method", "stage"),
            buckets=_SECONDS,
            registry=self.registry,
        )

    def describe(self, version: str, runner: str, manifests: Mapping[Space, SpaceManifest]) -> None:
        """Publish what is served, instead of what was served before."""
        self._build.info({"version": version, "runner": runner})
        self._spaces.clear()
        for space, manifest in manifests.items():
            self._spaces.labels(space.value, manifest.space_id).set(1)

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a call while it is worked on."""
        with self._in_flight.track_inprogress():
            yield

    def answered(self, method: str, code: str, faces: int, seconds: Mapping[str, float]) -> None:
        """Count a call that ended with the status `code`, and the seconds of its stages."""
        self._requests.labels(method, code).inc()
        self._faces.labels(method).inc(faces)
        for stage, value in seconds.items():
            self._seconds.labels(method, stage).observe(value)

    def refused(self, reason: str) -> None:
        """Count a call that ended with an error."""
        self._refused.labels(reason).inc()

    def listen(self, address: Address) -> tuple[Address, Callable[[], None]]:
        """Answer scrapes over HTTP from a thread; return where, and how to end it."""
        host = address.host.strip("[]")
        httpd, thread = start_http_server(address.port, host, registry=self.registry)

        def stop() -> None:
            httpd.shutdown()
            httpd.server_close()
            thread.join()

        return Address(address.host, httpd.server_port), stop
