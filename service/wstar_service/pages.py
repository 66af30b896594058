"""The HTTP port: /metrics for Prometheus, /livez and /readyz for whoever keeps the process."""

from __future__ import annotations

import logging
import math
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app

from wstar_service.settings import Address

# Scrapers and probes are a handful; each gets a thread.
_MOST_CONNECTIONS = 32
# For all of a request and its answer: a connection that only trickles is ended too.
_CONNECTION_S = 5.0
_PLAIN = ("Content-Type", "text/plain; charset=utf-8")
_LOG = logging.getLogger("wstar.pages")

Page = tuple[int, list[tuple[str, str]], bytes]


def listen(
    address: Address,
    registry: CollectorRegistry,
    alive: Callable[[], bool],
    ready: Callable[[], bool],
) -> tuple[Address, Callable[[], None]]:
    """Answer over HTTP from a thread; return where, and what ends it (and blocks until then).

    registry: what /metrics tells.
    alive, ready: what /livez and /readyz tell; asked in other threads.

    Raises OSError: the address cannot be listened on.
    """
    try:
        server = _Server(address, _Pages(registry, alive, ready))
    except OSError as error:
        raise not_listening(address) from error
    # Looked at every so often, it also ends connections that take too long.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.25})
    thread.daemon = True
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return Address(address.host, server.server_address[1]), stop


def not_listening(address: Address) -> OSError:
    """Return the error that says so, without the system's words for it."""
    return OSError(f"cannot listen on {address}: in use, or no address of this machine")


class _Pages:
    """The three pages, without HTTP's way of sending them."""

    def __init__(
        self,
        registry: CollectorRegistry,
        alive: Callable[[], bool],
        ready: Callable[[], bool],
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._alive = alive
        self._ready = ready

    def page(self, path: str, accept: str, accept_encoding: str) -> Page:
        """Return status, headers and body of what is at `path`."""
        path, _, query = path.partition("?")
        if path == "/metrics":
            return self._scraped(query, accept, accept_encoding)
        if path == "/livez":
            return _told(self._alive(), "the event loop stands still")
        if path == "/readyz":
            return _told(self._ready(), "not serving")
        return 404, [_PLAIN], b"/metrics, /livez or /readyz\n"

    def _scraped(self, query: str, accept: str, accept_encoding: str) -> Page:
        # prometheus_client chooses the format and packs it, as for its own server.
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/metrics",
            "QUERY_STRING": query,
            "HTTP_ACCEPT": accept,
            "HTTP_ACCEPT_ENCODING": accept_encoding,
        }
        started: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(self._metrics(environ, lambda *head: started.append(head)))
        ((status, headers),) = started
        return int(status.split()[0]), headers, body


def _told(good: bool, otherwise: str) -> Page:
    return (200, [_PLAIN], b"ok\n") if good else (503, [_PLAIN], f"{otherwise}\n".encode())


class _Handler(BaseHTTPRequestHandler):
    """One request per connection, as HTTP/1.0 has it."""

    server: _Server

    def do_GET(self) -> None:
        """Send a page."""
        status, headers, body = self.server.pages.page(
            self.path, self.headers.get("Accept", ""), self.headers.get("Accept-Encoding", "")
        )
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def version_string(self) -> str:
        """Name the server, and not the versions it is made of."""
        return "wstar"

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: scrapes and probes come all the time."""


class _Server(socketserver.ThreadingTCPServer):
    """A thread per connection, up to `_MOST_CONNECTIONS`, each for `_CONNECTION_S` at most."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    # More may wait to be refused than have places.
    request_queue_size = 4 * _MOST_CONNECTIONS

    def __init__(self, address: Address, pages: _Pages) -> None:
        self.pages = pages
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        host = address.host.strip("[]")
        found = socket.getaddrinfo(
            host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        self.address_family = found[0][0]
        super().__init__(found[0][4], _Handler)  # type: ignore[arg-type]

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Start the thread of a connection, or end the connection when there are too many."""
        with self._lock:
            full = len(self._open) >= _MOST_CONNECTIONS
            if not full:
                self._open[request] = time.monotonic()
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        """Forget a connection before it is closed."""
        with self._lock:
            self._open.pop(request, None)
            super().shutdown_request(request)

    def service_actions(self) -> None:
        """End connections that take too long; called between connections, and when idle."""
        self._end(time.monotonic() - _CONNECTION_S)

    def server_close(self) -> None:
        """Stop listening, and end the connections there are."""
        super().server_close()
        self._end(math.inf)

    def _end(self, since: float) -> None:
        """End the connections that were opened before `since`: whoever reads or writes stops."""
        with self._lock:
            for request, opened in self._open.items():
                if opened < since:
                    with suppress(OSError):
                        request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Say nothing of a scraper that went away; log what is a fault of ours."""
        if not isinstance(sys.exception(), OSError):
            _LOG.exception("a page failed")
