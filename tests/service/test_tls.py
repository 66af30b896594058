"""Certificates change under a running server, and clients without one are turned away."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.service.certificates import Authority, Pair, mount

from wstar.errors import InvalidInput
from wstar_service.tls import ServerTls

AUTHORITY = Authority()
OLD = AUTHORITY.issue("old", days=1)
NEW = AUTHORITY.issue("new", days=2)
FOREIGN = Authority("foreign").issue("foreign")


@asynccontextmanager
async def serving(tls: ServerTls) -> AsyncIterator[int]:
    """Serve health with TLS on a free port."""
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_secure_port("127.0.0.1:0", tls.server_credentials())
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@asynccontextmanager
async def client(port: int, pair: Pair | None = None) -> AsyncIterator[grpc.aio.Channel]:
    """Open a connection of its own, showing a certificate or none."""
    shown = (pair.key, pair.certificate) if pair is not None else (None, None)
    credentials = grpc.ssl_channel_credentials(AUTHORITY.certificate, *shown)
    # Channels to one address with the same credentials share one connection otherwise.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options) as channel:
        yield channel


async def ask(channel: grpc.aio.Channel) -> bool:
    """Ask for health; raises AioRpcError."""
    reply = await health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(), timeout=10
    )
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


async def shown_by(port: int) -> bytes:
    """Shake hands with OpenSSL, another implementation; return the certificate, DER."""
    context = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert isinstance(found, bytes)
    writer.close()
    return found


@contextmanager
def warnings_of(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Collect the warnings logged inside."""
    caplog.clear()
    found: list[str] = []
    with caplog.at_level(logging.WARNING):
        yield found
    found.extend(record.getMessage() for record in caplog.records)


def test_new_files_serve_new_connections_and_leave_old_ones_alone(tmp_path: Path) -> None:
    async def run() -> None:
        tls = ServerTls.read(*OLD.write(tmp_path))
        assert tls.not_after_s() == OLD.not_after_s
        async with serving(tls) as port, client(port) as before:
            assert await ask(before)
            assert await shown_by(port) == OLD.der
            NEW.write(tmp_path)
            # Of the next connection, though nobody has connected since.
            assert tls.not_after_s() == NEW.not_after_s
            assert await shown_by(port) == NEW.der == await shown_by(port)
            assert await ask(before)
            async with client(port) as after:
                assert await ask(after)

    asyncio.run(run())


def test_a_swapped_secret_of_kubernetes_is_taken_over(tmp_path: Path) -> None:
    async def run() -> None:
        mount(tmp_path, "1", tls_crt=OLD.certificate, tls_key=OLD.key)
        async with serving(ServerTls.read(tmp_path / "tls.crt", tmp_path / "tls.key")) as port:
            assert await shown_by(port) == OLD.der
            mount(tmp_path, "2", tls_crt=NEW.certificate, tls_key=NEW.key)
            assert await shown_by(port) == NEW.der

    asyncio.run(run())


def test_a_rewrite_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    first = second = AUTHORITY.issue("same")
    # Signatures of ECDSA differ in length by a byte or two.
    while second is first or len(second.certificate) != len(first.certificate):
        second = AUTHORITY.issue("same", days=2)
    certificate, key = first.write(tmp_path)
    tls = ServerTls.read(certificate, key)
    times = {path: path.stat().st_mtime_ns for path in (certificate, key)}
    second.write(tmp_path)
    for path, time_ns in times.items():
        os.utime(path, ns=(time_ns, time_ns))
    assert tls.not_after_s() == second.not_after_s


BROKEN = {
    "no certificate": (b"", NEW.key, "tls_certificate"),
    "half a certificate": (NEW.certificate[:200], NEW.key, "tls_certificate"),
    "key of another": (NEW.certificate, OLD.key, "tls_key"),
    "half a key": (NEW.certificate, NEW.key[:100], "tls_key"),
    "certificate for key": (NEW.certificate, NEW.certificate, "tls_key"),
}


