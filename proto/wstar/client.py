"""The client: faces in; codes, distances, scores and edited pictures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, cast

import grpc

from wstar import checks
from wstar.errors import InvalidInput, LimitExceeded, WstarError
from wstar.faces import Face, batches, face_message, face_messages, fits
from wstar.graphs import Space
from wstar.info import Info, Limits
from wstar.remote import error_of_call, relocate
from wstar.replies import (
    Classifications,
    Distances,
    Edit,
    Embedding,
    Embeddings,
    Scores,
    Timings,
)
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 60.0


class Client:
    """A connection to a wstar server.

    Parameters
    ----------
    target: HOST:PORT of the server.
    timeout_s: seconds that one request may take, waiting included.

    Every method blocks until the answer is there, sends each request once, and raises

    InvalidInput: a picture, code, attribute, number or option is wrong, or the client is closed;
        `field` is its path.
    LimitExceeded, SpaceMismatch, Overloaded, DeadlineExceeded: as their docstrings say.
    RunnerUnavailable: the server cannot be reached, is starting, or lost its engine.
    OSError: the file of a face cannot be read.

    A face is the path of a picture, an encoded picture as bytes, either with landmarks
    (`UnalignedPicture`), or a `Code`; one alone stands for a list of one.
    """

    def __init__(
        self, target: str = DEFAULT_TARGET, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._target = target
        self._timeout_s = timeout_s
        # A film strip of 1024 px pictures is larger than the 4 MiB that gRPC reads by default.
        self._channel = grpc.insecure_channel(
            target, options=[("grpc.max_receive_message_length", -1)]
        )
        self._stub = LatentSpaceServiceStub(self._channel)
        self._closed = False

    def __enter__(self) -> Self:
        """Return the client; leaving the block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; calls still waiting are cancelled."""
        self._closed = True
        self._channel.close()

    def info(self) -> Info:
        """Ask what is served: spaces, attributes, limits, versions and measured figures."""
        return Info.from_message(self._call(self._stub.GetInfo, pb.GetInfoRequest()))

    def embed(
        self,
        faces: Face | Sequence[Face],
        *,
        space: Space = Space.W_STAR,
        dtype: Literal["f32", "f16"] = "f32",
        include_w_plus: bool = False,
        include_scores: bool = False,
    ) -> Embeddings:
        """Turn faces into codes of `space`; any number of faces, in as many requests as needed.

        dtype: number type of the codes; `edit` refuses f16.
        include_w_plus: add the W+ code of each face.
        include_scores: add all attribute scores.
        """
        request = pb.EmbedRequest(
            space=checks.space_number(space),
            dtype=checks.number_name("DTYPE_", "dtype", dtype, ("f32", "f16")),
            include_w_plus=include_w_plus,
            include_scores=include_scores,
        )
        return self._embed(face_messages(faces), request, "faces")

    def classify(
        self,
        faces: Face | Sequence[Face],
        *,
        attributes: Sequence[str] = (),
        space: Space = Space.W_STAR,
    ) -> Classifications:
        """Score attributes of any number of faces, in as many requests as needed.

        attributes: names, in the order wanted; empty means all.
        """
        request = pb.ClassifyRequest(
            attributes=checks.names("attributes", attributes), space=checks.space_number(space)
        )
        replies = self._call_in_batches(self._stub.Classify, request, face_messages(faces), "faces")
        return Classifications(
            tuple(
                Scores.from_messages(classification.scores)
                for reply in replies
                for classification in reply.classifications
            ),
            replies[0].space_id,
            Timings.of([reply.timings for reply in replies]),
        )

    def distance(
        self,
        a: Face | Sequence[Face],
        b: Face | Sequence[Face],
        *,
        mode: Literal["pairs", "matrix"] = "pairs",
        space: Space = Space.W_STAR,
        ignore: Sequence[str] = (),
        explain: bool = False,
    ) -> Distances:
        """Compare two lists of faces.

        Lists beyond what one request may hold are embedded first, in as many requests as needed,
        and compared here by `wstar.geometry`: the same numbers, without a percentile (nan).

        mode: `pairs` compares a[i] with b[i], `matrix` every a with every b.
        ignore: attributes whose difference does not count.
        explain: add what each attribute contributes.

        Raises
        ------
        LimitExceeded: also `ignore` or `explain` with lists beyond one request.
        """
        request = pb.DistanceRequest(
            mode=checks.number_name("DISTANCE_MODE_", "mode", mode, ("pairs", "matrix")),
            space=checks.space_number(space),
            ignore_attributes=checks.names("ignore", ignore),
            explain=explain,
        )
        left = face_messages(a)
        # A list compared with itself is read, and embedded, once.
        right = left if b is a else face_messages(b)
        # A pair, or less, is one request whatever the limits are.
        limits = self.info().limits if max(len(left), len(right)) > 1 else None
        of_attributes = bool(request.ignore_attributes) or explain
        if limits is not None and of_attributes:
            _refuse_more_than_a_batch(left, right, limits)
        if limits is None or of_attributes or fits([left, right], limits):
            request.a.extend(left)
            request.b.extend(right)
            reply = self._call(self._stub.Distance, request)
            return Distances.from_message(reply, matrix=mode == "matrix")
        if mode == "pairs" and len(left) != len(right):
            raise InvalidInput("b", f"{len(right)} faces", f"{len(left)}, as in a")
        embedding = pb.EmbedRequest(space=request.space)
        codes_a = self._embed(left, embedding, "a")
        codes_b = codes_a if b is a else self._embed(right, embedding, "b")
        return Distances.of_embeddings(codes_a, codes_b, matrix=mode == "matrix")

    def edit(
        self,
        face: Face,
        targets: Mapping[str, float] | None = None,
        *,
        steps: Mapping[str, float] | None = None,
        preserve: Sequence[str] = (),
        strengths: Sequence[float] = (),
        space: Space = Space.W_STAR_ID,
        image_format: Literal["png", "jpeg", "webp"] = "png",
    ) -> Edit:
        """Change attributes of one face and render it, once per strength.

        targets: attribute to the probability it shall reach, 0 to 1 (bounded to 0.001 to 0.999).
        steps: instead of targets, attribute to a signed step in units of the code.
        preserve: attributes to hold.
        strengths: multiples of the whole edit, 0 for the face itself; empty means 1.
        Without targets and steps the face is only rendered again.
        """
        if targets and steps:
            raise InvalidInput("steps", dict(steps), "nothing beside targets")
        edits = [
            pb.AttributeEdit(attribute=name, target_probability=value)
            for name, value in (targets or {}).items()
        ] + [pb.AttributeEdit(attribute=name, step=value) for name, value in (steps or {}).items()]
        request = pb.EditRequest(
            face=face_message(face),
            edits=edits,
            preserve=checks.names("preserve", preserve),
            space=checks.space_number(space),
            format=checks.number_name(
                "IMAGE_FORMAT_", "image_format", image_format, ("png", "jpeg", "webp")
            ),
            strengths=strengths,
        )
        return Edit.from_message(self._call(self._stub.Edit, request))

    def _embed(self, faces: list[pb.Face], request: pb.EmbedRequest, field: str) -> Embeddings:
        replies = self._call_in_batches(self._stub.Embed, request, faces, field)
        return Embeddings(
            tuple(
                Embedding.from_message(embedding)
                for reply in replies
                for embedding in reply.embeddings
            ),
            replies[0].space_id,
            Timings.of([reply.timings for reply in replies]),
        )

    def _call_in_batches(
        self,
        method: Callable[..., Any],
        request: pb.EmbedRequest | pb.ClassifyRequest,
        faces: list[pb.Face],
        field: str,
    ) -> list[Any]:
        """Send `request` once per batch of `faces`; errors call the caller's list `field`."""
        replies = []
        # One face, or none, is one request whatever the limits are.
        parts = batches(faces, self.info().limits) if len(faces) > 1 else [(0, faces)]
        for offset, part in parts:
            del request.faces[:]
            request.faces.extend(part)
            try:
                replies.append(self._call(method, request))
            except WstarError as error:
                relocate(error, field, offset)
                raise
        return replies

    def _call(self, method: Callable[..., Any], request: object) -> Any:  # noqa: ANN401
        if self._closed:
            raise InvalidInput("client", "closed", "an open client")
        try:
            return method(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise error_of_call(cast(grpc.Call, error), self._target) from error


def _refuse_more_than_a_batch(a: list[pb.Face], b: list[pb.Face], limits: Limits) -> None:
    for field, faces in (("a", a), ("b", b)):
        if len(faces) > limits.max_batch:
            unit = "faces with ignore or explain"
            raise LimitExceeded(field, len(faces), limits.max_batch, unit)
