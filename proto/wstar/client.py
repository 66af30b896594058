"""The client: faces in; codes, distances, scores and edited pictures out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, cast

import grpc

from wstar.codes import space_name
from wstar.errors import InvalidInput
from wstar.faces import Face, batches, face_message, face_messages
from wstar.graphs import Space
from wstar.info import Info
from wstar.remote import error_of_call, with_offset
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

    InvalidInput: a picture, code, attribute or number is wrong; `field` is its path.
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
        replies = [
            self._call(
                self._stub.Embed,
                pb.EmbedRequest(
                    faces=batch,
                    space=space_name(space),
                    dtype=f"DTYPE_{dtype.upper()}",
                    include_w_plus=include_w_plus,
                    include_scores=include_scores,
                ),
                offset,
            )
            for offset, batch in self._batches(faces)
        ]
        return Embeddings(
            tuple(
                Embedding.from_message(embedding)
                for reply in replies
                for embedding in reply.embeddings
            ),
            replies[0].space_id,
            Timings.of([reply.timings for reply in replies]),
        )

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
        replies = [
            self._call(
                self._stub.Classify,
                pb.ClassifyRequest(faces=batch, attributes=attributes, space=space_name(space)),
                offset,
            )
            for offset, batch in self._batches(faces)
        ]
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
        """Compare two lists of faces of at most `Limits.max_batch` each, in one request.

        Larger lists are embedded first and compared by `wstar.geometry`: the same numbers.

        mode: `pairs` compares a[i] with b[i], `matrix` every a with every b.
        ignore: attributes whose difference does not count.
        explain: add what each attribute contributes.
        """
        request = pb.DistanceRequest(
            a=face_messages(a),
            b=face_messages(b),
            mode=f"DISTANCE_MODE_{mode.upper()}",
            space=space_name(space),
            ignore_attributes=ignore,
            explain=explain,
        )
        reply = self._call(self._stub.Distance, request)
        return Distances.from_message(reply, matrix=mode == "matrix")

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
            preserve=preserve,
            space=space_name(space),
            format=f"IMAGE_FORMAT_{image_format.upper()}",
            strengths=strengths,
        )
        return Edit.from_message(self._call(self._stub.Edit, request))

    def _call(self, method: Callable[..., Any], request: object, offset: int = 0) -> Any:  # noqa: ANN401
        try:
            return method(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise with_offset(
                error_of_call(cast(grpc.Call, error), self._target), offset
            ) from error

    def _batches(self, faces: Face | Sequence[Face]) -> Iterator[tuple[int, list[pb.Face]]]:
        messages = face_messages(faces)
        # One face, or none, is one request whatever the limits are.
        return batches(messages, self.info().limits) if len(messages) > 1 else iter([(0, messages)])
