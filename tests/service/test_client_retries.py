"""What the channel does by itself: retries, however large the request; deadlines, TLS, tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.service.certificates import Authority
from tests.service.flaky_server import Flaky, flaky

from wstar.async_client import AsyncClient
from wstar.channel import Tls
from wstar.client import Client
from wstar.errors import (
    DeadlineExceeded,
    InvalidInput,
    LimitExceeded,
    Overloaded,
    RunnerUnavailable,
    WstarError,
)

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
Embed = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[Flaky]:
    with flaky() as served:
        yield served


def embed(target: str, face: bytes = b"123", **options: Any) -> Any:  # noqa: ANN401
    with Client(target, **options) as client:
        return client.embed(face)


def async_embed(target: str, face: bytes = b"123", **options: Any) -> Any:  # noqa: ANN401
    async def scenario() -> Any:  # noqa: ANN401
        async with AsyncClient(target, **options) as client:
            return await client.embed(face)

    return asyncio.run(scenario())


BOTH = pytest.mark.parametrize("embed_with", [embed, async_embed])


@BOTH
@pytest.mark.parametrize("size", [3, 8_000_000])
def test_a_request_of_any_size_is_sent_again(server: Flaky, size: int, embed_with: Embed) -> None:
    """By default gRPC keeps 256 KiB of a request, and gives up where it is longer."""
    server.failures = [UNAVAILABLE, Overloaded("calls at once", 0.01), UNAVAILABLE, UNAVAILABLE]
    server.pushback_ms = 10
    found = embed_with(server.target, bytes(size))
    assert found.codes[0, 0, 0] == size
    assert [len(request.faces[0].picture.data) for request in server.requests] == [size] * 5
    attempts = [sent.get("grpc-previous-rpc-attempts") for sent in server.metadata]
    assert attempts == [None, "1", "2", "3", "4"]


def test_five_times_and_no_more_each_later_than_the_one_before(server: Flaky) -> None:
    server.failures = [UNAVAILABLE] * 9
    started = time.monotonic()
    with pytest.raises(RunnerUnavailable, match="failed on purpose"):
        embed(server.target)
    # 0.1 + 0.2 + 0.4 + 0.8 s, each 20 % more or less.
    assert 1.2 <= time.monotonic() - started < 5
    assert len(server.requests) == 5


@pytest.mark.parametrize("failure", [InvalidInput("faces", 1, "2"), grpc.StatusCode.INTERNAL])
def test_what_cannot_get_better_is_sent_once(
    server: Flaky, failure: WstarError | grpc.StatusCode
) -> None:
    server.failures = [failure]
    with pytest.raises(WstarError):
        embed(server.target)
    assert len(server.requests) == 1


def test_the_server_says_when(server: Flaky) -> None:
    server.failures, server.pushback_ms = [Overloaded("calls at once", 0.7)], 700
    started = time.monotonic()
    embed(server.target)
    # The backoff alone is at most 0.12 s.
    assert 0.7 <= time.monotonic() - started < 5
    assert len(server.requests) == 2


@BOTH
def test_the_server_says_never(server: Flaky, embed_with: Embed) -> None:
    server.failures, server.pushback_ms = [LimitExceeded("faces", 9, 4, "faces")], -1
    with pytest.raises(LimitExceeded):
        embed_with(server.target)
    assert len(server.requests) == 1


@BOTH
def test_the_deadline_bounds_all_attempts(server: Flaky, embed_with: Embed) -> None:
    server.failures, server.pushback_ms = [UNAVAILABLE] * 9, 400
    started = time.monotonic()
    with pytest.raises((DeadlineExceeded, RunnerUnavailable)):
        embed_with(server.target, timeout_s=1.0)
    assert time.monotonic() - started < 1.5
    assert len(server.requests) <= 3


def test_a_server_that_comes_back_is_found_again() -> None:
    with flaky() as first, Client(first.target, timeout_s=10) as client:
        client.info()
        address = first.target
    with Client(address, timeout_s=10) as client:
        with pytest.raises(RunnerUnavailable, match=address):
            client.info()
        with flaky(address):
            started = time.monotonic()
            client.info()
            # gRPC by itself would wait 1 s before it connects again, and longer each time.
            assert time.monotonic() - started < 4


def test_all_addresses_of_a_name_take_turns() -> None:
    with flaky() as one, flaky() as other:
        # As `dns:///` resolves a name with two addresses.
        with Client(f"ipv4:{one.target},{other.target}", timeout_s=20) as client:
            deadline = time.monotonic() + 10
            while not (one.requests and other.requests) and time.monotonic() < deadline:
                client.embed(b"1")
        assert one.requests and other.requests


@BOTH
def test_tls_both_ways_and_a_token(tmp_path: Path, embed_with: Embed) -> None:
    authority = Authority()
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate)
    served, own = authority.issue("server"), authority.issue("client")
    certificate, key = own.write(tmp_path)
    credentials = grpc.ssl_server_credentials(
        [(served.key, served.certificate)], authority.certificate, require_client_auth=True
    )
    with flaky(credentials=credentials) as server:
        tls = Tls(ca=ca, certificate=certificate, key=key)
        found = embed_with(server.target, tls=tls, token="a.secret-token")
        assert found.codes[0, 0, 0] == 3
        assert server.metadata[0]["authorization"] == "Bearer a.secret-token"


@pytest.mark.parametrize("wrong", ["no certificate", "another authority", "plain text"])
def test_tls_that_does_not_fit(tmp_path: Path, wrong: str) -> None:
    authority = Authority()
    ca = tmp_path / "ca.pem"
    ca.write_bytes((Authority() if wrong == "another authority" else authority).certificate)
    served, own = authority.issue("server"), authority.issue("client")
    certificate, key = own.write(tmp_path)
    credentials = grpc.ssl_server_credentials(
        [(served.key, served.certificate)], authority.certificate, require_client_auth=True
    )
    tls = Tls(ca=ca, certificate=certificate, key=key)
    if wrong == "no certificate":
        tls = Tls(ca=ca)
    with flaky(credentials=credentials) as server:
        with pytest.raises((RunnerUnavailable, DeadlineExceeded)):
            embed(server.target, tls=None if wrong == "plain text" else tls, timeout_s=0.5)
        assert not server.requests


def test_a_server_under_another_name_than_its_certificate_s(tmp_path: Path) -> None:
    authority = Authority()
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate)
    served = authority.issue("server")
    credentials = grpc.ssl_server_credentials([(served.key, served.certificate)])
    with flaky(credentials=credentials) as server:
        embed(server.target, tls=Tls(ca=ca, server_name="localhost"))
        with pytest.raises((RunnerUnavailable, DeadlineExceeded)):
            embed(server.target, tls=Tls(ca=ca, server_name="elsewhere"), timeout_s=0.5)


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_files_that_are_no_certificates_are_named(tmp_path: Path, client: type[Client]) -> None:
    authority = Authority()
    certificate, key = authority.issue("one").write(tmp_path / "one")
    _, other_key = authority.issue("other").write(tmp_path / "other")
    text = tmp_path / "text"
    text.write_text("no certificate")
    locked = tmp_path / "locked"
    locked.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    missing = tmp_path / "missing"
    for field, tls in (
        ("tls.ca", Tls(ca=missing)),
        ("tls.ca", Tls(ca=text)),
        ("tls.ca", Tls(ca=tmp_path)),
        ("tls.certificate", Tls(certificate=text, key=key)),
        ("tls.certificate", Tls(certificate=missing, key=key)),
        ("tls.certificate", Tls(key=key)),
        ("tls.key", Tls(certificate=certificate)),
        ("tls.key", Tls(certificate=certificate, key=missing)),
        ("tls.key", Tls(certificate=certificate, key=text)),
        ("tls.key", Tls(certificate=certificate, key=locked)),
        ("tls.key", Tls(certificate=certificate, key=other_key)),
    ):
        with pytest.raises(InvalidInput) as refused:
            client("127.0.0.1:1", tls=tls)
        assert refused.value.field == field


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "tab\t", "schlüssel", 7])
def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(token: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidInput, match="^token") as refused:
        Client(token=token)
    assert not token or str(token) not in str(refused.value)


def test_a_token_is_in_no_error_and_no_repr(server: Flaky) -> None:
    secret = "very-secret-token"
    server.failures = [grpc.StatusCode.INTERNAL]
    with Client(server.target, token=secret) as client:
        with pytest.raises(WstarError) as raised:
            client.embed(b"1")
        told: BaseException | None = raised.value
        while told is not None:
            assert secret not in f"{told!r} {told} {vars(told)}"
            told = told.__cause__
        assert secret not in f"{client!r} {vars(client)}"
