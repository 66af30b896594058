"""What is the same for every call: places, deadlines, errors, timings, metrics, one log line."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.rpc import status_pb2

from wstar.errors import DeadlineExceeded, InvalidInput, RunnerUnavailable, WstarError
from wstar.v1 import wstar_pb2 as pb
from wstar_service.limits import Admission
from wstar_service.metrics import Metrics
from wstar_service.runner import deadline
from wstar_service.status import code_of, reason, status_of
from wstar_service.wire import Unreadable

REQUEST_ID = "x-request-id"
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_DETAILS = "grpc-status-details-bin"
_LOG = logging.getLogger("wstar.calls")

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class Call:
    """One call under way: what to call it in logs, and where its time went."""

    method: str
    request_id: str
    faces: int = 0
    _started: float = field(default_factory=time.perf_counter)
    _seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time inside to the stage `name`: decode, graphs or encode."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - started

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage so far, and of the whole call as `total`."""
        return {**self._seconds, "total": time.perf_counter() - self._started}

    def timings(self) -> pb.Timings:
        """Return the stages so far as a message, in milliseconds."""
        return pb.Timings(**{f"{name}_ms": 1e3 * s for name, s in self.seconds().items()})


class Calls:
    """Runs the work of each call; `ready` says whether the server may work at all."""

    def __init__(self, admission: Admission, metrics: Metrics) -> None:
        self.ready = False
        self._admission = admission
        self._metrics = metrics
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def finish(self, seconds: float) -> None:
        """Start no more calls; return when none is under way, after `seconds` at the latest."""
        self.ready = False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

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
        call = Call(method, _request_id(context))
        context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
        code = grpc.StatusCode.OK.name
        # Also while an error is told: a stop that comes between waits for it.
        with self._counted():
            try:
                with ExitStack() as held:
                    _check_deadline(context)
                    if not self.ready:
                        raise RunnerUnavailable(
                            "the server is starting, stopping or without its engine; try again"
                        )
                    if needs_place:
                        held.enter_context(self._admission.place())
                    held.enter_context(self._metrics.in_flight())
                    held.enter_context(deadline(context.time_remaining()))
                    if isinstance(request, Unreadable):
                        raise InvalidInput("request", "bytes", f"wstar.v1.{method}Request")
                    return await work(request, call)
            except asyncio.CancelledError:
                code = "DEADLINE_EXCEEDED" if _expired(context) else "CANCELLED"
                raise
            except Exception as error:
                code = code_of(error).name
                self._metrics.refused(reason(error))
                if not isinstance(error, WstarError):
                    _LOG.exception("request=%s method=%s failed", call.request_id, method)
                await _abort(context, code_of(error), status_of(error, call.request_id), call)
                raise  # never reached: abort raises
            finally:
                seconds = call.seconds()
                self._metrics.answered(method, code, call.faces, seconds)
                _LOG.info(
                    "request=%s method=%s code=%s faces=%d ms=%.1f",
                    *(call.request_id, method, code, call.faces, 1e3 * seconds["total"]),
                )


async def _abort(
    context: Context, code: grpc.StatusCode, status: status_pb2.Status, call: Call
) -> None:
    trailers = ((REQUEST_ID, call.request_id), (_DETAILS, status.SerializeToString()))
    await context.abort(code, status.message, trailers)


def _expired(context: Context) -> bool:
    remaining = context.time_remaining()
    return remaining is not None and remaining <= 0.0


def _check_deadline(context: Context) -> None:
    if _expired(context):
        raise DeadlineExceeded("the deadline passed before the work was started")


def _request_id(context: Context) -> str:
    """Take over the caller's request id if it is fit for a log, or make one up."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and _REQUEST_ID_FORM.fullmatch(value):
            return value
    return uuid.uuid4().hex[:16]
