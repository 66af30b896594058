"""From an exception to the status that a caller reads: one table, and the details."""

from __future__ import annotations

import re
from collections.abc import Mapping

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from wstar.errors import (
    CheckpointError,
    ContractMismatch,
    DeadlineExceeded,
    DependentAttributes,
    ImageError,
    InvalidInput,
    LimitExceeded,
    Overloaded,
    RunnerUnavailable,
    SpaceMismatch,
    Unauthenticated,
    WstarError,
)
from wstar.remote import reason_of
from wstar_service.request_ids import REQUEST_ID

DOMAIN = "wstar"
_DETAILS = "grpc-status-details-bin"
# Of the client's retry policy: milliseconds to wait, below 0 for never.
_PUSHBACK = "grpc-retry-pushback-ms"

# Bounds in bytes. Together they keep a Status below 4 KiB, and all trailers below the 8 KiB at
# which common proxies end a call: the message travels three times, once percent-encoded (three
# bytes for one unless it is plain), the details in base64 (four bytes for three).
_MESSAGE, _MESSAGE_NOT_PLAIN = 1000, 660
_FIELD = _VALUE = 200
_ID = 64
_METADATA = 1100
# The form that google.rpc.ErrorInfo asks of a key.
_KEY = re.compile(r"[a-z][A-Za-z0-9_-]{0,63}")
_LONGEST_RETRY_S = 3600.0
# An engine that is lost is tried every 2 s: whoever comes back after one of them finds it soon.
_ENGINE_RETRY_S = 1.0

STATUS_CODES: Mapping[type[WstarError], grpc.StatusCode] = {
    WstarError: grpc.StatusCode.INTERNAL,
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    ImageError: grpc.StatusCode.INVALID_ARGUMENT,
    DependentAttributes: grpc.StatusCode.INVALID_ARGUMENT,
    LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    SpaceMismatch: grpc.StatusCode.FAILED_PRECONDITION,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    ContractMismatch: grpc.StatusCode.UNAVAILABLE,
    RunnerUnavailable: grpc.StatusCode.UNAVAILABLE,
    CheckpointError: grpc.StatusCode.INTERNAL,
}


def reason(error: Exception) -> str:
    """Name an error as `ErrorInfo.reason` and the metrics do; INTERNAL for a fault of ours."""
    return reason_of(type(error)) if isinstance(error, WstarError) else "INTERNAL"


def code_of(error: Exception) -> grpc.StatusCode:
    """Return the status code of an error; INTERNAL for one that is not of `wstar.errors`."""
    if isinstance(error, WstarError):
        return STATUS_CODES[type(error)]
    return grpc.StatusCode.INTERNAL


def status_of(error: Exception, request_id: str) -> status_pb2.Status:
    """Describe an error as google.rpc.Status with the details promised in `wstar.proto`.

    A fault of ours tells the caller nothing but the request id; the log has the rest. Below
    4 KiB whatever the error holds: texts are cut, and facts that no longer fit are left out.
    """
    known = isinstance(error, WstarError)
    message = _message(str(error) if known else f"internal error, request id {request_id}")
    facts = vars(error) if known else {}
    info = error_details_pb2.ErrorInfo(reason=reason(error), domain=DOMAIN)
    room = _METADATA
    for name, value in facts.items():
        if name in ("field", "retry_after_s") or not _KEY.fullmatch(name):
            continue
        text = _cut(value, _VALUE)
        room -= len(name) + len(text.encode())
        if room >= 0:
            info.metadata[name] = text
    info.metadata["request_id"] = _cut(request_id, _ID)
    status = status_pb2.Status(code=code_of(error).value[0], message=message)
    status.details.add().Pack(info)
    if "field" in facts:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(facts["field"], _FIELD), description=message, reason=info.reason
        )
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, Overloaded | RunnerUnavailable):
        delay = Duration()
        delay.FromNanoseconds(int(_retry_after_s(error) * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def pushback_ms(error: Exception) -> int | None:
    """Return when a client may retry by itself: after so many milliseconds; -1 for never.

    None leaves it to the client's policy. Both errors that are RESOURCE_EXHAUSTED answer, since
    a policy knows codes only: a full server has room later, a call above a limit stays above it.
    Where the engine is lost another server may have one: the policy is sooner there.
    """
    if isinstance(error, Overloaded):
        return int(_retry_after_s(error) * 1e3)
    return -1 if isinstance(error, LimitExceeded) else None


def trailers(error: Exception, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """Return the metadata that ends a call with an error: its id, its Status, its pushback."""
    found: tuple[tuple[str, str | bytes], ...] = (
        (REQUEST_ID, request_id),
        (_DETAILS, status_of(error, request_id).SerializeToString()),
    )
    pushback = pushback_ms(error)
    return found if pushback is None else (*found, (_PUSHBACK, str(pushback)))


def _retry_after_s(error: Overloaded | RunnerUnavailable) -> float:
    if isinstance(error, RunnerUnavailable):
        return _ENGINE_RETRY_S
    # In this order of the two, not a number is 0.
    return min(max(0.0, error.retry_after_s), _LONGEST_RETRY_S)


def _message(text: str) -> str:
    plain = text.isascii() and text.isprintable() and "%" not in text
    return _cut(text, _MESSAGE if plain else _MESSAGE_NOT_PLAIN)


def _cut(value: object, most_bytes: int) -> str:
    """Write a value in at most so many bytes of UTF-8, ending in ... if that is not all of it."""
    # Half a surrogate pair, which Python's strings may hold, has no UTF-8.
    text = (value if isinstance(value, str) else str(value))[: most_bytes + 1]
    data = text.encode(errors="backslashreplace")
    if len(data) <= most_bytes:
        return data.decode()
    return data[: most_bytes - 3].decode(errors="ignore") + "..."
