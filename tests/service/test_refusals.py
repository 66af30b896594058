"""Every wrong request: status, reason, path of the field; and the server keeps serving."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from wstar.attributes import ATTRIBUTES
from wstar.codes import Code
from wstar.errors import RunnerUnavailable
from wstar.graphs import Space
from wstar.images import encode
from wstar.v1 import wstar_pb2 as pb

if TYPE_CHECKING:
    from tests.service.conftest import Running, World

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@dataclass(frozen=True)
class Refusal:
    """What a caller reads of an error."""

    code: grpc.StatusCode
    reason: str
    field: str | None
    retry_after_s: float | None
    message: str


async def refusal(running: Running, request: Message) -> Refusal:
    """Send a request that must fail, by the call of its type, and read the details."""
    method = type(request).__name__.removesuffix("Request")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(running.stub, method)(request)
    error = caught.value
    # An AioRpcError has the methods that from_call reads, under another base class.
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    details: dict[str, Any] = {}
    for detail in status.details:
        name = detail.TypeName().rpartition(".")[2]
        details[name] = getattr(error_details_pb2, name)()
        detail.Unpack(details[name])
    info = details["ErrorInfo"]
    assert info.domain == "wstar"
    trailers: dict[str, Any] = dict(error.trailing_metadata())  # type: ignore[arg-type]
    assert info.metadata["request_id"] == trailers["x-request-id"] != ""
    assert ("RetryInfo" in details) == (info.reason == "OVERLOADED")
    violations = details["BadRequest"].field_violations if "BadRequest" in details else []
    retry = details.get("RetryInfo")
    return Refusal(
        error.code(),
        info.reason,
        violations[0].field if violations else None,
        retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
        status.message,
    )


def picture_face(data: bytes, **landmarks: pb.Point) -> pb.Face:
    found = pb.Landmarks(**landmarks) if landmarks else None
    return pb.Face(picture=pb.Picture(data=data, landmarks=found))


def wide_png(width: int, height: int) -> bytes:
    """A PNG that says it is large, in a hundred bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"IDAT" + zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (chunk, data, b"IEND")
    )


def changed(face: pb.Face, **fields: str | int | bytes) -> pb.Face:
    """A code face with other fields."""
    result = pb.Face()
    result.CopyFrom(face)
    for name, value in fields.items():
        setattr(result.code, name, value)
    return result


def with_nan(face: pb.Face) -> pb.Face:
    values = np.frombuffer(face.code.data, "<f4").copy()
    values[700] = np.nan
    return changed(face, data=values.tobytes())


def enormous(world: World, space: Space) -> pb.Face:
    """A code of finite numbers that leave float32 in the graphs."""
    values = np.full((4, 512), 3e38, np.float32)
    return pb.Face(code=Code(values, space, world.space_id(space)).to_message())


def edit(
    *edits: tuple[str, Literal["step", "target_probability"], float],
    preserve: Sequence[str] = (),
    strengths: Sequence[float] = (),
) -> Callable[[World], pb.EditRequest]:
    return lambda world: pb.EditRequest(
        face=world.face(),
        edits=[pb.AttributeEdit(attribute=name, **{kind: value}) for name, kind, value in edits],
        preserve=preserve,
        strengths=strengths,
    )


def embed(*faces: Callable[[World], pb.Face]) -> Callable[[World], pb.EmbedRequest]:
    return lambda world: pb.EmbedRequest(faces=[face(world) for face in faces])


JPEG = encode(np.full((64, 64, 3), 99, np.uint8), "JPEG")
A, B = ATTRIBUTES[0], ATTRIBUTES[2]
STEP: Literal["step"] = "step"
TARGET: Literal["target_probability"] = "target_probability"
# A number of no enum; protobuf takes it, its type stubs do not.
UNKNOWN: Any = 17
LONG = "\U0001f642" * 9999
good: Callable[[World], pb.Face] = lambda world: world.face()  # noqa: E731
code: Callable[[World], pb.Face] = lambda world: world.code(51)  # noqa: E731