@pytest.mark.parametrize(("certificate", "key", "field"), BROKEN.values(), ids=BROKEN)
def test_broken_files_keep_the_old_ones_serving_with_one_warning(
    certificate: bytes, key: bytes, field: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        paths = OLD.write(tmp_path)
        tls = ServerTls.read(*paths)
        async with serving(tls) as port:
            with warnings_of(caplog) as found:
                # Twice the same fault, in files that changed each time.
                for _ in range(2):
                    Pair(certificate, key, 0.0).write(tmp_path)
                    assert await shown_by(port) == OLD.der
                    assert tls.not_after_s() == OLD.not_after_s
            (warning,) = (text for text in found if field in text)
            assert str(tmp_path) in warning
            # While files are written one after the other they do not fit, which is another fault.
            assert len(found) == len(set(found)) <= 2
            assert not any(line in text for text in found for line in secrets(key))
            NEW.write(tmp_path)
            assert await shown_by(port) == NEW.der

    asyncio.run(run())


def secrets(key: bytes) -> list[str]:
    """The lines between the marks of a key."""
    return [line for line in key.decode().splitlines() if line and not line.startswith("-----")]


def test_files_that_go_and_come_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, key = OLD.write(tmp_path)
    tls = ServerTls.read(certificate, key)
    with warnings_of(caplog) as found:
        key.unlink()
        assert tls.not_after_s() == tls.not_after_s() == OLD.not_after_s
    assert len(found) == 1 and "tls_key" in found[0]
    NEW.write(tmp_path)
    assert tls.not_after_s() == NEW.not_after_s


def test_mutual_tls_wants_a_certificate_of_its_ca(tmp_path: Path) -> None:
    async def run() -> None:
        ca = tmp_path / "ca.crt"
        ca.write_bytes(AUTHORITY.certificate)
        async with serving(ServerTls.read(*OLD.write(tmp_path), ca)) as port:
            async with client(port, NEW) as known:
                assert await ask(known)
                for stranger in (None, FOREIGN):
                    async with client(port, stranger) as channel:
                        with pytest.raises(grpc.aio.AioRpcError) as caught:
                            await ask(channel)
                    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                # A new CA holds for new connections.
                other = Authority("other")
                ca.write_bytes(other.certificate)
                async with client(port, NEW) as late:
                    with pytest.raises(grpc.aio.AioRpcError):
                        await ask(late)
                async with client(port, other.issue("other")) as fresh:
                    assert await ask(fresh) and await ask(known)

    asyncio.run(run())


def private_pem(key: object, encryption: object = None) -> bytes:
    """Write any private key."""
    return key.private_bytes(  # type: ignore[attr-defined, no-any-return]
        Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
    )


KEYS = {
    "encrypted": private_pem(load_pem_private_key(OLD.key, None), BestAvailableEncryption(b"word")),
    "RSA of 1024 bits": private_pem(rsa.generate_private_key(65537, 1024)),
    "P-521": private_pem(ec.generate_private_key(ec.SECP521R1())),
    "Ed25519": private_pem(ed25519.Ed25519PrivateKey.generate()),
    "DSA": private_pem(dsa.generate_private_key(1024)),
}


@pytest.mark.parametrize("data", KEYS.values(), ids=KEYS)
def test_a_key_that_no_client_would_take_is_refused_at_start(data: bytes, tmp_path: Path) -> None:
    certificate, key = OLD.write(tmp_path)
    key.write_bytes(data)
    with pytest.raises(InvalidInput, match="unencrypted.*RSA of 2048 bits or more") as caught:
        ServerTls.read(certificate, key)
    assert (caught.value.field, caught.value.value) == ("tls_key", str(key))


# What `openssl ecparam -genkey -name secp384r1` writes in front of the key.
EC_PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n"


@pytest.mark.parametrize("key", [ec.SECP384R1(), 2048], ids=["P-384", "RSA"])
def test_other_keys_and_forms_serve(key: ec.EllipticCurve | int, tmp_path: Path) -> None:
    made = (
        rsa.generate_private_key(65537, key)
        if isinstance(key, int)
        else ec.generate_private_key(key)
    )
    pair = AUTHORITY.issue("other", key=made)
    certificate, path = pair.write(tmp_path)
    # The form of `openssl genrsa` and `openssl ecparam -genkey`, and a chain up to the CA.
    path.write_bytes(
        (EC_PARAMETERS if isinstance(made, ec.EllipticCurvePrivateKey) else b"")
        + made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    certificate.write_bytes(b"a comment\n" + pair.certificate + AUTHORITY.certificate)

    async def run() -> None:
        async with serving(ServerTls.read(certificate, path)) as port, client(port) as channel:
            assert await ask(channel)
            assert await shown_by(port) == pair.der

    asyncio.run(run())


@pytest.mark.parametrize("field", ["tls_certificate", "tls_key", "tls_client_ca"])
@pytest.mark.parametrize("fault", ["missing", "folder", "empty"])
def test_a_bad_file_at_start_is_named(field: str, fault: str, tmp_path: Path) -> None:
    certificate, key = OLD.write(tmp_path)
    ca = tmp_path / "ca.crt"
    ca.write_bytes(AUTHORITY.certificate)
    bad = {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": ca}[field]
    bad.unlink()
    if fault == "folder":
        bad.mkdir()
    elif fault == "empty":
        bad.touch()
    with pytest.raises(InvalidInput) as caught:
        ServerTls.read(certificate, key, ca)
    assert (caught.value.field, caught.value.value) == (field, str(bad))


# The library says of certificates that are damaged just so that it will refuse them one day.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(max_examples=300)
@given(st.binary(max_size=8), st.floats(0, 1), st.booleans())
def test_damaged_files_are_refused_or_still_a_pair(
    tmp_path_factory: pytest.TempPathFactory, damage: bytes, where: float, in_key: bool
) -> None:
    certificate, key = OLD.write(tmp_path_factory.getbasetemp() / "damaged")
    path = key if in_key else certificate
    data = path.read_bytes()
    at = int(where * len(data))
    path.write_bytes(data[:at] + damage + data[at + len(damage) :])
    try:
        ServerTls.read(certificate, key)
    except InvalidInput as error:
        assert error.field in ("tls_certificate", "tls_key")
        assert not any(line in str(error) for line in secrets(OLD.key))
