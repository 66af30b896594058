"""Streams of faces: answered as each is done, so many at once, and read no faster than answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
from google.rpc import error_details_pb2

from wstar.errors import RunnerUnavailable, WstarError
from wstar.v1 import wstar_pb2 as pb
from wstar_service.calls import Call, Calls, Context, readable
from wstar_service.messages import MAX_ID_BYTES
from wstar_service.stages import collected
from wstar_service.status import code_of, status_of

METHOD = "EmbedStream"

Work = Callable[[pb.EmbedStreamRequest, Call], Awaitable[pb.EmbedStreamResponse]]


class Streams:
    """The open streams of one server.

    most: faces of one stream worked on at once. A face counts until its answer was taken over
    by the transport, so a caller who does not read is not read from either.
    """

    def __init__(self, calls: Calls, most: int) -> None:
        self._calls = calls
        self._most = most
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Read no more faces: each stream ends with UNAVAILABLE once its last one is answered."""
        self._stopping.set()

    async def embed(self, context: Context, work: Work) -> None:
        """Answer one stream, face by face, with `work`."""
        async with self._calls.opened(METHOD, context) as stream:
            with self._calls.metrics.stream():
                try:
                    async with asyncio.TaskGroup() as faces:
                        end = await self._read_all(context, stream, work, faces)
                except ExceptionGroup as group:
                    first = group.exceptions[0]
                    if isinstance(first, grpc.aio.BaseError):
                        # An answer could not be sent: its caller has gone.
                        raise asyncio.CancelledError from first
                    raise first from group
            if end is not None:
                raise end

    async def _read_all(
        self, context: Context, stream: Call, work: Work, faces: asyncio.TaskGroup
    ) -> WstarError | None:
        """Start the work of every face; return what the stream ends with, None for OK."""
        places = asyncio.Semaphore(self._most)
        writing = asyncio.Lock()
        stopping = faces.create_task(self._stopping.wait())
        try:
            while True:
                await places.acquire()
                reading = asyncio.ensure_future(context.read())
                try:
                    await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    reading.cancel()
                if not reading.done():
                    return RunnerUnavailable(
                        "the server is stopping; send what has no answer again"
                    )
                request = reading.result()
                if request is grpc.aio.EOF:  # type: ignore[attr-defined]
                    return None
                if not self._calls.ready:
                    return RunnerUnavailable("the engine was lost; send what has no answer again")
                try:
                    request = readable(METHOD, request)
                except WstarError as error:
                    return error
                stream.faces += 1
                stream.received_bytes += request.ByteSize()
                answering = self._answer(request, context, stream, work, writing)
                faces.create_task(answering).add_done_callback(lambda _: places.release())
        finally:
            stopping.cancel()

    async def _answer(
        self,
        request: pb.EmbedStreamRequest,
        context: Context,
        stream: Call,
        work: Work,
        writing: asyncio.Lock,
    ) -> None:
        with collected() as stages:
            call = Call(METHOD, stream.request_id, stages)
            code = grpc.StatusCode.OK
            try:
                reply = await work(request, call)
            except Exception as error:
                code = code_of(error)
                self._calls.report(error, call)
                reply = _refusal(request.id, error, call)
            self._calls.metrics.item(code.name, stages.seconds())
        async with writing:
            await context.write(reply)
        stream.sent_bytes += reply.ByteSize()


def _refusal(name: str, error: Exception, call: Call) -> pb.EmbedStreamResponse:
    """Tell an error as the answer to one face, with the details that a call would carry."""
    status = status_of(error, call.request_id)
    told = pb.ItemError(code=status.code, message=status.message)
    for detail in status.details:
        info, request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info):
            told.reason = info.reason
            told.metadata.update(info.metadata)
        elif detail.Unpack(request):
            told.field = request.field_violations[0].field
        elif detail.Unpack(retry):
            told.retry_delay.CopyFrom(retry.retry_delay)
    shown = name.encode()[:MAX_ID_BYTES].decode(errors="ignore")
    return pb.EmbedStreamResponse(id=shown, error=told, timings=call.timings())
