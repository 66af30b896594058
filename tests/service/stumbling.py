"""A weakness of gRPC's asynchronous client that tests of refusals meet on a busy machine."""

from __future__ import annotations

import grpc


def stumbled(error: grpc.aio.AioRpcError) -> bool:
    """Whether a call was refused while its client was still sending.

    The client then forgets the refusal and says INTERNAL; asked again, it hears it.
    """
    return "execute_batch" in str(error.debug_error_string())
