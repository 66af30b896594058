"""A gRPC server that does nothing: what a call costs before any work.

The call `/empty/N` is answered with N bytes. `python tests/bench/empty_server.py` prints its
address and serves until it is terminated.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc


class _Empty(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Answers every method."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401
        """Return the handler of a call."""
        reply = bytes(int(details.method.rpartition("/")[2]))

        async def answer(request: bytes, context: object) -> bytes:
            return reply

        return grpc.unary_unary_rpc_method_handler(answer)


async def _serve() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Empty(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve())
