"""The HTTP port, asked over HTTP: its pages, and connections that say nothing."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from wstar_service.metrics import Metrics
from wstar_service.pages import listen
from wstar_service.pulse import Pulse
from wstar_service.settings import Address

LOCAL = Address("127.0.0.1", 0)


@dataclass
class Served:
    """Pages on a free port, and what they tell of."""

    address: Address
    metrics: Metrics
    alive: bool = True
    ready: bool = True

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send one request; return status, headers and body."""
        connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=5)
        try:
            connection.request(
                method, path, headers={k.replace("_", "-"): headers[k] for k in headers}
            )
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """Connect, and say nothing."""
        return socket.create_connection((self.address.host, self.address.port), timeout=15)


def ended(connection: socket.socket) -> bool:
    """Whether the other side ends it: in order, or with a reset if it had more to read."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def served() -> Iterator[Served]:
    pages = Served(LOCAL, Metrics())
    pages.address, stop = listen(
        LOCAL, pages.metrics.registry, lambda: pages.alive, lambda: pages.ready
    )
    yield pages
    stop()


def test_metrics_are_told_as_prometheus_reads_them(served: Served) -> None:
    served.metrics.refused("OVERLOADED")
    status, headers, body = served.ask("/metrics")
    assert status == 200
    assert headers.get_content_type() == "text/plain"
    families = {family.name for family in text_string_to_metric_families(body.decode())}
    assert families == {family.name for family in served.metrics.registry.collect()}
    assert b'wstar_refused_total{reason="OVERLOADED"} 1.0\n' in body


def test_the_scraper_chooses_format_and_packing(served: Served) -> None:
    _, headers, body = served.ask(
        "/metrics",
        Accept="application/openmetrics-text; version=1.0.0",
        Accept_Encoding="gzip",
    )
    assert headers.get_content_type() == "application/openmetrics-text"
    assert headers["Content-Encoding"] == "gzip"
    text = gzip.decompress(body).decode()
    assert len(list(openmetrics(text))) > 10  # type: ignore[no-untyped-call]


def test_one_series_can_be_asked_for(served: Served) -> None:
    _, _, body = served.ask("/metrics?name[]=wstar_open_streams")
    (family,) = text_string_to_metric_families(body.decode())
    assert family.name == "wstar_open_streams"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/readyz?verbose"])
def test_a_probe_is_told_ok(served: Served, path: str) -> None:
    status, _, body = served.ask(path)
    assert (status, body) == (200, b"ok\n")


def test_a_probe_is_told_what_is_wrong(served: Served) -> None:
    served.ready = False
    assert served.ask("/readyz")[0::2] == (503, b"not serving\n")
    assert served.ask("/livez")[0] == 200
    served.alive, served.ready = False, True
    assert served.ask("/livez")[0::2] == (503, b"the event loop stands still\n")
    assert served.ask("/readyz")[0] == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/livez/x", "/favicon.ico"])
def test_nothing_else_is_there(served: Served, path: str) -> None:
    assert served.ask(path)[0] == 404


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz", "/none"])
def test_head_is_get_without_the_body(served: Served, path: str) -> None:
    status, headers, body = served.ask(path)
    assert served.ask(path, "HEAD")[0::2] == (status, b"")
    assert served.ask(path, "HEAD")[1]["Content-Length"] == str(len(body))
    assert headers["Server"] == "wstar"


def test_nothing_can_be_posted(served: Served) -> None:
    assert served.ask("/metrics", "POST")[0] == 501


def test_silent_connections_hold_up_nobody_and_are_ended(served: Served) -> None:
    started = time.monotonic()
    silent = [served.connect() for _ in range(20)]
    assert served.ask("/livez")[0] == 200
    # Far below the 5 s that a connection gets.
    assert time.monotonic() - started < 2.0
    trickling = silent[0]
    ended_s = 0.0
    while not ended_s and time.monotonic() - started < 15.0:
        try:
            trickling.send(b"G")
            time.sleep(0.2)
        except OSError:
            ended_s = time.monotonic() - started
    # 5 s, looked at every 0.25 s, and one more byte until the end is noticed.
    assert 4.5 < ended_s < 8.0
    for connection in silent[1:]:
        assert ended(connection)
    for connection in silent:
        connection.close()


def test_more_connections_than_there_are_places_are_ended_at_once(served: Served) -> None:
    connections = [served.connect() for _ in range(40)]
    connections[-1].settimeout(2.0)
    assert ended(connections[-1])
    for connection in connections:
        connection.close()
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        try:
            assert served.ask("/livez")[0] == 200
            break
        except OSError:
            # The places of the closed ones are not all free yet.
            time.sleep(0.05)
    else:
        pytest.fail("no place became free")


def test_a_stop_ends_connections_threads_and_the_port() -> None:
    before = set(threading.enumerate())
    address, stop = listen(LOCAL, Metrics().registry, lambda: True, lambda: True)
    with socket.create_connection((address.host, address.port), timeout=5) as connection:
        connection.sendall(b"GET /metr")
        stop()
        assert ended(connection)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.host, address.port), timeout=5)
    deadline = time.monotonic() + 5.0
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) - before == set()


def test_an_address_in_use_is_told(served: Served) -> None:
    with pytest.raises(OSError, match=f"cannot listen on {served.address}: in use"):
        listen(served.address, Metrics().registry, lambda: True, lambda: True)


def test_an_ipv6_address_stands_in_brackets() -> None:
    address, stop = listen(Address("[::1]", 0), Metrics().registry, lambda: True, lambda: True)
    with socket.create_connection(("::1", address.port), timeout=5) as connection:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.0 200"
    stop()


def test_a_pulse_is_alive_for_30_s_after_a_beat_and_ready_when_told() -> None:
    cells = [0.0] * 4
    pulse, other = Pulse(cells, 1), Pulse(cells, 0)
    assert pulse.alive()
    assert not pulse.ready()
    pulse.set_ready(True)
    assert pulse.ready()
    assert not other.ready()
    cells[2] -= 29.0
    assert pulse.alive()
    cells[2] -= 2.0
    assert not pulse.alive()
    assert other.alive()
    pulse.beat()
    assert pulse.alive()
    cells[2] -= 31.0
    pulse.start()
    assert pulse.alive()
    assert not pulse.ready()
