"""What each call of a client does, written once for blocking and asynchronous clients.

An operation is a generator: it yields what it needs done (`Ask` a server, `Work` that blocks),
is sent what came of it, or has the error thrown in, and returns the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

from wstar import checks
from wstar.errors import InvalidInput, WstarError
from wstar.faces import Face, batches, face_message, face_messages
from wstar.graphs import Space
from wstar.info import Info
from wstar.replies import Classifications, Edit, Embedding, Embeddings, Scores, Timings
from wstar.v1 import wstar_pb2 as pb

Result = TypeVar("Result")
Dtype = Literal["f32", "f16"]
ImageFormat = Literal["png", "jpeg", "webp"]


@dataclass(frozen=True)
class Ask:
    """Send a request with this method of the service; the reply is wanted."""

    method: str
    request: object


@dataclass(frozen=True)
class Work:
    """Read files or compute; what the function returns is wanted."""

    function: Callable[[], Any]


Operation: TypeAlias = Generator[Ask | Work, Any, Result]


def info() -> Operation[Info]:
    """Ask what is served."""
    return Info.from_message((yield Ask("GetInfo", pb.GetInfoRequest())))


def embed(
    faces: Face | Sequence[Face],
    *,
    space: Space,
    dtype: Dtype,
    include_w_plus: bool,
    include_scores: bool,
) -> Operation[Embeddings]:
    """Turn faces into codes, in as many requests as needed."""
    request = pb.EmbedRequest(
        space=checks.space_number(space),
        dtype=checks.dtype_number(dtype),
        include_w_plus=include_w_plus,
        include_scores=include_scores,
    )
    messages = yield Work(partial(face_messages, faces))
    return (yield from embed_messages(dict(enumerate(messages)), request, "faces"))


def embed_messages(
    faces: Mapping[int, pb.Face], request: pb.EmbedRequest, field: str
) -> Operation[Embeddings]:
    """Embed faces at their places in the caller's list `field`, as `request` has it."""
    replies: list[pb.EmbedResponse] = yield from _in_batches("Embed", request, faces, field)
    return Embeddings(
        tuple(
            Embedding.from_message(embedding) for reply in replies for embedding in reply.embeddings
        ),
        replies[0].space_id,
        Timings.of(reply.timings for reply in replies),
    )


def classify(
    faces: Face | Sequence[Face], *, attributes: Sequence[str], space: Space
) -> Operation[Classifications]:
    """Score attributes, in as many requests as needed."""
    request = pb.ClassifyRequest(
        attributes=checks.names("attributes", attributes), space=checks.space_number(space)
    )
    messages = yield Work(partial(face_messages, faces))
    replies: list[pb.ClassifyResponse] = yield from _in_batches(
        "Classify", request, dict(enumerate(messages)), "faces"
    )
    return Classifications(
        tuple(
            Scores.from_messages(classification.scores)
            for reply in replies
            for classification in reply.classifications
        ),
        replies[0].space_id,
        Timings.of(reply.timings for reply in replies),
    )


def edit(
    face: Face,
    targets: Mapping[str, float] | None,
    *,
    steps: Mapping[str, float] | None,
    preserve: Sequence[str],
    strengths: Sequence[float],
    space: Space,
    image_format: ImageFormat,
    max_squared_distance: float | None,
    remeasure: bool,
) -> Operation[Edit]:
    """Change attributes of one face and render it."""
    if targets and steps:
        raise InvalidInput("steps", dict(steps), "nothing beside targets")
    edits = [
        pb.AttributeEdit(attribute=name, target_probability=value)
        for name, value in (targets or {}).items()
    ] + [pb.AttributeEdit(attribute=name, step=value) for name, value in (steps or {}).items()]
    request = pb.EditRequest(
        edits=edits,
        preserve=checks.names("preserve", preserve),
        space=checks.space_number(space),
        format=checks.number_name(
            "IMAGE_FORMAT_", "image_format", image_format, ("png", "jpeg", "webp")
        ),
        strengths=strengths,
        max_squared_distance=max_squared_distance,
        remeasure=remeasure,
    )
    request.face.CopyFrom((yield Work(partial(face_message, face))))
    return Edit.from_message((yield Ask("Edit", request)))


def _in_batches(
    method: str,
    request: pb.EmbedRequest | pb.ClassifyRequest,
    faces: Mapping[int, pb.Face],
    field: str,
) -> Operation[list[Any]]:
    """Send `request` once per batch of faces; errors tell their places in the list `field`."""
    places, messages = list(faces), list(faces.values())
    # One face, or none, is one request whatever the limits are.
    parts = iter([(0, messages)])
    if len(messages) > 1:
        parts = batches(messages, (yield from info()).limits)
    replies = []
    for start, part in parts:
        del request.faces[:]
        request.faces.extend(part)
        try:
            replies.append((yield Ask(method, request)))
        except WstarError as error:
            _relocate(error, field, places[start:])
            raise
    return replies


def _relocate(error: WstarError, field: str, places: Sequence[int]) -> None:
    """Tell an error about faces of a request as one about those places in the list `field`."""

    def told(text: str) -> str:
        return re.sub(
            r"^faces(?:\[(\d+)\])?(?=[.:]|$)",
            lambda at: f"{field}[{places[int(at[1])]}]" if at[1] else field,
            text,
        )

    error.args = (told(str(error)),)
    found = getattr(error, "field", None)
    if found is not None:
        error.__dict__["field"] = told(found)
