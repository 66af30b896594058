"""A server that fails on demand: real gRPC on this machine, no models behind it.

A face is answered with a code full of its number: the length of its picture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from wstar.codes import Code
from wstar.graphs import Space
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import (
    LatentSpaceServiceServicer,
    add_LatentSpaceServiceServicer_to_server,
)
from wstar_service.status import status_of

SPACE_ID = "w_star-flaky"
N = 2
MAX_BATCH = 4
IN_FLIGHT = 3
MAX_MESSAGE_BYTES = 16 * 2**20


def code(number: float, space_id: str = SPACE_ID) -> Code:
    """The code of a picture of so many bytes."""
    return Code(np.full((N, 512), number, np.float32), Space.W_STAR, space_id)


@dataclass
class Break:
    """How one stream ends: after so many answers, with a status."""

    answers: int
    status: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE


@dataclass
class Flaky(LatentSpaceServiceServicer):
    """Fails as told, otherwise answers; remembers what it was sent.

    failures: errors of the next unary calls but GetInfo, one each.
    pushback_ms: sent with them as gRPC's servers do, if there is one.
    breaks: ends of the next streams, one each; OK when there are none left.
    refused: what is wrong with pictures of these bytes, in a stream.
    mute: streams are read and not answered while it is set.
    """

    failures: list[Exception | grpc.StatusCode] = field(default_factory=list)
    pushback_ms: int | None = None
    breaks: list[Break] = field(default_factory=list)
    refused: dict[bytes, Exception] = field(default_factory=dict)
    mute: threading.Event = field(default_factory=threading.Event)
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    streams: list[list[int]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    target: str = ""
    kill: Callable[[], object] = field(default=lambda: None)

    def GetInfo(
        self, request: pb.GetInfoRequest, context: grpc.ServicerContext
    ) -> pb.GetInfoResponse:
        """The limits."""
        return pb.GetInfoResponse(
            spaces=[pb.SpaceInfo(space="SPACE_W_STAR", space_id=SPACE_ID)],
            n=N,
            limits=pb.Limits(
                max_batch=MAX_BATCH,
                max_message_bytes=MAX_MESSAGE_BYTES,
                max_stream_in_flight=IN_FLIGHT,
                max_distances=100,
            ),
            capabilities=["embed"],
        )

    def Embed(self, request: pb.EmbedRequest, context: grpc.ServicerContext) -> pb.EmbedResponse:
        """The codes of all faces, 1 ms each."""
        self._receive(request, context)
        return pb.EmbedResponse(
            embeddings=[pb.Embedding(code=answer(face)) for face in request.faces],
            space_id=SPACE_ID,
            timings=pb.Timings(total_ms=len(request.faces), stage_ms={"encoder": 1.0}),
        )

    def Distance(
        self, request: pb.DistanceRequest, context: grpc.ServicerContext
    ) -> pb.DistanceResponse:
        """Percentile 50 everywhere: that the server was asked."""
        self._receive(request, context)
        matrix = request.mode == pb.DISTANCE_MODE_MATRIX
        count = len(request.a) * (len(request.b) if matrix else 1)
        return pb.DistanceResponse(
            distances=[pb.FaceDistance(percentile=50.0)] * count,
            rows=len(request.a),
            columns=len(request.b),
        )

    def Edit(self, request: pb.EditRequest, context: grpc.ServicerContext) -> pb.EditResponse:
        """One result, made with half of the edit if there is a budget."""
        self._receive(request, context)
        again = pb.Remeasured(squared_distance_moved=3.0) if request.remeasure else None
        scale = 0.5 if request.HasField("max_squared_distance") else 1.0
        result = pb.EditResult(code=code(1).to_message(), scale=scale, remeasured=again)
        return pb.EditResponse(results=[result])

    def EmbedStream(
        self, requests: Iterator[pb.EmbedStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.EmbedStreamResponse]:
        """Answer in pairs, the second first; what is left over when the caller closes his side."""
        self.metadata.append({pair[0]: pair[1] for pair in context.invocation_metadata()})
        context.add_callback(self.ended.set)
        end = self.breaks.pop(0) if self.breaks else None
        seen: list[int] = []
        self.streams.append(seen)
        held: list[pb.EmbedStreamRequest] = []
        answered = 0
        if end is not None and end.answers == 0:
            context.abort(end.status, "broken on purpose")
        for request in requests:
            seen.append(int(request.id))
            held.append(request)
            if self.mute.is_set() or len(held) < 2:
                continue
            while held:
                yield self._answer(held.pop())
                answered += 1
                if end is not None and answered == end.answers:
                    context.abort(end.status, "broken on purpose")
        while self.mute.is_set() and context.is_active():
            self.ended.wait(1)
        for request in held:
            yield self._answer(request)

    def _answer(self, request: pb.EmbedStreamRequest) -> pb.EmbedStreamResponse:
        reply = pb.EmbedStreamResponse(id=request.id, space_id=SPACE_ID)
        reply.timings.total_ms = 2.0
        error = self.refused.get(request.face.picture.data)
        if error is None:
            reply.embedding.code.CopyFrom(answer(request.face))
        else:
            reply.error.CopyFrom(item_error(error))
        return reply

    def _receive(self, request: Message, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.metadata.append({pair[0]: pair[1] for pair in context.invocation_metadata()})
        if not self.failures:
            return
        failure = self.failures.pop(0)
        trailers: list[tuple[str, str | bytes]] = []
        if self.pushback_ms is not None:
            trailers.append(("grpc-retry-pushback-ms", str(self.pushback_ms)))
        if isinstance(failure, Exception):
            status = rpc_status.to_status(status_of(failure, "request-1"))
            trailers += status.trailing_metadata
            code, text = status.code, status.details
        else:
            code, text = failure, "failed on purpose"
        context.set_trailing_metadata(tuple(trailers))
        context.abort(code, text)


def answer(face: pb.Face) -> pb.Code:
    """The code of a face."""
    return code(len(face.picture.data)).to_message()


def item_error(error: Exception) -> pb.ItemError:
    """Tell an error as the answer to one face, with the details that a call would carry."""
    status = status_of(error, "request-1")
    told = pb.ItemError(code=status.code, message=status.message)
    info, request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    for detail in status.details:
        if detail.Unpack(info):
            told.reason = info.reason
            told.metadata.update(info.metadata)
        elif detail.Unpack(request):
            told.field = request.field_violations[0].field
        elif detail.Unpack(retry):
            told.retry_delay.CopyFrom(retry.retry_delay)
    return told


@contextmanager
def flaky(
    address: str = "127.0.0.1:0",
    credentials: grpc.ServerCredentials | None = None,
    options: Sequence[tuple[str, int]] = (),
) -> Iterator[Flaky]:
    """Serve a `Flaky` until the block is left."""
    servicer = Flaky()
    pool = ThreadPoolExecutor(8)
    server = grpc.server(
        pool,
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
            *options,
        ],
    )
    add_LatentSpaceServiceServicer_to_server(servicer, server)
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    servicer.target = f"127.0.0.1:{port}"
    servicer.kill = lambda: server.stop(None).wait()
    server.start()
    try:
        yield servicer
    finally:
        server.stop(None).wait()
        pool.shutdown()
