"""A failed gRPC call, told as the exception of `wstar.errors` that the server raised."""

from __future__ import annotations

import re
from collections.abc import Mapping

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

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


def reason_of(kind: type[WstarError]) -> str:
    """Name an exception class on the wire: `ImageError` is `IMAGE_ERROR`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper()


_KINDS: Mapping[str, type[WstarError]] = {
    reason_of(kind): kind
    for kind in (
        InvalidInput,
        ImageError,
        DependentAttributes,
        LimitExceeded,
        SpaceMismatch,
        Overloaded,
        DeadlineExceeded,
        Unauthenticated,
        ContractMismatch,
        RunnerUnavailable,
        CheckpointError,
    )
}

# Failures that never reached wstar's code and so carry no reason.
_TRANSPORT: Mapping[grpc.StatusCode, type[WstarError]] = {
    grpc.StatusCode.UNAVAILABLE: RunnerUnavailable,
    # By nobody here: what a server that stops has not begun, or not finished in time.
    grpc.StatusCode.CANCELLED: RunnerUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
}

# What gRPC itself says of a message above the server's limit.
_TOO_LARGE = re.compile(r"message larger than max \((\d+) vs\. (\d+)\)")


def error_of_call(call: grpc.Call, target: str) -> WstarError:
    """Return the exception that a failed call stands for, with the server's message.

    An error of the service keeps its class and the details sent with it (`field` from
    BadRequest, `retry_after_s` from RetryInfo, the metadata of ErrorInfo as text). One of the
    transport names the server and its gRPC status code.
    """
    code: grpc.StatusCode = call.code()
    message = str(call.details() or "")
    info, attributes = _details(call)
    if info is not None and info.reason in _KINDS:
        return _rebuilt(_KINDS[info.reason], message, attributes)
    if sizes := _TOO_LARGE.search(message):
        return LimitExceeded("request", int(sizes[1]), int(sizes[2]), "bytes")
    kind = _TRANSPORT.get(code, WstarError)
    return _rebuilt(kind, f"server {target}: {code.name}: {message}", attributes)


def _rebuilt(kind: type[WstarError], message: str, attributes: Mapping[str, object]) -> WstarError:
    # The message is already composed, so the constructor, which would compose another, is left out.
    error = kind.__new__(kind, message)
    error.__dict__.update(attributes)
    return error


def _status(call: grpc.Call) -> status_pb2.Status:
    """What the server said of the error; empty without it.

    `rpc_status.from_call` refuses it where the transport ended the call with a code of its own
    after the server's answer had come, as a connection does that closes meanwhile.
    """
    for key, value in call.trailing_metadata() or ():
        if key == rpc_status.GRPC_DETAILS_METADATA_KEY:  # type: ignore[attr-defined]
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()


def _details(
    call: grpc.Call,
) -> tuple[error_details_pb2.ErrorInfo | None, dict[str, object]]:
    info: error_details_pb2.ErrorInfo | None = None
    attributes: dict[str, object] = {}
    for detail in _status(call).details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            attributes.update(info.metadata)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest()
            detail.Unpack(request)
            attributes.update(field=request.field_violations[0].field)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            attributes.update(retry_after_s=retry.retry_delay.ToTimedelta().total_seconds())
    return info, attributes
