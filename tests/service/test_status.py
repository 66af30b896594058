"""Every exception has its status, and the manual names it."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from google.rpc import status_pb2

import wstar.v1
from wstar import errors
from wstar.errors import WstarError
from wstar.remote import error_of_call
from wstar_service.status import STATUS_CODES, code_of, reason, status_of

EVERY = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, WstarError)
]


def test_every_exception_has_one_status() -> None:
    assert set(STATUS_CODES) == set(EVERY)


def test_the_manual_lists_every_status_code() -> None:
    text = (Path(wstar.v1.__file__).parent / "wstar.proto").read_text(encoding="utf-8")
    named = set(re.findall(r"[A-Z]+(?:_[A-Z]+)+|UNAVAILABLE|INTERNAL", text))
    assert {code.name for code in STATUS_CODES.values()} <= named


def test_reasons_differ_and_are_short_names() -> None:
    reasons = [reason(kind.__new__(kind)) for kind in EVERY]
    assert len(set(reasons)) == len(EVERY)
    # The form google.rpc.ErrorInfo asks for.
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]+[A-Z0-9]", name) for name in reasons)


@pytest.mark.parametrize(
    ("error", "path", "retry_after_s"),
    [
        (errors.InvalidInput("faces", [], "1 to 8 faces"), "faces", None),
        (errors.ImageError("faces[0].picture.data", b"", "a JPEG"), "faces[0].picture.data", None),
        (errors.DependentAttributes("edits", ["Male"], "independent"), "edits", None),
        (errors.LimitExceeded("faces", 9, 8, "faces"), "faces", None),
        (errors.SpaceMismatch("a[0].code.space_id", "x", "y"), "a[0].code.space_id", None),
        (errors.Overloaded("4 calls", 1.5), None, 1.5),
        (errors.DeadlineExceeded("late"), None, None),
        (errors.ContractMismatch("flow", "input", "w", "z"), None, None),
        (errors.RunnerUnavailable("gone"), None, None),
        (errors.CheckpointError("broken"), None, None),
    ],
    ids=lambda it: type(it).__name__,
)
def test_the_client_reads_back_what_the_server_raised(
    error: WstarError, path: str | None, retry_after_s: float | None
) -> None:
    status = status_of(error, "id-1")
    assert status.code == STATUS_CODES[type(error)].value[0]
    # The three methods it reads of a grpc.Call, without the network.
    found = error_of_call(Failed(status), "host:1")  # type: ignore[arg-type]
    assert type(found) is type(error)
    assert str(found) == str(error) == status.message
    assert getattr(found, "field", None) == path
    assert getattr(found, "retry_after_s", None) == retry_after_s


class Failed:
    """A failed call, as a client holds it."""

    def __init__(self, status: status_pb2.Status) -> None:
        self._status = status

    def code(self) -> grpc.StatusCode:
        """The code of the status."""
        return next(code for code in grpc.StatusCode if code.value[0] == self._status.code)

    def details(self) -> str:
        """The message."""
        return str(self._status.message)

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The details as they travel."""
        return (("grpc-status-details-bin", self._status.SerializeToString()),)


def test_a_stranger_is_internal_and_keeps_its_text_to_itself() -> None:
    status = status_of(KeyError("password"), "id-1")
    assert code_of(KeyError()) is grpc.StatusCode.INTERNAL
    assert "id-1" in status.message
    assert b"password" not in status.SerializeToString()


def test_details_stay_small_enough_for_a_header() -> None:
    error = errors.InvalidInput("edits[0].attribute", "\U0001f642" * 10**6, "a name")
    # gRPC refuses more than 8 KiB of headers; the details travel in base64.
    assert len(status_of(error, "id-1").SerializeToString()) < 4096
