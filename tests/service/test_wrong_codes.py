"""Every call that takes a code refuses every wrong code by its path, before any graph runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from wstar.v1 import wstar_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from tests.service.conftest import Running, World

SERVED = "w_star-test"
INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0], "INVALID_INPUT"
MISMATCH = grpc.StatusCode.FAILED_PRECONDITION.value[0], "SPACE_MISMATCH"
SIZE = 4 * 512


def spoiled(value: float, dtype: str) -> bytes:
    """A code with one number that is none, somewhere."""
    values = np.full(SIZE, 0.5, dtype)
    values[SIZE - 7] = value
    return values.tobytes()


# What is changed about a good code, the field that the refusal names, and its kind.
FAULTS: dict[str, tuple[dict[str, Any], str, tuple[int, str]]] = {
    "foreign id": ({"space_id": "w_star-0123456789abcdef"}, "space_id", MISMATCH),
    "no id": ({"space_id": ""}, "space_id", MISMATCH),
    "id of another case": ({"space_id": SERVED.upper()}, "space_id", MISMATCH),
    "id of another space": ({"space": pb.SPACE_W_PLUS}, "space_id", MISMATCH),
    "no space": ({"space": 0}, "space", INVALID),
    "unknown space": ({"space": 99}, "space", INVALID),
    "unknown dtype": ({"dtype": 3}, "dtype", INVALID),
    "no data": ({"data": b""}, "data", INVALID),
    "one byte short": ({"data": bytes(SIZE * 4 - 1)}, "data", INVALID),
    "one number short": ({"data": bytes(SIZE * 4 - 4)}, "data", INVALID),
    "one row short": ({"data": bytes((SIZE - 512) * 4)}, "data", INVALID),
    "one row more": ({"data": bytes((SIZE + 512) * 4)}, "data", INVALID),
    "f16 called f32": ({"data": bytes(SIZE * 2)}, "data", INVALID),
    "f64": ({"data": bytes(SIZE * 8)}, "data", INVALID),
    "NaN": ({"data": spoiled(np.nan, "<f4")}, "data", INVALID),
    "infinity": ({"data": spoiled(np.inf, "<f4")}, "data", INVALID),
    "minus infinity": ({"data": spoiled(-np.inf, "<f4")}, "data", INVALID),
}
# The same of half precision, which Edit refuses as such.
HALF_FAULTS: dict[str, tuple[dict[str, Any], str, tuple[int, str]]] = {
    "f32 called f16": ({"data": bytes(SIZE * 4)}, "data", INVALID),
    "f16 NaN": ({"data": spoiled(np.nan, "<f2")}, "data", INVALID),
    "f16 infinity": ({"data": spoiled(np.inf, "<f2")}, "data", INVALID),
}


def calls(world: World) -> dict[str, Callable[[pb.Face], Message]]:
    """Each list of codes a call takes, by the path of the wrong one; the others are good."""
    good = world.code(51)
    return {
        "faces[3]": lambda face: pb.EmbedRequest(faces=[good, good, good, face, good]),
        "a[1]": lambda face: pb.DistanceRequest(a=[good, face], b=[good, good]),
        "b[2]": lambda face: pb.DistanceRequest(
            a=[good], b=[good, good, face], mode="DISTANCE_MODE_MATRIX"
        ),
        "faces[1]": lambda face: pb.ClassifyRequest(faces=[world.face(), face]),
        "edit": lambda face: pb.EditRequest(face=face),
    }


@dataclass(frozen=True)
class Refusal:
    """What the caller is told, by the status of a call or in a stream."""

    code: int
    reason: str
    field: str
    metadata: Mapping[str, str]
    message: str


async def refused(running: Running, request: Message) -> Refusal:
    method = type(request).__name__.removesuffix("Request")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(running.stub, method)(request)
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert any(detail.Unpack(info) for detail in status.details)
    assert any(detail.Unpack(fields) for detail in status.details)
    (violation,) = fields.field_violations
    return Refusal(
        status.code, info.reason, violation.field, dict(info.metadata), caught.value.details() or ""
    )


async def refused_in_stream(running: Running, face: pb.Face, good: pb.Face) -> Refusal:
    """Send a wrong face between two good ones, which are answered."""
    stream = running.stub.EmbedStream()
    for name, sent in (("good", good), ("wrong", face), ("good too", good)):
        await stream.write(pb.EmbedStreamRequest(id=name, face=sent))
    await stream.done_writing()
    answers = {answer.id: answer async for answer in stream}
    assert answers["good"].HasField("embedding")
    assert answers["good too"].HasField("embedding")
    error = answers["wrong"].error
    return Refusal(error.code, error.reason, error.field, dict(error.metadata), error.message)


def check(name: str, path: str, found: Refusal) -> None:
    """Compare with what the fault `name` of the face at `path` must be told as."""
    changes, part, (code, reason) = (FAULTS | HALF_FAULTS)[name]
    if path == "edit":
        path, part = "face", "dtype" if name in HALF_FAULTS else part
    assert (found.code, found.reason) == (code, reason), (name, path)
    assert found.field == f"{path}.code.{part}", (name, path)
    assert found.message.startswith(f"{path}.code.{part}: "), name
    if reason == "SPACE_MISMATCH":
        foreign = changes.get("space_id", SERVED)
        served = "w_plus-test" if "space" in changes else SERVED
        assert (found.metadata["found"], found.metadata["served"]) == (foreign, served)


def test_every_wrong_code_is_refused_by_every_call(world: World) -> None:
    async def scenario() -> None:
        async with world.serving() as running:
            for name, (changes, _, _) in (FAULTS | HALF_FAULTS).items():
                face = world.code(51, half=name in HALF_FAULTS)
                for field, value in changes.items():
                    setattr(face.code, field, value)
                for path, request in calls(world).items():
                    check(name, path, await refused(running, request(face)))
                check(name, "face", await refused_in_stream(running, face, world.code(51)))
            assert running.runner.calls == []

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["", "x" * 129, "\U0001f642" * 33])
def test_a_face_of_a_stream_has_an_id_of_1_to_128_bytes(world: World, name: str) -> None:
    async def scenario() -> pb.EmbedStreamResponse:
        async with world.serving() as running:
            stream = running.stub.EmbedStream()
            for sent in ("y" * 128, "\U0001f642" * 32):
                await stream.write(pb.EmbedStreamRequest(id=sent, face=world.code(1)))
                assert (await stream.read()).WhichOneof("outcome") == "embedding"
            await stream.write(pb.EmbedStreamRequest(id=name, face=world.code(1)))
            await stream.done_writing()
            reply: pb.EmbedStreamResponse = await stream.read()
            return reply

    error = asyncio.run(scenario()).error
    assert (error.code, error.field) == (INVALID[0], "id")
    assert f"found '{len(name.encode())} bytes', allowed: 1 to 128 bytes" in error.message


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"id": "no face"}, "face"),
        ({"id": "no source", "face": pb.Face()}, "face"),
        ({"id": "no picture", "face": pb.Face(picture=pb.Picture(data=b"?"))}, "face.picture.data"),
        ({"id": "space", "space": 77}, "space"),
        ({"id": "dtype", "dtype": 77}, "dtype"),
    ],
)
def test_other_faults_of_a_face_of_a_stream_have_their_paths(
    world: World, fields: dict[str, Any], path: str
) -> None:
    async def scenario() -> pb.EmbedStreamResponse:
        async with world.serving() as running:
            stream = running.stub.EmbedStream()
            await stream.write(pb.EmbedStreamRequest(**fields))
            await stream.done_writing()
            reply: pb.EmbedStreamResponse = await stream.read()
            return reply

    reply = asyncio.run(scenario())
    assert reply.id == fields["id"]
    assert (reply.error.code, reply.error.field) == (INVALID[0], path)
