"""Requests for every call: well formed but strange, and bytes that are no message at all."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from tests.load.fuzz_mutations import mutated

from wstar.v1 import wstar_pb2 as pb

METHODS = ("Embed", "EmbedStream", "Distance", "Classify", "Edit", "GetInfo")
_WEIGHTS = (4, 3, 4, 4, 4, 1)
_NUMBERS = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-45, -1e-310, 1e6, 1.0000001e6, 1e30, -1e300),
    *(float("nan"), float("inf"), float("-inf"), 3.4e38, 0.001, 0.999, 1.0000001, 65504.0),
)
_UNKNOWN = (4, 9, 17, -1, 2**31 - 1, -(2**31))


@dataclass(frozen=True)
class World:
    """What is served, and a good picture."""

    attributes: Sequence[str]
    space_ids: dict[int, str]
    n: int
    max_batch: int
    picture: bytes
    seeds: Sequence[bytes]


@dataclass(frozen=True)
class Case:
    """Raw requests to one call: one, or for a stream any number."""

    kind: str
    method: str
    requests: tuple[bytes, ...]


def picture_case(random: Random, world: World) -> Case:
    """One mutated picture as a request."""
    picture = pb.Picture(data=mutated(random, world.seeds))
    request = pb.EmbedRequest(faces=[pb.Face(picture=picture)])
    return Case("pictures sent", "Embed", (request.SerializeToString(),))


def message_case(random: Random, world: World) -> Case:
    """One request, or a few for a stream; half of them are damaged after they were written."""
    method = random.choices(METHODS, _WEIGHTS)[0]
    count = random.randrange(6) if method == "EmbedStream" else 1
    damaged = random.random() < 0.5
    requests = []
    for _ in range(count):
        data = _REQUESTS[method](random, world).SerializeToString()
        if damaged:
            for _ in range(random.choice((1, 1, 2, 4))):
                data = random.choice(_DAMAGES)(random, data, method)
        requests.append(data)
    return Case("messages damaged" if damaged else "messages strange", method, tuple(requests))


def _number(random: Random) -> float:
    return random.choice((*_NUMBERS, random.gauss(0, 3)))


def _single(random: Random) -> float:
    """A number that single precision holds."""
    return float(np.float32(np.clip(_number(random), -3.4e38, 3.4e38)))


def _enum(random: Random, most: int) -> int:
    """A number that the enum has, rarely one that it does not have."""
    return random.randrange(most + 1) if random.random() < 0.95 else random.choice(_UNKNOWN)


def _text(random: Random, world: World) -> str:
    choice = random.randrange(40)
    if choice == 0:
        return random.choice(("", "\0", "\n", "é" * 300, "\U0001f642" * 9999, "a" * 10**6, "%s{}"))
    if choice == 1:
        return random.choice(world.attributes).swapcase()
    return random.choice(world.attributes)


def _texts(random: Random, world: World) -> list[str]:
    if random.random() < 0.005:
        return [random.choice((world.attributes[0], "", "x"))] * 10**6
    count = random.choice((0, 1, 1, 2, 2, 5, len(world.attributes)))
    return [_text(random, world) for _ in range(count)]


def _code(random: Random, world: World) -> pb.Code:
    space, dtype = _enum(random, 3), _enum(random, 2)
    space = space or 1 if random.random() < 0.9 else space
    size = world.n * 512
    values = np.frombuffer(random.randbytes(size), np.int8) / np.float32(random.choice((64, 1e-30)))
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float16 if dtype == 2 else np.float32)
        if random.random() < 0.08:
            numbers[random.randrange(size)] = _number(random)
        if random.random() < 0.03:
            numbers[:] = _number(random)
    data = numbers.tobytes()
    if random.random() < 0.04:
        data = data[: random.randrange(len(data) + 1)] * random.choice((1, 2))
    served = world.space_ids.get(space, "")
    other = random.choice((*world.space_ids.values(), "", served[:-1], "x" * 10**5))
    code: Any = pb.Code(space_id=served if random.random() < 0.95 else other, data=data)
    _set(code, space=space, dtype=dtype)
    return code  # type: ignore[no-any-return]


def _face(random: Random, world: World) -> pb.Face:
    choice = random.random()
    if choice < 0.02:
        return pb.Face()
    if choice < 0.75:
        return pb.Face(code=_code(random, world))
    good = random.random() < 0.8
    picture = pb.Picture(data=world.picture if good else mutated(random, world.seeds))
    if random.random() < 0.3:
        for field in pb.Landmarks.DESCRIPTOR.fields:
            if random.random() < 0.98:
                point = getattr(picture.landmarks, field.name)
                point.x_px, point.y_px = (
                    random.uniform(0, 64) if random.random() < 0.95 else _single(random)
                    for _ in range(2)
                )
    return pb.Face(picture=picture)


def _faces(random: Random, world: World) -> list[pb.Face]:
    if random.random() < 0.01:
        return [pb.Face()] * random.choice((world.max_batch, world.max_batch + 1, 10**5))
    return [_face(random, world) for _ in range(random.choice((*(1,) * 16, 0, 2, 3)))]


def _set(message: Any, **numbers: int) -> None:  # noqa: ANN401
    """Set enums, also to numbers that no enum has."""
    for name, number in numbers.items():
        setattr(message, name, number)


def _embed(random: Random, world: World) -> pb.EmbedRequest:
    request = pb.EmbedRequest(
        faces=_faces(random, world),
        include_w_plus=random.random() < 0.3,
        include_scores=random.random() < 0.3,
    )
    _set(request, space=_enum(random, 3), dtype=_enum(random, 2))
    return request


def _stream(random: Random, world: World) -> pb.EmbedStreamRequest:
    request = pb.EmbedStreamRequest(
        id=random.choice((*("1", "2", "a name", "é" * 64) * 4, "", "é" * 65, "x" * 10**5)),
        face=_face(random, world),
        include_scores=random.random() < 0.3,
    )
    _set(request, space=_enum(random, 3), dtype=_enum(random, 2))
    return request


def _distance(random: Random, world: World) -> pb.DistanceRequest:
    a = _faces(random, world)
    request = pb.DistanceRequest(
        a=a,
        b=random.choice((a, a[::-1], _faces(random, world))),
        ignore_attributes=_texts(random, world) if random.random() < 0.4 else (),
        explain=random.random() < 0.4,
    )
    _set(request, space=_enum(random, 3), mode=_enum(random, 2))
    return request


def _classify(random: Random, world: World) -> pb.ClassifyRequest:
    attributes = _texts(random, world) if random.random() < 0.6 else ()
    request = pb.ClassifyRequest(faces=_faces(random, world), attributes=attributes)
    _set(request, space=_enum(random, 3))
    return request


def _edit(random: Random, world: World) -> pb.EditRequest:
    kind = random.choice(("step", "step", "target_probability", "mixed"))
    request = pb.EditRequest(
        preserve=_texts(random, world) if random.random() < 0.4 else (),
        remeasure=random.random() < 0.3,
    )
    if random.random() < 0.95:
        request.face.CopyFrom(_face(random, world))
    count = random.choice((0, 1, 1, 2, 5, len(world.attributes)))
    names = random.sample(list(world.attributes), count)
    for name in names:
        edit = request.edits.add(attribute=name if random.random() < 0.95 else _text(random, world))
        amount = random.choice(("step", "target_probability", "")) if kind == "mixed" else kind
        if amount:
            value = random.random() if random.random() < 0.9 else _number(random)
            setattr(edit, amount, value)
    if random.random() < 0.3:
        strengths = random.choice((1, 2, 3, world.max_batch + 1))
        request.strengths.extend(
            random.random() if random.random() < 0.9 else _number(random) for _ in range(strengths)
        )
    if random.random() < 0.3:
        request.max_squared_distance = random.choice((0.01, 1.0, _number(random)))
    _set(request, space=_enum(random, 3), format=_enum(random, 3))
    return request


def _info(random: Random, world: World) -> pb.GetInfoRequest:
    return pb.GetInfoRequest()


_REQUESTS: dict[str, Callable[[Random, World], Any]] = {
    "Embed": _embed,
    "EmbedStream": _stream,
    "Distance": _distance,
    "Classify": _classify,
    "Edit": _edit,
    "GetInfo": _info,
}


def _varint(value: int) -> bytes:
    found = bytearray()
    value &= 2**64 - 1
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _field(random: Random, data: bytes, method: str) -> bytes:
    """Add a field of any number and any wire type, the right ones among them."""
    number, wire = random.choice((*range(1, 11), 99, 18999, 2**29 - 1, 0)), random.randrange(8)
    body = {
        0: _varint(random.choice((0, 1, 2**31, 2**63, 2**64 - 1))),
        1: struct.pack("<d", _number(random)),
        2: _varint(random.choice((0, 3, 2**31 - 1, 2**32, 2**63))) + b"\xff\xfe\xfd",
        5: struct.pack("<f", _single(random)),
    }.get(wire, b"")
    field = _varint(number << 3 | wire) + body
    return random.choice((data + field, field + data))


def _utf8(random: Random, data: bytes, method: str) -> bytes:
    """Add a text that is no UTF-8 where a text may stand."""
    number = {"Classify": 2, "Distance": 5, "Edit": 3, "EmbedStream": 1}.get(method, 1)
    return data + _varint(number << 3 | 2) + b"\x04a\xff\xfe\x80"


def _nested(random: Random, data: bytes, method: str) -> bytes:
    """Nest messages, or groups, deeper than parsers go."""
    depth = random.choice((50, 99, 101, 10_000))
    if random.random() < 0.5:
        return data + b"\x7b" * depth + b"\x7c" * random.choice((depth, 0))
    found = b""
    for _ in range(min(depth, 300)):
        found = b"\x0a" + _varint(len(found)) + found
    return data + found


def _bytes(random: Random, data: bytes, method: str) -> bytes:
    """Damage any byte, as if it were a picture."""
    return mutated(random, [data or b"\0"])


def _lengths(random: Random, data: bytes, method: str) -> bytes:
    """Repeat an empty message or name a million times: 2 bytes each."""
    if random.random() < 0.98:
        return _bytes(random, data, method)
    return data + bytes((random.choice((1, 2, 3)) << 3 | 2, 0)) * 10**6


def _strengths(random: Random, data: bytes, method: str) -> bytes:
    """Doubles packed where numbers may stand, or of a length that is no multiple of eight."""
    body = b"".join(struct.pack("<d", _number(random)) for _ in range(3))
    body = body[: random.choice((24, 23, 8, 1))]
    return data + b"\x32" + _varint(len(body)) + body


_DAMAGES: Sequence[Callable[[Random, bytes, str], bytes]] = (
    _field,
    _field,
    _utf8,
    _nested,
    _bytes,
    _bytes,
    _lengths,
    _strengths,
)
