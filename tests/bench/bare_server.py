"""A gRPC server that decodes pictures, runs encoder and flow, and does nothing else.

What `Embed` costs less than this is Python's gRPC and the waking of sleeping threads: no service
built on them could be without. `python -m tests.bench.bare_server DIR THREADS` prints its address
and serves until it is terminated.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from tests.bench.served import Bare

from wstar.v1 import wstar_pb2 as pb

METHOD = "/bare/Embed"


def main() -> None:
    """Serve `METHOD`: an EmbedRequest of pictures to the bytes of their codes."""
    bare = Bare(Path(sys.argv[1]), int(sys.argv[2]))
    asyncio.run(_serve(bare))


async def _serve(bare: Bare) -> None:
    loop, engine = asyncio.get_running_loop(), ThreadPoolExecutor(1)

    def work(request: pb.EmbedRequest) -> bytes:
        return bare.embed(bare.read([face.picture.data for face in request.faces])).tobytes()

    async def answer(request: pb.EmbedRequest, context: object) -> bytes:
        return await loop.run_in_executor(engine, work, request)

    handler = grpc.unary_unary_rpc_method_handler(answer, pb.EmbedRequest.FromString)
    service, name = METHOD.strip("/").split("/")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {name: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    main()
