"""Distances between lists of faces: by the server, or here where a request cannot hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from wstar import checks
from wstar.codes import Code, CodeArray
from wstar.errors import InvalidInput, LimitExceeded, SpaceMismatch
from wstar.faces import Face, face_message, listed
from wstar.graphs import W_DIM, Space
from wstar.info import Info, Limits
from wstar.operations import Ask, Operation, Work, embed_messages, info
from wstar.replies import Distances, Timings
from wstar.v1 import wstar_pb2 as pb

Mode = Literal["pairs", "matrix"]

# Most that a code's space, space id and lengths take beside its numbers, and a face's own length.
_CODE_FIELDS_BYTES = 128
_FACE_FIELDS_BYTES = 6


@dataclass(frozen=True)
class _Side:
    """One of the two lists; codes of the asked space are packed only if they must travel."""

    field: str
    faces: list[pb.Face | Code]

    @classmethod
    def read(cls, field: str, faces: Face | Sequence[Face], space: Space) -> _Side:
        return cls(
            field,
            [
                face if isinstance(face, Code) and face.space is space else face_message(face)
                for face in listed(faces)
            ],
        )

    @property
    def only_codes(self) -> bool:
        return all(isinstance(face, Code) for face in self.faces)

    @property
    def size_bytes(self) -> int:
        return len(self.faces) * _FACE_FIELDS_BYTES + sum(
            face.values.nbytes + _CODE_FIELDS_BYTES if isinstance(face, Code) else face.ByteSize()
            for face in self.faces
        )

    def messages(self) -> list[pb.Face]:
        return [
            pb.Face(code=face.to_message()) if isinstance(face, Code) else face
            for face in self.faces
        ]


def distance(
    a: Face | Sequence[Face],
    b: Face | Sequence[Face],
    *,
    mode: Mode,
    space: Space,
    ignore: Sequence[str],
    explain: bool,
) -> Operation[Distances]:
    """Compare two lists of faces."""
    request = pb.DistanceRequest(
        mode=checks.number_name("DISTANCE_MODE_", "mode", mode, ("pairs", "matrix")),
        space=checks.space_number(space),
        ignore_attributes=checks.names("ignore", ignore),
        explain=explain,
    )
    matrix = mode == "matrix"
    left: _Side = yield Work(partial(_Side.read, "a", a, space))
    # A list compared with itself is read, and embedded, once.
    right: _Side = left if b is a else (yield Work(partial(_Side.read, "b", b, space)))
    # A pair, or less, is one request whatever the limits are.
    if max(len(left.faces), len(right.faces)) > 1:
        served = yield from info()
        excess = _excess(request, left, right, served.limits)
        if excess is not None:
            if request.ignore_attributes or explain:
                raise excess
            return (yield from _compared_here(left, right, served, space, matrix=matrix))
    request.a.extend((yield Work(left.messages)))
    request.b.extend(request.a if right is left else (yield Work(right.messages)))
    return Distances.from_message((yield Ask("Distance", request)), matrix=matrix)


def _excess(
    request: pb.DistanceRequest, a: _Side, b: _Side, limits: Limits
) -> LimitExceeded | None:
    """What keeps one request from holding these lists, if anything does."""
    unit = "with ignore or explain"
    if not (a.only_codes and b.only_codes):
        for side in (a, b):
            if len(side.faces) > limits.max_batch:
                found = len(side.faces)
                return LimitExceeded(side.field, found, limits.max_batch, f"faces {unit}")
    sizes = len(a.faces), len(b.faces)
    count = sizes[0] * sizes[1] if request.mode == pb.DISTANCE_MODE_MATRIX else max(sizes)
    if count > limits.max_distances:
        return LimitExceeded("b", count, limits.max_distances, f"distances {unit}")
    size_bytes = request.ByteSize() + a.size_bytes + b.size_bytes
    if size_bytes > limits.max_message_bytes:
        return LimitExceeded("a, b", size_bytes, limits.max_message_bytes, f"bytes {unit}")
    return None


def _compared_here(
    a: _Side, b: _Side, served: Info, space: Space, *, matrix: bool
) -> Operation[Distances]:
    if not matrix and len(a.faces) != len(b.faces):
        raise InvalidInput("b", f"{len(b.faces)} faces", f"{len(a.faces)}, as in a")
    timings: list[Timings] = []
    left = yield from _codes(a, served, space, timings)
    right = left if b is a else (yield from _codes(b, served, space, timings))
    compare = partial(
        Distances.of_codes,
        *(left, right),
        matrix=matrix,
        space_id=served.space_id(space),
        timings=Timings.of(timings),
    )
    found: Distances = yield Work(compare)
    return found


def _codes(side: _Side, served: Info, space: Space, timings: list[Timings]) -> Operation[CodeArray]:
    """Codes (faces, n, 512) of one list: those it holds, and the others embedded."""
    space_id = served.space_id(space)
    codes: dict[int, Code] = {}
    others: dict[int, pb.Face] = {}
    for place, face in enumerate(side.faces):
        if isinstance(face, Code):
            _check(face, f"{side.field}[{place}].code", space_id, served.n)
            codes[place] = face
        else:
            others[place] = face
    # An empty list is for the server to refuse.
    if others or not codes:
        request = pb.EmbedRequest(space=checks.space_number(space))
        found = yield from embed_messages(others, request, side.field)
        timings.append(found.timings)
        for place, item in zip(others, found.items, strict=True):
            # The server may have changed since it said what it serves.
            if item.code.space_id != space_id:
                raise SpaceMismatch(f"{side.field}[{place}]", item.code.space_id, space_id)
            codes[place] = item.code
    places = range(len(side.faces))
    stacked: CodeArray = yield Work(lambda: np.stack([codes[place].values for place in places]))
    return stacked


def _check(code: Code, path: str, space_id: str, n: int) -> None:
    """Refuse what the server would refuse."""
    if code.space_id != space_id:
        raise SpaceMismatch(f"{path}.space_id", code.space_id, space_id)
    if len(code.values) != n:
        raise InvalidInput(
            f"{path}.data", f"{len(code.values)} x {W_DIM} numbers", f"{n} x {W_DIM}"
        )
