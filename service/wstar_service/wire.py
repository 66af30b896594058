"""Bytes that are no message of a call: refused with the field path `request`, not as a crash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


@dataclass(frozen=True)
class Unreadable:
    """What a call gets instead of a request that could not be parsed."""

    size_bytes: int

    def ByteSize(self) -> int:
        """Return its size, as messages do."""
        return self.size_bytes


class ReadableRequests(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Hands `Unreadable` to the calls of wstar: gRPC itself would answer UNKNOWN."""

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Any:  # noqa: ANN401
        """Return the handler of a call, reading requests in a way that never raises."""
        handler = await continuation(details)
        # The health service and reflection have no use for `Unreadable`.
        if handler is None or not details.method.startswith("/wstar."):
            return handler
        read = handler.request_deserializer

        def tolerant(data: bytes) -> object:
            try:
                return read(data)
            except DecodeError:
                return Unreadable(len(data))

        return handler._replace(request_deserializer=tolerant)
