"""Every setting of one server: its default, its unit and what it means, written once."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from wstar.errors import InvalidInput

LogFormat = Literal["json", "text"]


@dataclass(frozen=True)
class Address:
    """A host and a TCP port, 0 to 65535; port 0 is any free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read HOST:PORT; an IPv6 host stands in brackets, as in [::1]:50051."""
        host, colon, port = text.rpartition(":")
        if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):
            raise argparse.ArgumentTypeError(f"found {text!r}, allowed: HOST:PORT, port 0 to 65535")
        return cls(host, int(port))

    def __str__(self) -> str:
        """HOST:PORT, as `parse` reads it."""
        return f"{self.host}:{self.port}"


class Meaning(NamedTuple):
    """What `--help` says of a setting; no unit for a setting that is on or off."""

    unit: str
    text: str
    least: float = 1
    most: float = 2**40


def _is(default: Any, *meaning: Any) -> Any:  # noqa: ANN401
    return field(default=default, metadata={"meaning": Meaning(*meaning)})


@dataclass(frozen=True)
class Settings:
    """What one server is told at its start; each field is a flag and a WSTAR_ variable.

    Either `repository` or `triton` says where the graphs are. Durations end in `_s` or `_ms`.
    """

    repository: Path | None = _is(None, "DIR", "folder of graphs to run in this process")
    triton: Address | None = _is(
        None, "HOST:PORT", "Triton server that runs the graphs instead (gRPC)"
    )
    triton_shared_memory: bool = _is(
        True, "", "pass pictures through shared memory when Triton is on this host"
    )
    listen: Address = _is(
        Address("127.0.0.1", 50051), "HOST:PORT", "where gRPC listens; port 0 is any free port"
    )
    metrics: Address | None = _is(
        None, "HOST:PORT", "where HTTP answers /metrics, /livez and /readyz; default: nowhere"
    )
    workers: int = _is(
        1, "PROCESSES", "processes that share the port; limits hold for each of them", 1, 256
    )
    reuse_port: bool = _is(
        False, "", "share the port, opened when ready, so that another server can take over"
    )
    threads: int | None = _is(
        None, "COUNT", "CPU threads per graph and for pictures; default: all there are", 1, 1024
    )
    batch_delay_ms: float = _is(
        0.0, "MS", "how long an idle engine waits for more faces to run together", 0, 1000
    )
    max_image_bytes: int = _is(10 * 2**20, "BYTES", "largest encoded picture")
    max_image_pixels: int = _is(4096 * 4096, "PIXELS", "largest picture, width times height")
    max_message_bytes: int = _is(64 * 2**20, "BYTES", "largest request", 1, 2**31 - 1)
    max_batch: int = _is(64, "FACES", "most faces in a list", 1, 65536)
    max_distances: int = _is(65536, "DISTANCES", "most distances in one reply", 1, 2**22)
    max_concurrency: int = _is(16, "CALLS", "most calls worked on at once", 1, 65536)
    max_queue: int = _is(
        64, "CALLS", "most calls that wait for a place; more are refused", 0, 65536
    )
    max_concurrency_per_token: int | None = _is(
        None, "CALLS", "most calls of one token, waiting ones too; default: no bound", 1, 65536
    )
    max_stream_in_flight: int = _is(
        32, "FACES", "most faces of one stream worked on at once", 1, 4096
    )
    tls_certificate: Path | None = _is(
        None, "FILE", "PEM certificate chain; read again when it changes; default: no TLS"
    )
    tls_key: Path | None = _is(None, "FILE", "PEM private key of the certificate")
    tls_client_ca: Path | None = _is(
        None, "FILE", "PEM certificates that sign clients: each must show one (mutual TLS)"
    )
    tokens: Path | None = _is(
        None, "FILE", "`NAME TOKEN` per line: calls need one; read again when it changes"
    )
    reflection: bool = _is(True, "", "let clients list the calls (gRPC reflection)")
    log_format: LogFormat = _is("json", "json|text", "one JSON object or one text per log line")
    otlp: Address | None = _is(
        None, "HOST:PORT", "collector of OpenTelemetry spans (OTLP over gRPC); default: none"
    )
    drain_s: float = _is(
        5.0, "SECONDS", "after SIGTERM, serve on so long while health says NOT_SERVING", 0, 3600
    )
    grace_s: float = _is(20.0, "SECONDS", "then, time for calls in flight to finish", 0, 3600)
    max_connection_age_s: float = _is(
        600.0,
        "SECONDS",
        "age, give or take 10 %, at which clients are asked to connect anew, so that new servers "
        "get their share; calls in flight finish",
        1,
        86400,
    )

    def __post_init__(self) -> None:
        """Refuse settings that do not fit together; InvalidInput names one of them."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            there = "tls_key" if self.tls_certificate is None else "tls_certificate"
            missing = "tls_certificate" if self.tls_certificate is None else "tls_key"
            raise InvalidInput(missing, "nothing", f"a file, where {there} is one")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise InvalidInput("tls_client_ca", str(self.tls_client_ca), "only with TLS")
        if self.max_concurrency_per_token is not None and self.tokens is None:
            raise InvalidInput(
                "max_concurrency_per_token", self.max_concurrency_per_token, "only with tokens"
            )

    def check_graphs(self) -> None:
        """Refuse a server that is told of no graphs, or of two sets; InvalidInput."""
        if (self.repository is None) == (self.triton is None):
            found = f"both: {self.repository} and {self.triton}"
            raise InvalidInput(
                "repository",
                "neither" if self.triton is None else found,
                "the graphs are either in --repository DIR (WSTAR_REPOSITORY) or on "
                "--triton HOST:PORT (WSTAR_TRITON)",
            )
