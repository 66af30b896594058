"""The way to a server, the same for both clients: security, retries, load balancing."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import grpc
import grpc.aio

from wstar.errors import InvalidInput, WstarError
from wstar.remote import error_of_call
from wstar.v1 import wstar_pb2 as pb

_SERVICE = pb.DESCRIPTOR.services_by_name["LatentSpaceService"].full_name
_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{"service": _SERVICE}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    # CANCELLED, by nobody here: gRPC ends so what reached a stopping server
                    # in the last moment, and what the server has not begun.
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
                },
            },
            # Only `wstar.streams` knows which faces of a broken stream were answered.
            {"name": [{"service": _SERVICE, "method": "EmbedStream"}]},
        ],
    }
)
_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.enable_retries", 1),
    # What does not fit here is sent once and never again; the default is 256 KiB.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    # A film strip of 1024 px pictures is larger than the 4 MiB that gRPC reads by default.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Servers may hang up on who pings more often than every 5 minutes; bytes that are sent and not
    # acknowledged end a connection after the timeout already.
    ("grpc.keepalive_time_ms", 360_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A server that restarts is found again within a second or so, not within two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
# What an `authorization` header may hold after the scheme: printable ASCII without spaces.
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Tls:
    """How a server proves itself, and the client to it if the server asks for that.

    ca: PEM file of the certificates to trust; None for those of the system.
    certificate: PEM file of the client's own certificate (and the chain behind it).
    key: PEM file of its key, without a password.
    server_name: name in the server's certificate, where it is not the host of the target.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files; InvalidInput names the one that cannot be used."""
        if (self.certificate is None) != (self.key is None):
            missing = "certificate" if self.certificate is None else "key"
            raise InvalidInput(f"tls.{missing}", None, "both tls.certificate and tls.key, or none")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca = certificate = key = None
        if self.ca is not None:
            ca = _read("tls.ca", self.ca)
            _usable("tls.ca", self.ca, lambda: context.load_verify_locations(self.ca))
        if self.certificate is not None and self.key is not None:
            certificate = _read("tls.certificate", self.certificate)
            key = _read("tls.key", self.key)
            own, secret = self.certificate, self.key
            public = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _usable("tls.certificate", own, lambda: public.load_verify_locations(own))
            # A password would be asked for on the terminal if there were none here.
            _usable("tls.key", secret, lambda: context.load_cert_chain(own, secret, password=""))
        return grpc.ssl_channel_credentials(ca, key, certificate)


@dataclass(frozen=True)
class Endpoint:
    """A server as a client reaches it; its channels retry, balance and stay alive alike.

    Calls that end with UNAVAILABLE or RESOURCE_EXHAUSTED, or with CANCELLED though nobody here
    cancelled them, are sent again, up to 5 times in all within their deadline: after 0.1 s,
    doubled each time, or when the server says.
    """

    target: str
    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    _credentials: grpc.ChannelCredentials | None = field(repr=False)
    _options: tuple[tuple[str, str | int], ...] = field(repr=False)

    @classmethod
    def of(cls, target: str, tls: Tls | None, token: str | None) -> Endpoint:
        """Describe a server; InvalidInput for a token or a TLS file that cannot be used."""
        if token is not None and not (isinstance(token, str) and _TOKEN.fullmatch(token)):
            # The value is a secret, wrong or not.
            raise InvalidInput("token", "another text", "printable ASCII without spaces")
        options = _OPTIONS
        if tls is not None and tls.server_name is not None:
            options += (("grpc.ssl_target_name_override", tls.server_name),)
        return cls(
            target,
            () if token is None else (("authorization", f"Bearer {token}"),),
            None if tls is None else tls.credentials(),
            options,
        )

    def channel(self) -> grpc.Channel:
        """Make a channel for threads."""
        if self._credentials is None:
            return grpc.insecure_channel(self.target, self._options)
        return grpc.secure_channel(self.target, self._credentials, self._options)

    def async_channel(self) -> grpc.aio.Channel:
        """Make a channel for the running event loop."""
        if self._credentials is None:
            return grpc.aio.insecure_channel(self.target, self._options)
        return grpc.aio.secure_channel(self.target, self._credentials, self._options)

    def error(self, failed: grpc.RpcError) -> WstarError:
        """Return the exception of `wstar.errors` that a failed call stands for."""
        # Every RpcError that gRPC raises is also the call that failed.
        error = error_of_call(cast(grpc.Call, failed), self.target)
        error.__cause__ = failed
        return error


def _read(name: str, path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(name, f"{path}: {error.strerror}", "a PEM file") from error


def _usable(name: str, path: Path, load: Callable[[], None]) -> None:
    try:
        load()
    except (ssl.SSLError, ValueError) as error:
        allowed = "a PEM file of the certificate's key" if name == "tls.key" else "a PEM file"
        raise InvalidInput(name, f"{path}: {error}", allowed) from error
