"""The client for asyncio: `wstar.client` with methods to await, and the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from weakref import WeakSet

import grpc
import grpc.aio

from wstar import checks, distances, operations, streams_async
from wstar.channel import Endpoint, Tls
from wstar.client import DEFAULT_TARGET, DEFAULT_TIMEOUT_S
from wstar.distances import Mode
from wstar.errors import InvalidInput
from wstar.faces import Face
from wstar.graphs import Space
from wstar.info import Info, Limits
from wstar.operations import Ask, Dtype, ImageFormat, Operation, Work
from wstar.replies import Classifications, Distances, Edit, Embeddings
from wstar.streams import Ledger, StreamItem
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

_Result = TypeVar("_Result")


class AsyncClient:
    """A connection to a wstar server, for one event loop.

    Parameters, retries, faces and errors are those of `wstar.client.Client`. Files are read and
    distances computed in threads. Cancelling a task cancels its call.

    >>> async def compare():
    ...     async with AsyncClient(TARGET) as client:
    ...         ann, bob = await asyncio.gather(client.embed("ann.png"), client.embed("bob.png"))
    ...         near = await client.distance(ann[0].code, bob[0].code)
    ...         items = [item async for item in client.embed_stream([("b", "bob.png")])]
    ...         return near, items
    >>> near, items = asyncio.run(compare())
    >>> bool(near.distance[0] > 0), [(item.id, item.error) for item in items]
    (True, [('b', None)])
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
        # A channel belongs to the event loop that makes it, and there may be none yet.
        self._channel: grpc.aio.Channel | None = None
        self._methods: Any = None
        self._streams: WeakSet[Any] = WeakSet()
        self._closed = False

    async def __aenter__(self) -> Self:
        """Return the client; leaving the block closes it."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls still waiting are cancelled."""
        self._closed = True
        # grpc.aio cancels single calls only.
        for stream in self._streams:
            stream.cancel()
        if self._channel is not None:
            await self._channel.close(None)

    async def info(self) -> Info:
        """As `Client.info`."""
        return await self._run(operations.info())

    async def embed(
        self,
        faces: Face | Sequence[Face],
        *,
        space: Space = Space.W_STAR,
        dtype: Dtype = "f32",
        include_w_plus: bool = False,
        include_scores: bool = False,
    ) -> Embeddings:
        """As `Client.embed`."""
        return await self._run(
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
        faces: Iterable[Face | tuple[Any, Face]] | AsyncIterable[Face | tuple[Any, Face]],
        *,
        space: Space = Space.W_STAR,
        dtype: Dtype = "f32",
        include_w_plus: bool = False,
        include_scores: bool = False,
    ) -> AsyncGenerator[StreamItem, None]:
        """As `Client.embed_stream`; `faces` may be asynchronous, and better is if they are slow.

        Who leaves the loop early closes the generator with `contextlib.aclosing`.
        """
        self._check_open()
        ledger = Ledger(
            space=space, dtype=dtype, include_w_plus=include_w_plus, include_scores=include_scores
        )
        return streams_async.embed_stream(
            self._begin_stream,
            faces,
            ledger,
            self._limits,
            timeout_s=self._timeout_s,
            told=self._endpoint.error,
        )

    async def classify(
        self,
        faces: Face | Sequence[Face],
        *,
        attributes: Sequence[str] = (),
        space: Space = Space.W_STAR,
    ) -> Classifications:
        """As `Client.classify`."""
        return await self._run(operations.classify(faces, attributes=attributes, space=space))

    async def distance(
        self,
        a: Face | Sequence[Face],
        b: Face | Sequence[Face],
        *,
        mode: Mode = "pairs",
        space: Space = Space.W_STAR,
        ignore: Sequence[str] = (),
        explain: bool = False,
    ) -> Distances:
        """As `Client.distance`."""
        return await self._run(
            distances.distance(a, b, mode=mode, space=space, ignore=ignore, explain=explain)
        )

    async def edit(
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
        """As `Client.edit`."""
        return await self._run(
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

    async def _run(self, operation: Operation[_Result]) -> _Result:
        """Do what an operation needs until it returns."""
        self._check_open()
        proceed: Callable[[], Ask | Work] = partial(next, operation)
        try:
            while True:
                needed = proceed()
                try:
                    found = await self._do(needed)
                except Exception as error:
                    proceed = partial(operation.throw, error)
                else:
                    proceed = partial(operation.send, found)
        except StopIteration as done:
            return cast(_Result, done.value)

    async def _do(self, needed: Ask | Work) -> Any:  # noqa: ANN401
        if isinstance(needed, Work):
            return await asyncio.to_thread(needed.function)
        method = getattr(self._stub(), needed.method)
        try:
            return await method(
                needed.request, timeout=self._timeout_s, metadata=self._endpoint.metadata
            )
        except grpc.aio.AioRpcError as error:
            raise self._endpoint.error(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():  # The call was, by `close`.
                self._check_open()
            raise

    def _stub(self) -> Any:  # noqa: ANN401
        if self._channel is None:
            self._channel = self._endpoint.async_channel()
            self._methods = LatentSpaceServiceStub(self._channel)
        return self._methods

    def _begin_stream(self) -> Any:  # noqa: ANN401
        self._check_open()
        stream = self._stub().EmbedStream(metadata=self._endpoint.metadata)
        self._streams.add(stream)
        return stream

    async def _limits(self) -> Limits:
        return (await self.info()).limits

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidInput("client", "closed", "an open client")