CASES: dict[str, tuple[Callable[[World], Any], grpc.StatusCode, str, str]] = {
    "no faces": (embed(), INVALID, "INVALID_INPUT", "faces"),
    "no source": (
        embed(good, lambda world: pb.Face()),
        INVALID,
        "INVALID_INPUT",
        "faces[1]",
    ),
    "not a picture": (
        embed(good, lambda world: picture_face(b"GIF89a not a picture of ours")),
        INVALID,
        "IMAGE_ERROR",
        "faces[1].picture.data",
    ),
    "no bytes": (
        embed(lambda world: picture_face(b"")),
        INVALID,
        "IMAGE_ERROR",
        "faces[0].picture.data",
    ),
    "truncated JPEG": (
        embed(lambda world: picture_face(JPEG[: len(JPEG) // 2])),
        INVALID,
        "IMAGE_ERROR",
        "faces[0].picture.data",
    ),
    "50,000 px wide PNG": (
        embed(lambda world: picture_face(wide_png(50_000, 50_000))),
        EXHAUSTED,
        "LIMIT_EXCEEDED",
        "faces[0].picture.data",
    ),
    "too many bytes": (
        embed(lambda world: picture_face(JPEG + bytes(2**20))),
        EXHAUSTED,
        "LIMIT_EXCEEDED",
        "faces[0].picture.data",
    ),
    "landmarks in one point": (
        embed(lambda world: picture_face(JPEG, nose=pb.Point(x_px=9, y_px=9))),
        INVALID,
        "INVALID_INPUT",
        "faces[0].picture.landmarks",
    ),
    "too many faces": (embed(*[code] * 9), EXHAUSTED, "LIMIT_EXCEEDED", "faces"),
    "NaN code": (
        embed(code, code, lambda world: with_nan(world.code(51))),
        INVALID,
        "INVALID_INPUT",
        "faces[2].code.data",
    ),
    "truncated code": (
        embed(lambda world: changed(world.code(51), data=world.code(51).code.data[:-4])),
        INVALID,
        "INVALID_INPUT",
        "faces[0].code.data",
    ),
    "wrong space id": (
        embed(code, lambda world: changed(world.code(51), space_id="w_star-other")),
        grpc.StatusCode.FAILED_PRECONDITION,
        "SPACE_MISMATCH",
        "faces[1].code.space_id",
    ),
    "space id of another space": (
        embed(lambda world: changed(world.code(51), space=pb.SPACE_W_PLUS)),
        grpc.StatusCode.FAILED_PRECONDITION,
        "SPACE_MISMATCH",
        "faces[0].code.space_id",
    ),
    "code of no space": (
        embed(lambda world: changed(world.code(51), space=0)),
        INVALID,
        "INVALID_INPUT",
        "faces[0].code.space",
    ),
    "unknown number type of a code": (
        embed(lambda world: changed(world.code(51), dtype=9)),
        INVALID,
        "INVALID_INPUT",
        "faces[0].code.dtype",
    ),
    "unknown space": (
        lambda world: pb.EmbedRequest(faces=[code(world)], space=UNKNOWN),
        INVALID,
        "INVALID_INPUT",
        "space",
    ),
    "unknown number type": (
        lambda world: pb.EmbedRequest(faces=[code(world)], dtype=UNKNOWN),
        INVALID,
        "INVALID_INPUT",
        "dtype",
    ),
    "code beyond half precision": (
        lambda world: pb.EmbedRequest(faces=[enormous(world, Space.W_STAR)], dtype=pb.DTYPE_F16),
        INVALID,
        "INVALID_INPUT",
        "dtype",
    ),
    "code that overflows": (
        embed(code, lambda world: enormous(world, Space.W_PLUS)),
        INVALID,
        "INVALID_INPUT",
        "faces[1].code.data",
    ),
    "unknown mode": (
        lambda world: pb.DistanceRequest(a=[code(world)], b=[code(world)], mode=UNKNOWN),
        INVALID,
        "INVALID_INPUT",
        "mode",
    ),
    "pairs of unequal lists": (
        lambda world: pb.DistanceRequest(a=[code(world)], b=[code(world)] * 2),
        INVALID,
        "INVALID_INPUT",
        "b",
    ),
    "wrong face in b": (
        lambda world: pb.DistanceRequest(a=[code(world)], b=[with_nan(code(world))]),
        INVALID,
        "INVALID_INPUT",
        "b[0].code.data",
    ),
    "unknown attribute to ignore": (
        lambda world: pb.DistanceRequest(
            a=[code(world)], b=[code(world)], ignore_attributes=[A, "Nice"]
        ),
        INVALID,
        "INVALID_INPUT",
        "ignore_attributes[1]",
    ),
    "all attributes ignored": (
        lambda world: pb.DistanceRequest(
            a=[code(world)], b=[code(world)], ignore_attributes=ATTRIBUTES
        ),
        EXHAUSTED,
        "LIMIT_EXCEEDED",
        "ignore_attributes",
    ),
    "unknown attribute to classify": (
        lambda world: pb.ClassifyRequest(
            faces=[code(world)], attributes=[A, A, "\U0001f642" * 9999]
        ),
        INVALID,
        "INVALID_INPUT",
        "attributes[2]",
    ),
    "no face to edit": (lambda world: pb.EditRequest(), INVALID, "INVALID_INPUT", "face"),
    "f16 to edit": (
        lambda world: pb.EditRequest(face=world.code(51, half=True)),
        INVALID,
        "INVALID_INPUT",
        "face.code.dtype",
    ),
    "unknown format": (
        lambda world: pb.EditRequest(face=world.face(), format=UNKNOWN),
        INVALID,
        "INVALID_INPUT",
        "format",
    ),
    "unknown attribute to edit": (
        edit((A, STEP, 1), ("Nice", STEP, 1)),
        INVALID,
        "INVALID_INPUT",
        "edits[1].attribute",
    ),
    "edited twice": (
        edit((A, STEP, 1), (A, STEP, 1)),
        INVALID,
        "INVALID_INPUT",
        "edits[1].attribute",
    ),
    "no amount": (
        lambda world: pb.EditRequest(face=world.face(), edits=[pb.AttributeEdit(attribute=A)]),
        INVALID,
        "INVALID_INPUT",
        "edits[0]",
    ),
    "step and target": (
        edit((A, STEP, 1), (B, TARGET, 0.5)),
        INVALID,
        "INVALID_INPUT",
        "edits[1].target_probability",
    ),
    "infinite step": (edit((A, STEP, np.inf)), INVALID, "INVALID_INPUT", "edits[0].step"),
    "probability above 1": (
        edit((A, TARGET, 1.5)),
        INVALID,
        "INVALID_INPUT",
        "edits[0].target_probability",
    ),
    "probability NaN": (
        edit((A, TARGET, np.nan)),
        INVALID,
        "INVALID_INPUT",
        "edits[0].target_probability",
    ),
    "edited and preserved": (
        edit((A, TARGET, 0.5), preserve=[B, A]),
        INVALID,
        "INVALID_INPUT",
        "preserve[1]",
    ),
    "unknown attribute to preserve": (
        edit((A, STEP, 1), preserve=["Nice"]),
        INVALID,
        "INVALID_INPUT",
        "preserve[0]",
    ),
    "strength NaN": (
        edit((A, STEP, 1), strengths=[1, np.nan]),
        INVALID,
        "INVALID_INPUT",
        "strengths[1]",
    ),
    "too many strengths": (
        edit((A, STEP, 1), strengths=range(9)),
        EXHAUSTED,
        "LIMIT_EXCEEDED",
        "strengths",
    ),
    "step beyond float32": (edit((A, STEP, 1e300)), INVALID, "INVALID_INPUT", "edits"),
    "step that overflows in the graph": (
        edit((A, STEP, 3e38), strengths=[0, 1]),
        INVALID,
        "INVALID_INPUT",
        "edits",
    ),
}


def test_wrong_requests_are_refused_and_the_server_keeps_serving(world: World) -> None:
    """One server answers all of them, and a good request after each."""

    async def scenario() -> dict[str, Refusal]:
        found = {}
        async with world.serving(max_batch=8, max_image_bytes=2**20) as running:
            for name, (request, *_) in CASES.items():
                found[name] = await refusal(running, request(world))
                await running.stub.Embed(pb.EmbedRequest(faces=[world.code(51)]))
        return found

    found = asyncio.run(scenario())
    for name, (_, status, reason, path) in CASES.items():
        got = found[name]
        assert (got.code, got.reason, got.field) == (status, reason, path), name
        assert got.message.startswith(f"{path}: "), name
        assert "allowed" in got.message or "served" in got.message, name
        assert len(got.message) < 1000, name


@pytest.mark.parametrize(
    ("request_of", "path"),
    [
        (
            lambda world: pb.DistanceRequest(
                a=[world.code(0)], b=[world.code(9)], ignore_attributes=ATTRIBUTES[2:4]
            ),
            "ignore_attributes",
        ),
        (
            lambda world: pb.DistanceRequest(a=[world.code(0)], b=[world.code(9)], explain=True),
            "explain",
        ),
        (edit((ATTRIBUTES[2], TARGET, 0.9), preserve=[ATTRIBUTES[3]]), "edits"),
        (edit((ATTRIBUTES[2], STEP, 1.0), preserve=[ATTRIBUTES[3]]), "edits"),
    ],
)
def test_dependent_attributes_are_named(
    dependent_world: World, request_of: Callable[[World], Any], path: str
) -> None:
    async def scenario() -> Refusal:
        async with dependent_world.serving() as running:
            return await refusal(running, request_of(dependent_world))

    found = asyncio.run(scenario())
    assert (found.code, found.reason, found.field) == (INVALID, "DEPENDENT_ATTRIBUTES", path)
    assert ATTRIBUTES[2] in found.message
    assert ATTRIBUTES[3] in found.message
    assert ATTRIBUTES[4] not in found.message


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (RunnerUnavailable("engine lost"), ("UNAVAILABLE", "RUNNER_UNAVAILABLE")),
        (ZeroDivisionError("secret"), ("INTERNAL", "INTERNAL")),
    ],
)
def test_a_failing_engine_is_told_without_its_secrets(
    world: World, failure: Exception, expected: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> Refusal:
        async with world.serving() as running:
            running.runner.failure = failure
            found = await refusal(running, pb.EmbedRequest(faces=[world.face()]))
            running.runner.failure = None
            await running.stub.Embed(pb.EmbedRequest(faces=[world.face()]))
            return found

    found = asyncio.run(scenario())
    assert (found.code.name, found.reason) == expected
    assert "secret" not in found.message
    assert found.field is None
    assert ("secret" in caplog.text) == isinstance(failure, ZeroDivisionError)


def test_nan_from_a_picture_is_the_engine_s_fault(world: World) -> None:
    async def scenario() -> Refusal:
        async with world.serving() as running:
            running.runner.spoiled = {"flow": float("nan")}
            return await refusal(running, pb.ClassifyRequest(faces=[world.face()]))

    found = asyncio.run(scenario())
    assert (found.code.name, found.reason) == ("UNAVAILABLE", "RUNNER_UNAVAILABLE")
    assert found.message.startswith("faces[0]: ")


def test_a_full_server_refuses_at_once_and_says_when_to_return(world: World) -> None:
    async def scenario() -> Refusal:
        async with world.serving(max_concurrency=1) as running:
            runner = running.runner
            runner.gate.clear()
            runner.entered.clear()
            first = asyncio.ensure_future(
                running.stub.Embed(pb.EmbedRequest(faces=[world.face(102)]))
            )
            await runner.entered.wait()
            found = await refusal(running, pb.EmbedRequest(faces=[world.code(51)]))
            await running.stub.GetInfo(pb.GetInfoRequest())
            runner.gate.set()
            await first
            await running.stub.Embed(pb.EmbedRequest(faces=[world.code(51)]))
            return found

    found = asyncio.run(scenario())
    assert (found.code, found.reason) == (EXHAUSTED, "OVERLOADED")
    assert found.retry_after_s == 0.5
