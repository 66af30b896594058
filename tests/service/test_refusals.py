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
from wstar.graphs import Space
from wstar.images import encode
from wstar.v1 import wstar_pb2 as pb

if TYPE_CHECKING:
    from tests.service.conftest import Running, World

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
Ask = Callable[["World"], Message]


@dataclass(frozen=True)
class Refusal:
    """What a caller reads of an error."""

    code: grpc.StatusCode
    reason: str
    field: str | None
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
    assert "RetryInfo" not in details
    violations = details["BadRequest"].field_violations if "BadRequest" in details else []
    return Refusal(
        error.code(),
        info.reason,
        violations[0].field if violations else None,
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


def good(world: World) -> pb.Face:
    return world.face()


def code(world: World) -> pb.Face:
    return world.code(51)


def changed(world: World, **fields: str | int | bytes) -> pb.Face:
    """A code face with other fields."""
    result = world.code(51)
    for name, value in fields.items():
        setattr(result.code, name, value)
    return result


def with_nan(world: World) -> pb.Face:
    values = np.frombuffer(code(world).code.data, "<f4").copy()
    values[700] = np.nan
    return changed(world, data=values.tobytes())


def enormous(world: World, space: Space) -> pb.Face:
    """A code of finite numbers that leave float32 in the graphs."""
    values = np.full((4, 512), 3e38, np.float32)
    return pb.Face(code=Code(values, space, world.space_id(space)).to_message())


def edit(
    *edits: tuple[str, Literal["step", "target_probability"], float],
    preserve: Sequence[str] = (),
    strengths: Sequence[float] = (),
) -> Ask:
    return lambda world: pb.EditRequest(
        face=world.face(),
        edits=[pb.AttributeEdit(attribute=name, **{kind: value}) for name, kind, value in edits],
        preserve=preserve,
        strengths=strengths,
    )


def embed(*faces: Callable[[World], pb.Face]) -> Ask:
    return lambda world: pb.EmbedRequest(faces=[face(world) for face in faces])


JPEG = encode(np.full((64, 64, 3), 99, np.uint8), "JPEG")
NOSE = pb.Point(x_px=9, y_px=9)
POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
A, B = ATTRIBUTES[0], ATTRIBUTES[2]
STEP: Literal["step"] = "step"
TARGET: Literal["target_probability"] = "target_probability"
# A number of no enum; protobuf takes it, its type stubs do not.
UNKNOWN: Any = 17
LONG = "\U0001f642" * 9999


def compare(**fields: Any) -> Ask:  # noqa: ANN401
    return lambda world: pb.DistanceRequest(
        **{"a": [world.code(51)], "b": [world.code(51)], **fields}
    )


def budget(value: float) -> Ask:
    return lambda world: pb.EditRequest(face=world.face(), max_squared_distance=value)


INVALID_INPUT: dict[str, tuple[Ask, str]] = {
    "no faces": (embed(), "faces"),
    "no source": (embed(good, lambda world: pb.Face()), "faces[1]"),
    "landmarks in one point": (
        embed(lambda world: picture_face(JPEG, **dict.fromkeys(POINTS, NOSE))),
        "faces[0].picture.landmarks",
    ),
    "a landmark left out": (
        embed(lambda world: picture_face(JPEG, **dict.fromkeys(POINTS[:-1], NOSE))),
        "faces[0].picture.landmarks.right_mouth",
    ),
    "a landmark that is no number": (
        embed(lambda world: picture_face(JPEG, left_eye=NOSE, right_eye=pb.Point(y_px=np.inf))),
        "faces[0].picture.landmarks.right_eye",
    ),
    "NaN code": (embed(code, code, with_nan), "faces[2].code.data"),
    "truncated code": (
        embed(lambda world: changed(world, data=code(world).code.data[:-4])),
        "faces[0].code.data",
    ),
    "no space": (embed(lambda world: changed(world, space=0)), "faces[0].code.space"),
    "unknown code type": (embed(lambda world: changed(world, dtype=9)), "faces[0].code.dtype"),
    "unknown space": (lambda w: pb.EmbedRequest(faces=[code(w)], space=UNKNOWN), "space"),
    "unknown number type": (lambda w: pb.EmbedRequest(faces=[code(w)], dtype=UNKNOWN), "dtype"),
    "code beyond half precision": (
        lambda world: pb.EmbedRequest(faces=[enormous(world, Space.W_STAR)], dtype=pb.DTYPE_F16),
        "dtype",
    ),
    "code that overflows": (
        embed(code, lambda world: enormous(world, Space.W_PLUS)),
        "faces[1].code.data",
    ),
    "unknown mode": (compare(mode=UNKNOWN), "mode"),
    "nothing in b": (compare(b=[]), "b"),
    "pairs of unequal lists": (lambda w: pb.DistanceRequest(a=[code(w)] * 2, b=[code(w)]), "b"),
    "wrong face in b": (
        lambda world: pb.DistanceRequest(a=[code(world)], b=[with_nan(world)]),
        "b[0].code.data",
    ),
    "unknown to ignore": (compare(ignore_attributes=[A, "Nice"]), "ignore_attributes[1]"),
    "all ignored": (compare(ignore_attributes=ATTRIBUTES), "ignore_attributes"),
    "unknown to classify": (
        lambda world: pb.ClassifyRequest(faces=[code(world)], attributes=[A, A, LONG]),
        "attributes[2]",
    ),
    "no face to edit": (lambda world: pb.EditRequest(), "face"),
    "f16 to edit": (
        lambda world: pb.EditRequest(face=world.code(51, half=True)),
        "face.code.dtype",
    ),
    "unknown format": (lambda w: pb.EditRequest(face=w.face(), format=UNKNOWN), "format"),
    "unknown to edit": (edit((A, STEP, 1), ("Nice", STEP, 1)), "edits[1].attribute"),
    "edited twice": (edit((A, STEP, 1), (A, STEP, 1)), "edits[1].attribute"),
    "no amount": (
        lambda world: pb.EditRequest(face=world.face(), edits=[pb.AttributeEdit(attribute=A)]),
        "edits[0]",
    ),
    "step and target": (
        edit((A, STEP, 1), (B, TARGET, 0.5)),
        "edits[1].target_probability",
    ),
    "infinite step": (edit((A, STEP, np.inf)), "edits[0].step"),
    "probability above 1": (edit((A, TARGET, 1.5)), "edits[0].target_probability"),
    "probability NaN": (edit((A, TARGET, np.nan)), "edits[0].target_probability"),
    "edited and preserved": (edit((A, TARGET, 0.5), preserve=[B, A]), "preserve[1]"),
    "unknown to preserve": (edit((A, STEP, 1), preserve=["Nice"]), "preserve[0]"),
    "more to preserve than there are": (edit((A, STEP, 1), preserve=[B] * 41), "preserve"),
    "strength NaN": (edit((A, STEP, 1), strengths=[1, np.nan]), "strengths[1]"),
    "strength too large": (edit((A, STEP, 1), strengths=[0, 1e38]), "strengths[1]"),
    "budget of nothing": (budget(0.0), "max_squared_distance"),
    "budget NaN": (budget(np.nan), "max_squared_distance"),
    "step too large": (edit((A, STEP, -1e300)), "edits[0].step"),
}
IMAGE_ERROR: dict[str, tuple[Ask, str]] = {
    "not a picture": (
        embed(good, lambda world: picture_face(b"GIF89a not a picture of ours")),
        "faces[1].picture.data",
    ),
    "no bytes": (embed(lambda world: picture_face(b"")), "faces[0].picture.data"),
    "truncated JPEG": (
        embed(lambda world: picture_face(JPEG[: len(JPEG) // 2])),
        "faces[0].picture.data",
    ),
}
LIMIT_EXCEEDED: dict[str, tuple[Ask, str]] = {
    "50,000 px wide PNG": (
        embed(lambda world: picture_face(wide_png(50_000, 50_000))),
        "faces[0].picture.data",
    ),
    "too many bytes": (
        embed(lambda world: picture_face(JPEG + bytes(2**20))),
        "faces[0].picture.data",
    ),
    "too many faces": (embed(*[code] * 9), "faces"),
    "too many strengths": (edit((A, STEP, 1), strengths=range(9)), "strengths"),
}
SPACE_MISMATCH: dict[str, tuple[Ask, str]] = {
    "id of another model": (
        embed(code, lambda world: changed(world, space_id="w_star-other")),
        "faces[1].code.space_id",
    ),
    "no id": (embed(lambda world: changed(world, space_id="")), "faces[0].code.space_id"),
    "id of another space": (
        embed(lambda world: changed(world, space=pb.SPACE_W_PLUS)),
        "faces[0].code.space_id",
    ),
}


@pytest.mark.parametrize(
    ("cases", "status", "reason"),
    [
        (INVALID_INPUT, INVALID, "INVALID_INPUT"),
        (IMAGE_ERROR, INVALID, "IMAGE_ERROR"),
        (LIMIT_EXCEEDED, EXHAUSTED, "LIMIT_EXCEEDED"),
        (SPACE_MISMATCH, grpc.StatusCode.FAILED_PRECONDITION, "SPACE_MISMATCH"),
    ],
    ids=["invalid", "image", "limit", "space"],
)
def test_wrong_requests_are_refused_and_the_server_keeps_serving(
    world: World, cases: dict[str, tuple[Ask, str]], status: grpc.StatusCode, reason: str
) -> None:
    """One server answers all of them, and a good request after each."""

    async def scenario() -> dict[str, Refusal]:
        found = {}
        async with world.serving(max_batch=8, max_image_bytes=2**20) as running:
            for name, (ask, _) in cases.items():
                found[name] = await refusal(running, ask(world))
                await running.stub.Embed(pb.EmbedRequest(faces=[world.code(51)]))
        return found

    found = asyncio.run(scenario())
    for name, (_, path) in cases.items():
        got = found[name]
        assert (got.code, got.reason, got.field) == (status, reason, path), name
        assert got.message.startswith(f"{path}: "), name
        cut = got.message.endswith("...")
        assert "allowed" in got.message or "served" in got.message or cut, name
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
def test_dependent_attributes_are_named(dependent_world: World, request_of: Ask, path: str) -> None:
    async def scenario() -> Refusal:
        async with dependent_world.serving() as running:
            return await refusal(running, request_of(dependent_world))

    found = asyncio.run(scenario())
    assert (found.code, found.reason, found.field) == (INVALID, "DEPENDENT_ATTRIBUTES", path)
    assert ATTRIBUTES[2] in found.message
    assert ATTRIBUTES[3] in found.message
    assert ATTRIBUTES[4] not in found.message
