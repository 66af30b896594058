"""What is the same for every call: places, deadlines, errors, timings, metrics, one log line."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import grpc

from wstar.errors import DeadlineExceeded, InvalidInput, RunnerUnavailable, WstarError
from wstar.v1 import wstar_pb2 as pb
from wstar_service.auth import caller_name
from wstar_service.limits import Admission
from wstar_service.metrics import Metrics
from wstar_service.request_ids import REQUEST_ID, request_id
from wstar_service.runner import deadline
from wstar_service.stages import Stages, collected
from wstar_service.status import code_of, reason, status_of, trailers
from wstar_service.tracing import Tracer
from wstar_service.wire import Unreadable

_LOG = logging.getLogger("wstar.calls")

Context = grpc.aio.ServicerContext[Any, Any]


class Message(Protocol):
    """A protobuf message, of which only the size matters here."""

    def ByteSize(self) -> int:
        """Return its encoded size in bytes."""


Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)


@dataclass
class Call:
    """One call, or one face of a stream, under way: its name in logs and where its time went."""

    method: str
    request_id: str
    stages: Stages
    faces: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    started_s: float = field(default_factory=time.monotonic)

    def timings(self) -> pb.Timings:
        """Return where the time went so far."""
        return pb.Timings(
            total_ms=1e3 * (time.monotonic() - self.started_s),
            stage_ms={name: 1e3 * s for name, s in self.stages.seconds().items()},
        )


class Calls:
    """Runs the work of each call; `ready` says whether the server may work at all."""

    def __init__(self, admission: Admission, metrics: Metrics, tracer: Tracer) -> None:
        self.ready = False
        self.metrics = metrics
        self._admission = admission
        self._tracer = tracer
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def finished(self, seconds: float) -> None:
        """Return when no call is under way, after `seconds` at the latest."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    async def run(
        self,
        method: str,
        request: Request | Unreadable,
        context: Context,
        work: Callable[[Request, Call], Awaitable[Reply]],
        *,
        needs_place: bool = True,
    ) -> Reply:
        """Answer one call with `work`, or end it with the status of the error that it raised.

        A caller who goes away or whose deadline passes cancels the task, and with it all work
        that has not started.
        """
        async with self.opened(method, context, needs_place=needs_place) as call:
            call.received_bytes = request.ByteSize()
            reply = await work(readable(method, request), call)
            call.sent_bytes = reply.ByteSize()
            return reply

    @asynccontextmanager
    async def opened(
        self, method: str, context: Context, *, needs_place: bool = True
    ) -> AsyncIterator[Call]:
        """Hold what a call needs while its work runs inside; an error there ends the call."""
        # Also while an error is told: a stop that comes between waits for it.
        with self._counted(), collected() as stages:
            call = Call(method, request_id(context.invocation_metadata()), stages)
            context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
            code = grpc.StatusCode.OK
            try:
                with deadline(context.time_remaining()):
                    self._check(context)
                    if needs_place:
                        async with self._admission.place(caller_name()):
                            with self.metrics.in_flight():
                                yield call
                    else:
                        yield call
            except asyncio.CancelledError:
                late = _expired(context)
                code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
                raise
            except Exception as error:
                code = code_of(error)
                self.report(error, call)
                await _abort(context, error, call)
            finally:
                # After the reply has left: whoever asked does not wait for our books.
                asyncio.get_running_loop().call_soon(
                    self._ended, call, code, context, time.monotonic()
                )

    def report(self, error: Exception, call: Call) -> None:
        """Count an error that a caller is told, and log it if the fault is ours."""
        self.metrics.refused(reason(error))
        if not isinstance(error, WstarError):
            _LOG.error(
                "failed",
                extra={"request_id": call.request_id, "method": call.method},
                exc_info=error,
            )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._idle.set()

    def _check(self, context: Context) -> None:
        if _expired(context):
            raise DeadlineExceeded("the deadline passed before the work was started")
        if not self.ready:
            raise RunnerUnavailable("the server is starting or without its engine; try again")

    def _ended(self, call: Call, code: grpc.StatusCode, context: Context, ended_s: float) -> None:
        self.metrics.answered(
            call.method,
            code.name,
            ended_s - call.started_s,
            faces=call.faces,
            received_bytes=call.received_bytes,
            sent_bytes=call.sent_bytes,
            stages=call.stages.seconds(),
        )
        trace_id = self._tracer.call(
            call.method,
            code,
            call.started_s,
            ended_s,
            call.stages.all,
            context.invocation_metadata() or (),
            call.request_id,
            call.faces,
        )
        facts = {
            "request_id": call.request_id,
            "method": call.method,
            "code": code.name,
            "faces": call.faces,
            "duration_ms": round(1e3 * (ended_s - call.started_s), 3),
            "caller": caller_name(),
            "trace_id": trace_id,
        }
        _LOG.info("call", extra={name: fact for name, fact in facts.items() if fact is not None})


def readable(method: str, request: Request | Unreadable) -> Request:
    """Return the request; raises InvalidInput for bytes that were no message of the call."""
    if isinstance(request, Unreadable):
        raise InvalidInput("request", "bytes", f"wstar.v1.{method}Request")
    return request


async def _abort(context: Context, error: Exception, call: Call) -> None:
    status = status_of(error, call.request_id)
    await context.abort(code_of(error), status.message, trailers(error, call.request_id))


def _expired(context: Context) -> bool:
    remaining = context.time_remaining()
    return remaining is not None and remaining <= 0.0
