"""From what Triton's client raises to `wstar.errors`: one table."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from wstar.errors import DeadlineExceeded, Overloaded, RunnerUnavailable, WstarError

_RETRY_AFTER_S = 0.5
# What tritonserver 2.51 says of its queues; it has no status of its own for them.
_QUEUE_FULL = "Exceeds maximum queue size"
_QUEUED_TOO_LONG = "Request timeout expired"
# Answers after which the models may not be those that were proved: Triton is gone, going, has
# unloaded the version asked for, or now wants other tensors.
_LOST = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
}


@dataclass(frozen=True)
class Failure:
    """An error for the caller, and whether Triton must be proved again before the next call."""

    error: WstarError
    lost: bool = False


def failure(what: str, status: str | None, message: str | None) -> Failure:
    """Translate the status and message of an InferenceServerException.

    `what` was asked, such as `graph 'flow'`; `status` reads `StatusCode.UNAVAILABLE`, and is None
    where the client itself refused.
    """
    code = _code(status)
    name = "the client" if code is None else code.name
    text = f"{what}: Triton answered {name}: {message or 'nothing'}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED or _QUEUED_TOO_LONG in text:
        return Failure(DeadlineExceeded(f"{what}: the deadline passed before Triton answered"))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED or _QUEUE_FULL in text:
        return Failure(Overloaded(f"the queue of {what} in Triton", _RETRY_AFTER_S))
    return Failure(RunnerUnavailable(text), lost=code in _LOST)


def _code(status: str | None) -> grpc.StatusCode | None:
    name = (status or "").removeprefix("StatusCode.")
    return grpc.StatusCode[name] if name in grpc.StatusCode.__members__ else None
