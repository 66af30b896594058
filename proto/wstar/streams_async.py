"""A stream of faces for asyncio: one task takes faces in, one sends, one receives.

All three end with the generator that started them.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from wstar.errors import WstarError
from wstar.info import Limits
from wstar.streams import Entry, Ledger, StreamItem, ended_early, read, silent, window
from wstar.v1 import wstar_pb2 as pb

Open = Callable[[], Any]
Told = Callable[[grpc.RpcError], WstarError]

# Answered as it is, nothing is lost with a stream that takes longer to say OK.
_END_S = 1.0


class _Stream:
    """One stream of requests and replies, begun with `requests`; replies and its end go `to`."""

    def __init__(
        self,
        begin: Open,
        requests: list[pb.EmbedStreamRequest],
        to: asyncio.Queue[_Event],
    ) -> None:
        self._to = to
        self._requests: asyncio.Queue[pb.EmbedStreamRequest | None] = asyncio.Queue()
        for request in requests:
            self.send(request)
        self._unsent = self._over = False
        self._call = begin()
        self._writer = asyncio.create_task(self._write())
        self._reader = asyncio.create_task(self._read())

    def send(self, request: pb.EmbedStreamRequest | None) -> None:
        """Send one more face; None after the last."""
        self._requests.put_nowait(request)

    async def finish(self) -> None:
        """Let the server end the stream."""
        await asyncio.wait([self._reader], timeout=_END_S)

    async def cancel(self) -> None:
        """End the stream and its tasks, whatever state it is in."""
        self._over = True
        self._call.cancel()
        await _ended(self._writer, self._reader)

    async def _write(self) -> None:
        try:
            while (request := await self._requests.get()) is not None:
                await self._call.write(request)
            await self._call.done_writing()
        # The reader tells how the stream ended.
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            self._unsent = True

    async def _read(self) -> None:
        try:
            async for reply in self._call:
                self._to.put_nowait(reply)
            self._to.put_nowait(ended_early())
        except grpc.aio.AioRpcError as error:
            # A write into a stream that just ended replaces its status by this one, without
            # trailers: https://github.com/grpc/grpc/issues/36066.
            lost = error.code() is grpc.StatusCode.INTERNAL and not error.trailing_metadata()
            self._to.put_nowait(ended_early() if self._unsent and lost else error)
        except asyncio.CancelledError:
            if not self._over:  # The channel was closed under it.
                self._to.put_nowait(ended_early())
            raise


class _Source:
    """Takes in faces as long as there is room for them, and hands them to the current stream."""

    def __init__(
        self,
        faces: Iterable[Entry] | AsyncIterable[Entry],
        ledger: Ledger,
        limits: Limits,
        to: asyncio.Queue[_Event],
    ) -> None:
        self.stream: _Stream | None = None
        self.room = asyncio.Semaphore(window(limits))
        self._ledger = ledger
        self._limits = limits
        self._to = to
        self.task = asyncio.create_task(self._take(faces))

    async def _take(self, faces: Iterable[Entry] | AsyncIterable[Entry]) -> None:
        try:
            async for entry in _each(faces, self.room):
                face = await asyncio.to_thread(read, entry)
                # Entered and sent in one go: a stream begun in between would send it as well.
                asked = self._ledger.ask(entry, face, self._limits)
                if isinstance(asked, StreamItem):
                    self._to.put_nowait(asked)
                # Between two streams it waits in the ledger.
                elif self.stream is not None:
                    self.stream.send(asked)
            self._to.put_nowait(None)
        except Exception as error:
            self._to.put_nowait(_Failed(error))


@dataclass(frozen=True)
class _Failed:
    """The caller's iterable raised `error`."""

    error: Exception


# A reply, how a stream ended, a face that cannot be sent, the end of the faces, their failure.
_Event = pb.EmbedStreamResponse | grpc.RpcError | WstarError | StreamItem | None | _Failed


async def embed_stream(
    begin: Open,
    faces: Iterable[Entry] | AsyncIterable[Entry],
    ledger: Ledger,
    limits: Callable[[], Awaitable[Limits]],
    *,
    timeout_s: float,
    told: Told,
) -> AsyncGenerator[StreamItem, None]:
    """Yield an item per face, in the order of completion, over as many streams as it takes.

    begin: starts a stream, to be written to and read from.
    timeout_s: longest silence of the server while answers are owed.
    told: what a failed call is raised as.
    """
    events: asyncio.Queue[_Event] = asyncio.Queue()
    source = _Source(faces, ledger, await limits(), events)
    more = True
    try:
        while more or len(ledger):
            stream = source.stream = _Stream(begin, ledger.owed, events)
            pause_s = 0.0
            try:
                if not more:
                    stream.send(None)
                while more or len(ledger):
                    event = await _next(events, ledger, timeout_s)
                    if isinstance(event, grpc.RpcError):
                        event = told(event)
                    if isinstance(event, pb.EmbedStreamResponse):
                        item = ledger.answer(event)
                        if item is not None:
                            source.room.release()
                            yield item
                    elif isinstance(event, StreamItem):
                        source.room.release()
                        yield event
                    elif isinstance(event, WstarError):
                        pause_s = ledger.pause_s(event)
                        break
                    elif event is None:
                        more = False
                        stream.send(None)
                    else:
                        raise event.error
                else:
                    await stream.finish()
            finally:
                source.stream = None
                await stream.cancel()
            await asyncio.sleep(pause_s)
    finally:
        source.task.cancel()
        await _ended(source.task)


async def _each(
    faces: Iterable[Entry] | AsyncIterable[Entry], room: asyncio.Semaphore
) -> AsyncIterator[Entry]:
    """Yield faces, each when there is room for it."""
    if isinstance(faces, AsyncIterable):
        async for entry in faces:
            await room.acquire()
            yield entry
    else:
        for entry in faces:
            await room.acquire()
            yield entry


async def _next(events: asyncio.Queue[_Event], ledger: Ledger, timeout_s: float) -> _Event:
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                return await events.get()
        except TimeoutError:
            # The last face may have come in while we waited.
            if ledger.silent_s >= timeout_s:
                raise silent(timeout_s) from None


async def _ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
