"""Certificates of a throw-away cluster: an authority, what it signs, and a key for tokens.

Keys are elliptic-curve ones, which take no time to make; only the key for tokens is RSA, because
RS256 is what all readers of such tokens know.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_FOR = datetime.timedelta(days=365)
CLOCK_SKEW = datetime.timedelta(minutes=5)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
LOCAL_NAMES: tuple[x509.GeneralName, ...] = (
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.DNSName("localhost"),
    *(
        x509.DNSName(f"kubernetes{suffix}")
        for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")
    ),
)
SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and of its key."""

    certificate: Path
    key: Path

    @classmethod
    def at(cls, directory: Path, name: str) -> Pair:
        """Return where the pair `name` is kept in `directory`."""
        return cls(directory / f"{name}.crt", directory / f"{name}.key")

    def write(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """Write both files; only the owner may read the key."""
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        write_private(self.key, _pem(key))


class Authority:
    """A certificate authority whose files are in `directory`, created if missing."""

    def __init__(self, directory: Path, name: str) -> None:
        self.pair = Pair.at(directory, name)
        self._directory = directory
        if not self.pair.key.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            builder = _builder(subject, subject, key, key)
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
            builder = builder.add_extension(SIGNS_CERTIFICATES, True)
            self.pair.write(builder.sign(key, hashes.SHA256()), key)

    def issue(
        self,
        name: str,
        user: str,
        groups: Sequence[str] = (),
        usages: Sequence[x509.ObjectIdentifier] = (CLIENT,),
        addresses: Sequence[str] = (),
    ) -> Pair:
        """Make a certificate for `user` in `groups`, the files of which are called `name`.

        Kubernetes reads the user from the common name and groups from the organizations. A server
        is known by the local names and by `addresses`.
        """
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
        key = ec.generate_private_key(ec.SECP256R1())
        own, own_key = self._load()
        builder = _builder(x509.Name(attributes), own.subject, key, own_key)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        if SERVER in usages:
            further = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            names = x509.SubjectAlternativeName([*LOCAL_NAMES, *further])
            builder = builder.add_extension(names, False)
        pair = Pair.at(self._directory, name)
        pair.write(builder.sign(own_key, hashes.SHA256()), key)
        return pair

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        certificate = x509.load_pem_x509_certificate(self.pair.certificate.read_bytes())
        key = serialization.load_pem_private_key(self.pair.key.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return certificate, key


def write_token_keys(public: Path, private: Path) -> None:
    """Make the key pair that service accounts' tokens are signed and checked with."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    write_private(private, _pem(key))
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read at any moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - CLOCK_SKEW,
        not_valid_after=now + VALID_FOR,
    )
    # Python 3.13 and newer refuse certificates that do not name both keys.
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
    )
    return builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
    )


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
