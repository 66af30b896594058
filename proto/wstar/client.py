"""The client: faces in; codes, distances, scores and edited pictures out.

For asyncio there is `wstar.async_client`, with the same methods.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc

from wstar import checks, distances, operations, streams_sync
from wstar.channel import Endpoint, Tls
from wstar.distances import Mode
from wstar.errors import InvalidInput
from wstar.faces import Face
from wstar.graphs import Space
from wstar.info import Info, Limits
from wstar.operations import Ask, Dtype, ImageFormat, Operation, Work
from wstar.replies import Classifications, Distances, Edit, Embeddings
from wstar.streams import Ledger, StreamItem
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 60.0

_Result = TypeVar("_Result")


class Client:
    """A connection to a wstar server; may be used by several threads.

    Parameters
    ----------
    target: HOST:PORT of the server, or `dns:///NAME:PORT` for all the servers of a name in turn.
    timeout_s: seconds, at most 86400, that one request may take, waiting and retries included; in a
        stream, that the server may be silent while it owes answers.
    tls: how the server proves itself; None speaks plain text.
    token: sent with every call as `authorization: Bearer TOKEN`, also in plain text: there only
        where the network is trusted.

    A request that ends with UNAVAILABLE or RESOURCE_EXHAUSTED is sent again by gRPC, at most 5
    times in all, when the server says so or after a delay that grows from 0.1 s.

    Every method but `embed_stream` blocks until the answer is there and raises

    InvalidInput: a picture, code, attribute, number or option is wrong, or the client is closed;
        `field` is its path.
    LimitExceeded, SpaceMismatch, Overloaded, DeadlineExceeded, Unauthenticated: as their
        docstrings say.
    RunnerUnavailable: the server cannot be reached, is starting, or lost its engine.
    OSError: the file of a face cannot be read.

    A face is the path of a picture, an encoded picture as bytes, either with landmarks
    (`UnalignedPicture`), or a `Code`; one alone stands for a list of one.

    >>> with Client(TARGET) as client:
    ...     pair = client.embed(["ann.png", "bob.png"], include_scores=True)
    ...     near = client.distance(pair[0].code, pair[1].code)
    ...     edit = client.edit("ann.png", {"Smiling": 0.99}, preserve=["Male"])
    ...     items = {item.id: item for item in client.embed_stream(["ann.png", "gone.png"])}
    >>> pair.codes.shape
    (2, 10, 512)
    >>> near.squared_distance.shape, bool(near.distance[0] > 0)
    ((1,), True)
    >>> edit.results[0].scores["Smiling"] > edit.scores_before["Smiling"]
    True
    >>> items[0].error is None, str(items[1].error)
    (True, "gone.png: found 'No such file or directory', allowed: a file that can be read")
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tls: Tls | None = None,
        token: str | None = None,
    ) -> None:
        self._endpoint = Endpoint.of(target, tls, token)
        self._timeout_s = checks.timeout(timeout_s)
        self._channel = self._endpoint.channel()
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
        return self._run(operations.info())

    def embed(
        self,
        faces: Face | Sequence[Face],
        *,
        space: Space = Space.W_STAR,
        dtype: Dtype = "f32",
        include_w_plus: bool = False,
        include_scores: bool = False,
    ) -> Embeddings:
        """Turn faces into codes of `space`; any number of faces, in as many requests as needed.

        dtype: number type of the codes; `edit` refuses f16.
        include_w_plus: add the W+ code of each face.
        include_scores: add all attribute scores.
        """
        return self._run(
            operations.embed(
                faces,
                space=space,
                dtype=dtype,
                include_w_plus=include_w_plus,
                include_scores=include_scores,
            )
        )

    def embed_stream(
        self,
        faces: Iterable[Face | tuple[Any, Face]],
        *,
        space: Space = Space.W_STAR,
        dtype: Dtype = "f32",
        include_w_plus: bool = False,
        include_scores: bool = False,
    ) -> Generator[StreamItem, None, None]:
        """Turn any number of faces into codes, one after the other as they are done.

        faces: faces, or (id, face) with an id of any kind, which may repeat. They are taken as
            the server asks for more, in the thread that takes the items, and so may be endless.

        Yields one `StreamItem` per face, in the order of completion. A face that cannot be read
        or embedded is an item with its `error`, and the stream goes on. A stream that breaks is
        begun again, with the faces not answered yet; it is given up, and the error raised, after
        5 breaks in a row without an answer, about 10 s. Closing the generator cancels the stream.

        Raises
        ------
        DeadlineExceeded: the server was silent for `timeout_s` while it owed answers.
        """
        self._check_open()
        ledger = Ledger(
            space=space, dtype=dtype, include_w_plus=include_w_plus, include_scores=include_scores
        )
        return streams_sync.embed_stream(
            self._begin_stream,
            faces,
            ledger,
            self._limits,
            timeout_s=self._timeout_s,
            told=self._endpoint.error,
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
        return self._run(operations.classify(faces, attributes=attributes, space=space))

    def distance(
        self,
        a: Face | Sequence[Face],
        b: Face | Sequence[Face],
        *,
        mode: Mode = "pairs",
        space: Space = Space.W_STAR,
        ignore: Sequence[str] = (),
        explain: bool = False,
    ) -> Distances:
        """Compare two lists of faces.

        Lists beyond what one request may hold are compared here by `wstar.geometry`: the same
        numbers, without a percentile (nan). Codes of `space` are not sent for that; the other
        faces are embedded first, in as many requests as needed.

        mode: `pairs` compares a[i] with b[i], `matrix` every a with every b.
        ignore: attributes whose difference does not count.
        explain: add what each attribute contributes.

        Raises
        ------
        LimitExceeded: also `ignore` or `explain` with lists beyond one request.
        """
        return self._run(
            distances.distance(a, b, mode=mode, space=space, ignore=ignore, explain=explain)
        )

    def edit(
        self,
        face: Face,
        targets: Mapping[str, float] | None = None,
        *,
        steps: Mapping[str, float] | None = None,
        preserve: Sequence[str] = (),
        strengths: Sequence[float] = (),
        space: Space = Space.W_STAR_ID,
        image_format: ImageFormat = "png",
        max_squared_distance: float | None = None,
        remeasure: bool = False,
    ) -> Edit:
        """Change attributes of one face and render it, once per strength.

        targets: attribute to the probability it shall reach, 0 to 1 (bounded to 0.001 to 0.999).
        steps: instead of targets, attribute to a signed step in units of the code.
        preserve: attributes to hold.
        strengths: multiples of the whole edit, 0 for the face itself; empty means 1.
        max_squared_distance: how far a result may be from the face, in W_STAR; one that would be
            farther is made with a smaller share of its edit, its `scale`. None for no bound.
        remeasure: read each rendered picture again, for `EditResult.remeasured`.
        Without targets and steps the face is only rendered again.
        """
        return self._run(
            operations.edit(
                face,
                targets,
                steps=steps,
                preserve=preserve,
                strengths=strengths,
                space=space,
                image_format=image_format,
                max_squared_distance=max_squared_distance,
                remeasure=remeasure,
            )
        )

    def _run(self, operation: Operation[_Result]) -> _Result:
        """Do what an operation needs until it returns."""
        self._check_open()
        proceed: Callable[[], Ask | Work] = partial(next, operation)
        try:
            while True:
                needed = proceed()
                try:
                    found = self._do(needed)
                except Exception as error:
                    proceed = partial(operation.throw, error)
                else:
                    proceed = partial(operation.send, found)
        except StopIteration as done:
            return cast(_Result, done.value)

    def _do(self, needed: Ask | Work) -> Any:  # noqa: ANN401
        if isinstance(needed, Work):
            return needed.function()
        method = getattr(self._stub, needed.method)
        try:
            return method(needed.request, timeout=self._timeout_s, metadata=self._endpoint.metadata)
        except grpc.RpcError as error:
            raise self._endpoint.error(error) from error

    def _begin_stream(self, requests: Iterator[pb.EmbedStreamRequest]) -> Any:  # noqa: ANN401
        self._check_open()
        return self._stub.EmbedStream(requests, metadata=self._endpoint.metadata)

    def _limits(self) -> Limits:
        return self.info().limits

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidInput("client", "closed", "an open client")
