"""Certificates for tests: an authority made on the fly, and secrets mounted as Kubernetes does."""

from __future__ import annotations

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM; `not_after_s` in Unix seconds."""

    certificate: bytes
    key: bytes
    not_after_s: float

    @property
    def der(self) -> bytes:
        """The certificate as a peer sees it."""
        return x509.load_pem_x509_certificate(self.certificate).public_bytes(Encoding.DER)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `tls.crt` and `tls.key`, and return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / "tls.crt", folder / "tls.key"
        for path, data in zip(paths, (self.certificate, self.key), strict=True):
            path.write_bytes(data)
        return paths


class Authority:
    """A CA that signs certificates for this machine: localhost, 127.0.0.1 and ::1."""

    def __init__(self, name: str = "wstar test") -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(self._name, self._key, 10.0, ca=True)
        self.certificate = certificate.public_bytes(Encoding.PEM)

    def issue(self, name: str, days: float = 1.0, key: PrivateKey | None = None) -> Pair:
        """Make a certificate, for a server as well as for a client, that ends in so many days."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, days, ca=False)
        return Pair(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            certificate.not_valid_after_utc.timestamp(),
        )

    def _sign(self, subject: x509.Name, key: PrivateKey, days: float, ca: bool) -> x509.Certificate:
        # Dates of certificates have whole seconds.
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        names = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
        signer = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=ca,
            crl_sign=ca,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )


def mount(folder: Path, version: str, **files: bytes) -> None:
    """Put files into a folder as Kubernetes mounts a secret: all swapped by moving one link.

    `folder/NAME` points to `..data/NAME` for ever, `..data` to the folder of this version. A name
    is written with _ for its dot: tls_crt is `tls.crt`.
    """
    data = folder / f"..{version}"
    data.mkdir(parents=True)
    for name, content in files.items():
        file = name.replace("_", ".")
        (data / file).write_bytes(content)
        if not (folder / file).is_symlink():
            (folder / file).symlink_to(Path("..data") / file)
    moving = folder / "..data_tmp"
    moving.symlink_to(data.name)
    os.replace(moving, folder / "..data")
