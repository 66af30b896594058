"""From an exception to the status that a caller reads: one table, and the details."""

from __future__ import annotations

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
    WstarError,
)
from wstar.remote import reason_of

DOMAIN = "wstar"
_SHOWN_CHARACTERS = 200

STATUS_CODES: Mapping[type[WstarError], grpc.StatusCode] = {
    WstarError: grpc.StatusCode.INTERNAL,
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    ImageError: grpc.StatusCode.INVALID_ARGUMENT,
    DependentAttributes: grpc.StatusCode.INVALID_ARGUMENT,
    LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    SpaceMismatch: grpc.StatusCode.FAILED_PRECONDITION,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
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

    A fault of ours tells the caller nothing but the request id; the log has the rest.
    """
    known = isinstance(error, WstarError)
    message = str(error) if known else f"internal error, request id {request_id}"
    facts = vars(error) if known else {}
    info = error_details_pb2.ErrorInfo(reason=reason(error), domain=DOMAIN)
    info.metadata["request_id"] = request_id
    for name, value in facts.items():
        if name not in ("field", "retry_after_s"):
            info.metadata[name] = _shown(value)
    status = status_pb2.Status(code=code_of(error).value[0], message=message)
    status.details.add().Pack(info)
    if "field" in facts:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=facts["field"], description=message, reason=info.reason
        )
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, Overloaded):
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
