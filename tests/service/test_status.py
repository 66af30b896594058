"""Every exception has its status, and the manual names it."""

from __future__ import annotations

import asyncio
import math
import re
from base64 import b64encode
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import grpc
import pytest
from google.rpc import status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

import wstar.v1
from wstar import errors
from wstar.errors import WstarError
from wstar.remote import error_of_call
from wstar_service.status import STATUS_CODES, code_of, pushback_ms, reason, status_of, trailers

EVERY = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, WstarError)
]


def test_every_exception_has_one_status() -> None:
    assert set(STATUS_CODES) == set(EVERY)


def test_the_manual_lists_every_status_code() -> None:
    text = (Path(wstar.v1.__file__).parent / "wstar.proto").read_text(encoding="utf-8")
    named = set(re.findall(r"[A-Z]+(?:_[A-Z]+)+|UNAVAILABLE|INTERNAL|UNAUTHENTICATED", text))
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
        (errors.Unauthenticated("no token"), None, None),
        (errors.ContractMismatch("flow", "input", "w", "z"), None, None),
        (errors.RunnerUnavailable("gone"), None, 1.0),
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


def test_refusals_of_the_transport_are_told_apart() -> None:
    # Without details: a proxy in front of the server, or gRPC itself.
    kinds = {
        grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
        grpc.StatusCode.UNAVAILABLE: errors.RunnerUnavailable,
        grpc.StatusCode.CANCELLED: errors.RunnerUnavailable,
        grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
        grpc.StatusCode.RESOURCE_EXHAUSTED: WstarError,
    }
    for code, kind in kinds.items():
        bare = status_pb2.Status(code=code.value[0], message="no")
        found = error_of_call(Failed(bare), "host:1")  # type: ignore[arg-type]
        assert type(found) is kind and "host:1" in str(found) and code.name in str(found)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.Overloaded("4 calls", 0.5), 500),
        (errors.Overloaded("4 calls", 0.0), 0),
        (errors.Overloaded("4 calls", -1.0), 0),
        # gRPC reads 32 bits; an hour is as good as for ever.
        (errors.Overloaded("4 calls", math.inf), 3_600_000),
        (errors.Overloaded("4 calls", math.nan), 0),
        (errors.LimitExceeded("faces", 9, 8, "faces"), -1),
        (errors.RunnerUnavailable("gone"), None),
        (errors.InvalidInput("faces", [], "1 to 8 faces"), None),
        (errors.Unauthenticated("no token"), None),
        (KeyError("password"), None),
    ],
)
def test_clients_are_told_when_to_retry_by_themselves(
    error: Exception, expected: int | None
) -> None:
    assert pushback_ms(error) == expected
    sent = dict(trailers(error, "id-1"))
    assert sent.get("grpc-retry-pushback-ms") == (None if expected is None else str(expected))


class Ended:
    """A call that the transport ended after the server's answer had come."""

    def __init__(self, error: WstarError) -> None:
        self._metadata = tuple(trailers(error, "id-1"))

    def code(self) -> grpc.StatusCode:
        """The transport's."""
        return grpc.StatusCode.CANCELLED

    def details(self) -> str:
        """The transport's."""
        return "Stream removed"

    def trailing_metadata(self) -> tuple[Any, ...]:
        """The server's."""
        return self._metadata


def test_what_the_server_said_counts_also_where_the_transport_says_otherwise() -> None:
    told = error_of_call(cast(grpc.Call, Ended(errors.Overloaded("4 calls", 0.5))), "here")
    assert isinstance(told, errors.Overloaded)
    assert told.retry_after_s == 0.5


# Half a surrogate pair, controls, % and emoji are what costs most on the wire.
TEXT = st.text(st.sampled_from(["a", "%", "\n", "\0", "\ud800", "é", "\U0001f642"]))
HUGE = st.builds(lambda text, times: text * times, TEXT, st.sampled_from([1, 100, 10_000]))
VALUE = st.one_of(HUGE, st.binary(), st.integers(), st.lists(st.floats(), max_size=2000))


@settings(max_examples=200)
@given(
    st.sampled_from(EVERY), HUGE, st.dictionaries(HUGE | st.just("field"), VALUE), HUGE, st.floats()
)
def test_errors_stay_small_whatever_they_hold(
    kind: type[WstarError], message: str, facts: dict[str, object], request_id: str, delay_s: float
) -> None:
    error = kind.__new__(kind, message)
    error.__dict__.update(facts | {f"fact_{number}": "x" * 300 for number in range(100)})
    error.__dict__["retry_after_s"] = delay_s
    status = status_of(error, request_id)
    sent = status.SerializeToString()
    assert len(sent) < 4096
    assert _header_bytes(status.message, sent) < 7 * 1024
    found = error_of_call(Failed(status), "host:1")  # type: ignore[arg-type]
    assert type(found) is kind and status.message in str(found)


def _header_bytes(message: str, details: bytes) -> int:
    """What message and details take as HTTP/2 headers: percent-encoded, and in base64."""
    printable = "".join(chr(byte) for byte in range(0x20, 0x7F) if byte != ord("%"))
    return len(quote(message, safe=printable)) + len(b64encode(details))


def test_what_is_kept_of_a_large_error_is_its_beginning() -> None:
    error = errors.InvalidInput("edits[0].attribute", "\U0001f642" * 10**6, "a name")
    status = status_of(error, "id-1")
    found = error_of_call(Failed(status), "host:1")  # type: ignore[arg-type]
    assert isinstance(found, errors.InvalidInput)
    assert found.field == "edits[0].attribute"
    assert str(found).startswith("edits[0].attribute: found '\U0001f642")
    assert str(found).endswith("...")


@pytest.mark.parametrize("text", ["50 % off\n", "é\U0001f642", "\ud800 half", "x" * 10**5, " \0 "])
def test_odd_texts_arrive_as_they_were_sent(text: str) -> None:
    async def run() -> None:
        async def fail(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            error = errors.LimitExceeded("faces", 9, 8, text)
            status = status_of(error, "id-1")
            await context.abort(code_of(error), status.message, trailers(error, "id-1"))
            raise AssertionError

        server = grpc.aio.server()
        handlers = {"Fail": grpc.unary_unary_rpc_method_handler(fail)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/test/Fail", None, None)(b"", timeout=10)
        await server.stop(0)
        # Refuses a message that is not the one inside the details.
        found = error_of_call(caught.value, "host:1")  # type: ignore[arg-type]
        assert isinstance(found, errors.LimitExceeded)
        sent: Any = caught.value.trailing_metadata()
        assert dict(sent)["grpc-retry-pushback-ms"] == "-1"

    asyncio.run(run())
