"""Whoever has no token learns nothing; whoever has one is known by name."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.service.stumbling import stumbled

from wstar.errors import InvalidInput, Unauthenticated
from wstar.remote import error_of_call
from wstar_service.auth import Authentication, Tokens, caller_name

ANNA, BEN, LATER = "anna-0123456789abcdef==", "ben.0123456789~+/ABC", "later0123456789abcdef"
FILE = f"# who may call\n\nanna {ANNA}\r\n  ben.b-1_x\t{BEN}  \n"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
Sent = tuple[tuple[str, str], ...]


def bearer(token: str, scheme: str = "Bearer") -> Sent:
    """The metadata of a token."""
    return (("authorization", f"{scheme} {token}"),)


@dataclass
class Serving:
    """A server that answers calls of all four kinds with the caller's name."""

    channel: grpc.aio.Channel
    refused: list[str] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)

    async def ask(self, kind: str, metadata: Sent, method: str | None = None) -> list[bytes]:
        """Call a method of a kind; the replies. A stream of requests has one and stays open."""
        while True:
            try:
                return await self._ask(kind, metadata, method)
            except grpc.aio.AioRpcError as error:
                if not stumbled(error):
                    raise

    async def _ask(self, kind: str, metadata: Sent, method: str | None) -> list[bytes]:
        multi = getattr(self.channel, kind)(method or f"/test.Kinds/{kind}")
        if kind.startswith("unary"):
            call = multi(b"x", metadata=metadata, timeout=10)
        else:
            call = multi(metadata=metadata, timeout=10)
            # A refusal may come first; the reply tells.
            with suppress(asyncio.InvalidStateError):
                await call.write(b"x")
        if kind.endswith("unary"):
            return [await call]
        return [reply async for reply in call]


