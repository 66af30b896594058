"""Health of a server, whose watchers are let go when it stops."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

# A watcher who was just notified has yet to write.
_LAST_WRITE_S = 0.05

Context = grpc.aio.ServicerContext[Any, Any]


class Health(health.aio.HealthServicer):  # type: ignore[misc, name-defined]
    """gRPC's health service; its own `Watch` never ends and would hold up a stop."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Task[None]] = set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Send the status and each change of it, until the caller goes or the server stops."""
        watch = asyncio.ensure_future(super().Watch(request, context))
        self._watches.add(watch)
        try:
            # Unlike `await watch`, it ends without an error when `end_watches` cancels.
            await asyncio.wait([watch])
            if not watch.cancelled():
                watch.result()
        finally:
            self._watches.discard(watch)
            watch.cancel()

    async def end_watches(self) -> None:
        """End every stream after its watcher was told the last status."""
        while self._watches:
            await asyncio.sleep(_LAST_WRITE_S)
            for watch in list(self._watches):
                watch.cancel()
