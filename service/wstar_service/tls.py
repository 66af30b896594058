"""TLS of the gRPC port: certificate, key and client CA, taken over from new files while serving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self, cast

import grpc

# The standard library reads the dates of a certificate through a private function only.
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from wstar.errors import InvalidInput
from wstar_service.mounted import Mounted

# gRPC's own clients agree to no others: the handshake ends in NO_COMMON_SIGNATURE_ALGORITHMS.
_CURVES = ("secp256r1", "secp384r1")
_RSA_BITS = 2048
_KEYS = f"RSA of {_RSA_BITS} bits or more, or ECDSA on P-256 or P-384"
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)


@dataclass(frozen=True)
class _Identity:
    configuration: grpc.ServerCertificateConfiguration
    not_after_s: float


class ServerTls:
    """What a server proves itself with, and whom it takes for a client."""

    def __init__(self, files: Mounted[_Identity], mutual: bool) -> None:
        self._files = files
        self._mutual = mutual

    @classmethod
    def read(cls, certificate: Path, key: Path, client_ca: Path | None = None) -> Self:
        """Read and check the files.

        Parameters
        ----------
        certificate: PEM, the server's own certificate first, then those up to the CA.
        key: PEM, its private key, unencrypted; RSA of 2048 bits or more, ECDSA on P-256 or P-384.
        client_ca: PEM, one or more CAs; a client must then show a certificate of one of them.

        Raises
        ------
        InvalidInput: the field is `tls_certificate`, `tls_key` or `tls_client_ca`, the value the
            path; never what is in a file.
        """
        paths = [path for path in (certificate, key, client_ca) if path is not None]
        files = Mounted.open(paths, partial(_read, certificate, key, client_ca))
        return cls(files, client_ca is not None)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return what `add_secure_port` takes, for one port: each keeps track of its own.

        Before every handshake the files are looked at, one stat each. New ones serve from that
        connection on; open connections go on with what they began with.
        """
        served = self._files.look()

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal served
            before, served = served, self._files.look()
            return None if served is before else served.configuration

        # The stub package leaves out that None means no change.
        fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", changed)
        return grpc.dynamic_ssl_server_credentials(served.configuration, fetch, self._mutual)

    def not_after_s(self) -> float:
        """Return when the certificate that the next connection gets expires, in Unix seconds."""
        return self._files.look().not_after_s


def _read(certificate: Path, key: Path, client_ca: Path | None) -> _Identity:
    chain = _certificates("tls_certificate", certificate)
    private = _private_key(key)
    try:
        matches = chain[0].public_key() == private.public_key()
    except _UNREADABLE:
        matches = False
    if not matches:
        raise InvalidInput(
            "tls_key", str(key), f"the key of the first certificate in {str(certificate)!r}"
        )
    roots = None if client_ca is None else _pem(_certificates("tls_client_ca", client_ca))
    # Written anew from what was checked: a PEM file may hold more than was read.
    pkcs8 = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    configuration = grpc.ssl_server_certificate_configuration([(pkcs8, _pem(chain))], roots)
    return _Identity(configuration, chain[0].not_valid_after_utc.timestamp())


def _certificates(field: str, path: Path) -> list[x509.Certificate]:
    data = _bytes(field, path)
    try:
        return x509.load_pem_x509_certificates(data)
    except _UNREADABLE:
        raise InvalidInput(field, str(path), "one or more certificates in PEM") from None


def _private_key(path: Path) -> PrivateKeyTypes:
    data = _bytes("tls_key", path)
    try:
        private = load_pem_private_key(data, password=None)
    # Its cause stays out of every traceback: nobody promises that it is free of key material.
    except _UNREADABLE:
        private = None
    strong = isinstance(private, rsa.RSAPrivateKey) and private.key_size >= _RSA_BITS
    known = isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES
    if private is None or not (strong or known):
        raise InvalidInput("tls_key", str(path), f"one unencrypted private key in PEM, {_KEYS}")
    return private


def _pem(certificates: list[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _bytes(field: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(field, str(path), f"a file to read ({error.strerror})") from None