@asynccontextmanager
async def serving(tokens: Tokens) -> AsyncIterator[Serving]:
    """Serve the four kinds, health and reflection behind authentication."""

    def reached(kind: str) -> bytes:
        name = caller_name() or "nobody"
        found.reached.append(kind)
        return name.encode()

    async def unary_unary(request: bytes, context: object) -> bytes:
        # A task of the handler knows as well.
        return await asyncio.create_task(asyncio.sleep(0, reached("unary_unary")))

    async def unary_stream(request: bytes, context: object) -> AsyncIterator[bytes]:
        yield reached("unary_stream")
        await asyncio.sleep(0.01)
        yield reached("unary_stream")

    async def stream_unary(requests: AsyncIterator[bytes], context: object) -> bytes:
        await anext(requests)
        return reached("stream_unary")

    async def stream_stream(requests: AsyncIterator[bytes], context: object) -> Any:  # noqa: ANN401
        await anext(requests)
        yield reached("stream_stream")

    behaviours = (unary_unary, unary_stream, stream_unary, stream_stream)
    handlers = {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(behaviour)
        for kind, behaviour in zip(KINDS, behaviours, strict=True)
    }
    refused: list[str] = []
    server = grpc.aio.server(interceptors=[Authentication(tokens, refused.append)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Kinds", handlers),))
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((reflection.SERVICE_NAME,), server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        found = Serving(channel, refused)
        try:
            yield found
        finally:
            await server.stop(0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of two tokens."""
    path = tmp_path / "tokens"
    path.write_bytes(FILE.encode())
    return path


def test_a_known_token_is_its_owner_in_calls_of_every_kind(file: Path) -> None:
    async def run() -> None:
        async with serving(Tokens.read(file)) as server:
            for kind in KINDS:
                for metadata, name in (
                    (bearer(ANNA), b"anna"),
                    (bearer(BEN, "bEARER"), b"ben.b-1_x"),
                ):
                    assert set(await server.ask(kind, metadata)) == {name}
            # Many at once do not take each other's names.
            asked = [(ANNA, b"anna"), (BEN, b"ben.b-1_x")] * 20
            replies = await asyncio.gather(
                *(server.ask("unary_unary", bearer(token)) for token, _ in asked)
            )
            assert replies == [[name] for _, name in asked]
            assert caller_name() is None and server.refused == []

    asyncio.run(run())


REFUSED: dict[str, tuple[Sent, str]] = {
    "none": ((), "no token"),
    "two": (bearer(ANNA) + bearer(ANNA), "more than once"),
    "unknown": (bearer("unknown-0123456789"), "unknown token"),
    "prefix": (bearer(ANNA[:-1]), "unknown token"),
    "basic": (bearer(ANNA, "Basic"), "not of the form"),
    "no scheme": ((("authorization", ANNA),), "not of the form"),
    "empty": ((("authorization", ""),), "not of the form"),
    "more": (bearer(f"{ANNA} more"), "not of the form"),
    "elsewhere": ((("x-authorization", f"Bearer {ANNA}"),), "no token"),
}


@pytest.mark.parametrize(("metadata", "said"), REFUSED.values(), ids=REFUSED)
def test_calls_of_every_kind_and_unknown_ones_are_refused_before_any_work(
    metadata: Sent, said: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with serving(Tokens.read(file)) as server:
            asked = [(kind, f"/test.Kinds/{kind}") for kind in KINDS]
            asked += [(kind, "/test.Kinds/none") for kind in KINDS]
            asked += [("stream_stream", f"/{reflection.SERVICE_NAME}/ServerReflectionInfo")]
            asked += [("unary_unary", "/grpc.health.v1.Healthy/Check"), ("unary_unary", "//")]
            for kind, method in asked:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await server.ask(kind, (*metadata, ("x-request-id", "id-7")), method)
                _check_refusal(caught.value, said)
            assert server.reached == []
            assert set(server.refused) == {"UNAUTHENTICATED"}
            # More, where one was asked again.
            assert len(server.refused) >= len(asked)

    with caplog.at_level(logging.DEBUG, "wstar"):
        asyncio.run(run())
    sent = [value.split()[-1] for _, value in metadata if value]
    logged = [vars(record) for record in caplog.records if record.name.startswith("wstar")]
    assert logged and all(record["request_id"] == "id-7" for record in logged)
    assert not any(token in str(record) for record in logged for token in sent)


def _check_refusal(call: grpc.aio.AioRpcError, said: str) -> None:
    assert call.code() is grpc.StatusCode.UNAUTHENTICATED
    assert said in str(call.details())
    trailers: dict[str, Any] = dict(cast(Any, call.trailing_metadata()))
    assert trailers["x-request-id"] == "id-7"
    assert b"0123456789" not in trailers["grpc-status-details-bin"]
    status = rpc_status.from_call(cast(grpc.Call, call))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "UNAUTHENTICATED" and info.metadata["request_id"] == "id-7"
    assert type(error_of_call(call, "host:1")) is Unauthenticated  # type: ignore[arg-type]


def test_health_is_open_reflection_and_unknown_methods_are_for_the_known(file: Path) -> None:
    async def run() -> None:
        async with serving(Tokens.read(file)) as server:
            stub = health_pb2_grpc.HealthStub(server.channel)
            request = health_pb2.HealthCheckRequest()
            serving_status = health_pb2.HealthCheckResponse.SERVING
            assert (await stub.Check(request)).status == serving_status
            watch = stub.Watch(request)
            assert (await watch.read()).status == serving_status
            watch.cancel()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.ask("unary_unary", bearer(ANNA), "/test.Kinds/none")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            reflected = reflection_pb2_grpc.ServerReflectionStub(server.channel)
            call = reflected.ServerReflectionInfo(metadata=bearer(ANNA))
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            listed = (await call.read()).list_services_response.service
            assert [service.name for service in listed] == [reflection.SERVICE_NAME]
            call.cancel()

    asyncio.run(run())


def test_tokens_change_while_serving_and_broken_files_change_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = Tokens.read(file)
    assert tokens.caller(bearer(BEN)) == "ben.b-1_x"
    file.write_text(f"anna {LATER}\nanna {ANNA}\n")
    assert tokens.caller(bearer(BEN)) == "ben.b-1_x"
    # The file is looked at once per second.
    time.sleep(1.05)
    assert tokens.caller(bearer(LATER)) == tokens.caller(bearer(ANNA)) == "anna"
    with pytest.raises(Unauthenticated, match="unknown"):
        tokens.caller(bearer(BEN))
    caplog.clear()
    file.write_text(f"anna {LATER} {BEN}\n")
    time.sleep(1.05)
    assert {tokens.caller(bearer(LATER)) for _ in range(3)} == {"anna"}
    file.write_text(f"anna {LATER}  {BEN}\n")
    time.sleep(1.05)
    assert tokens.caller(bearer(LATER)) == "anna"
    # The second file has the same fault in the same place: said once.
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert f"{file}, line 1" in record.getMessage() and LATER not in record.getMessage()


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"# nobody\n", "1 to 1000 lines"),
    "too many": (b"".join(b"a %016d\n" % i for i in range(1001)), "1 to 1000 lines"),
    "too large": (b"#" * (2**20 + 1), "at most 1048576 bytes"),
    "no name": (f"\n{ANNA}\n".encode(), "line 2"),
    "short token": (b"a 012345678901234\n", "line 1"),
    "long token": (b"a " + b"x" * 513, "line 1"),
    "long name": (b"x" * 65 + b" 0123456789abcdef\n", "line 1"),
    "comment behind": (f"a {ANNA} # mine\n".encode(), "line 1"),
    "sign inside": (b"a 0123456789=abcdef\n", "line 1"),
    "not ASCII": ("a 0123456789abcdefé\n".encode(), "line 1"),
    "said twice": (f"a {ANNA}\nb {BEN}\nc {ANNA}\n".encode(), "line 3"),
}


@pytest.mark.parametrize(("data", "said"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_breaks_a_rule_is_named_with_its_line(
    data: bytes, said: str, file: Path
) -> None:
    file.write_bytes(data)
    with pytest.raises(InvalidInput) as caught:
        Tokens.read(file)
    assert caught.value.field == "tokens"
    assert str(file) in str(caught.value) and said in str(caught.value)
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_file_that_cannot_be_read_is_named(what: str, file: Path) -> None:
    file.unlink()
    if what == "folder":
        file.mkdir()
    with pytest.raises(InvalidInput, match="a file to read") as caught:
        Tokens.read(file)
    assert (caught.value.field, caught.value.value) == ("tokens", str(file))


def test_no_token_is_kept_in_memory(file: Path) -> None:
    tokens = Tokens.read(file)
    assert tokens.caller(bearer(ANNA)) == "anna"
    assert {len(digest) for digest, _ in tokens._known} == {32}
    assert ANNA not in str(vars(tokens)) + str(vars(tokens._file))


TOKEN = st.from_regex(r"[A-Za-z0-9._~+/-]{16,509}={0,3}", fullmatch=True)
NAME = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)


@settings(max_examples=100)
@given(st.dictionaries(TOKEN, NAME, min_size=1, max_size=8), st.text(max_size=40))
def test_every_token_of_a_file_finds_its_name_and_nothing_else_does(
    tmp_path_factory: pytest.TempPathFactory, owners: dict[str, str], other: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn"
    path.write_text("".join(f"{name} {token}\n" for token, name in owners.items()))
    tokens = Tokens.read(path)
    assert {token: tokens.caller(bearer(token)) for token in owners} == owners
    with pytest.raises(Unauthenticated):
        tokens.caller((("authorization", f"Bearer {other}"),))
