"""A server of canned replies on this machine: real gRPC, no models behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from grpc_status import rpc_status

from wstar.arguments import SERVER_VARIABLE
from wstar.cli import main
from wstar.codes import Code
from wstar.errors import ImageError
from wstar.graphs import Space
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import (
    LatentSpaceServiceServicer,
    add_LatentSpaceServiceServicer_to_server,
)
from wstar_service.status import status_of

Wstar = Callable[..., int]

MAX_BATCH = 3
MAX_MESSAGE_BYTES = 200_000
SPACE_ID = "w_star-canned"


def code(value: float) -> Code:
    """A code of two rows, all of one number."""
    return Code(np.full((2, 512), value, np.float32), Space.W_STAR, SPACE_ID)


def scores(*logits: float) -> list[pb.AttributeScore]:
    """Scores of the first attributes."""
    names = ("Smiling", "Male", "Young")
    return [
        pb.AttributeScore(attribute=name, logit=logit, probability=1 / (1 + np.exp(-logit)))
        for name, logit in zip(names, logits, strict=False)
    ]


@dataclass
class Canned(LatentSpaceServiceServicer):
    """Answers every call by itself, remembers requests, and fails with `error` if there is one.

    A face is answered by the length of its picture, or the first number of its code.
    """

    target: str = ""
    requests: list[Any] = field(default_factory=list)
    error: Exception | None = None
    gate: threading.Event = field(default_factory=threading.Event)

    def GetInfo(
        self, request: pb.GetInfoRequest, context: grpc.ServicerContext
    ) -> pb.GetInfoResponse:
        """Three limits and one space."""
        return pb.GetInfoResponse(
            version="1.2.3",
            spaces=[
                pb.SpaceInfo(
                    space="SPACE_W_STAR",
                    space_id=SPACE_ID,
                    evaluation={"pearson": 0.75},
                    labels={"world": "canned"},
                )
            ],
            attributes=["Smiling", "Male", "Young"],
            n=2,
            resolution=64,
            encoder_side=32,
            limits=pb.Limits(
                max_image_bytes=1000,
                max_image_pixels=2000,
                max_batch=MAX_BATCH,
                max_concurrency=4,
                max_message_bytes=MAX_MESSAGE_BYTES,
                max_queue=8,
                max_stream_in_flight=2,
                max_distances=1000,
            ),
            runner="canned runner",
            capabilities=["embed", "distance", "classify", "edit"],
        )

    def Embed(self, request: pb.EmbedRequest, context: grpc.ServicerContext) -> pb.EmbedResponse:
        """Codes filled with the number of each face."""
        self._receive(request, context)
        reply = pb.EmbedResponse(
            space_id=SPACE_ID, timings=pb.Timings(total_ms=2.0, stage_ms={"encoder": 1.0})
        )
        for face in request.faces:
            found = Code(np.full((2, 512), _number(face), np.float32), Space.W_STAR, SPACE_ID)
            message = found.to_message()
            reply.embeddings.add(
                code=message,
                w_plus=message if request.include_w_plus else None,
                scores=scores(0.0, 2.0, -2.0) if request.include_scores else (),
            )
        return reply

    def EmbedStream(
        self, requests: Iterator[pb.EmbedStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.EmbedStreamResponse]:
        """Codes filled with the number of each face; "late" is answered after the next face.

        "bad" is no picture, and "foreign" has a code of another space.
        """
        late: list[pb.EmbedStreamResponse] = []
        for request in requests:
            self._receive(request, context)
            data = request.face.picture.data
            space_id = "foreign" if data == b"foreign" else SPACE_ID
            half = request.dtype == pb.DTYPE_F16
            values = np.full((2, 512), _number(request.face), np.float16 if half else np.float32)
            reply = pb.EmbedStreamResponse(id=request.id, space_id=space_id)
            if data == b"bad":
                refused = ImageError("face.picture.data", data, "a picture")
                reply.error.code, reply.error.message = 3, str(refused)
                reply.error.reason, reply.error.field = "IMAGE_ERROR", refused.field
            else:
                found = Code(values, Space.W_STAR, space_id)
                reply.embedding.code.CopyFrom(found.to_message())
            if data == b"late":
                late.append(reply)
                continue
            yield reply
            yield from late
            late.clear()

    def Distance(
        self, request: pb.DistanceRequest, context: grpc.ServicerContext
    ) -> pb.DistanceResponse:
        """Squared distances 0, 1, 4, 9, ..."""
        self._receive(request, context)
        matrix = request.mode == pb.DISTANCE_MODE_MATRIX
        columns = len(request.b) if matrix else 1
        reply = pb.DistanceResponse(rows=len(request.a), columns=columns, space_id=SPACE_ID)
        for i in range(len(request.a) * columns):
            shares = [pb.AttributeShare(attribute="Male", share=i / 2)] if request.explain else ()
            residual = i * i - i / 2 if request.explain else 0.0
            reply.distances.add(
                squared_distance=i * i, distance=i, percentile=i, shares=shares, residual=residual
            )
        return reply

    def Classify(
        self, request: pb.ClassifyRequest, context: grpc.ServicerContext
    ) -> pb.ClassifyResponse:
        """Logits from the number of each face."""
        self._receive(request, context)
        return pb.ClassifyResponse(
            classifications=[
                pb.Classification(scores=scores(_number(face), -1.0)) for face in request.faces
            ],
            space_id=SPACE_ID,
        )

    def Edit(self, request: pb.EditRequest, context: grpc.ServicerContext) -> pb.EditResponse:
        """One result per strength; the picture is its text."""
        self._receive(request, context)
        return pb.EditResponse(
            results=[
                pb.EditResult(
                    strength=strength,
                    picture=f"{strength:g}".encode(),
                    code=code(strength).to_message(),
                    scores=scores(strength, 0.0),
                    squared_distance_moved=strength**2,
                    scale=0.5 if request.HasField("max_squared_distance") else 1.0,
                    remeasured=pb.Remeasured(scores=scores(0.0, 1.0), squared_distance_moved=9.0)
                    if request.remeasure
                    else None,
                )
                for strength in request.strengths or [1.0]
            ],
            scores_before=scores(0.0, 0.0),
            space_id=SPACE_ID,
        )

    def _receive(self, request: Message, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.gate.wait(20)
        if self.error is not None:
            status = status_of(self.error, "request-1")
            context.abort_with_status(rpc_status.to_status(status))


def _number(face: pb.Face) -> float:
    if face.WhichOneof("source") == "picture":
        return len(face.picture.data)
    return float(Code.from_message(face.code, "code").values[0, 0])


@pytest.fixture
def canned() -> Iterator[Canned]:
    """A served `Canned` on a free port."""
    servicer = Canned()
    servicer.gate.set()
    server = grpc.server(
        ThreadPoolExecutor(2),
        options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)],
    )
    add_LatentSpaceServiceServicer_to_server(servicer, server)
    servicer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    servicer.gate.set()
    server.stop(None).wait()


@pytest.fixture
def wstar(canned: Canned, monkeypatch: pytest.MonkeyPatch) -> Wstar:
    """Run the command against the canned server."""
    monkeypatch.setenv(SERVER_VARIABLE, canned.target)
    return lambda *arguments: main([str(argument) for argument in arguments])


@pytest.fixture
def faces(tmp_path: Path) -> list[Path]:
    """Two files; the canned server answers by their lengths."""
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    for length, path in enumerate(paths, start=1):
        path.write_bytes(b"x" * length)
    return paths
