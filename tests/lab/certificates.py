# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make certificates with one thing wrong with each; beside lab.pki, which makes good ones only."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import typing as t
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.timezone.utc)
DAY = dt.timedelta(days=1)
Key = t.Union[
    rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, dsa.DSAPrivateKey
]
_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True)
class Made:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return key_bytes(self.key)


def key_bytes(
    key: Key,
    *,
    form: str = "PKCS8",
    encoding: str = "PEM",
    password: bytes | None = None,
) -> bytes:
    """Write a key as PKCS8, TraditionalOpenSSL or OpenSSH."""
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        lock = serialization.BestAvailableEncryption(password)
    return key.private_bytes(
        getattr(serialization.Encoding, encoding), getattr(serialization.PrivateFormat, form), lock
    )


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def make(
    common_name: str = "cp1",
    *,
    by: Made | None = None,
    key: Key | None = None,
    ca: bool = False,
    names: t.Sequence[str] = (),
    usages: t.Sequence[str] | None = ("server", "client"),
    begins: dt.datetime = NOW - 10 * DAY,
    ends: dt.datetime = NOW + 300 * DAY,
    constraints: bool = True,
    path_length: int | None = None,
    serial: int | None = None,
    more: t.Sequence[x509.ExtensionType] = (),
) -> Made:
    """Return a certificate by `by`, or by itself."""
    own = key or new_key()
    signer = by.key if by else own
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(by.certificate.subject if by else _name(common_name))
        .public_key(own.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    if constraints:
        builder = builder.add_extension(
            x509.BasicConstraints(ca=ca, path_length=path_length), critical=True
        )
    if usages is not None and not ca:
        oids = [_USAGES[usage] for usage in usages]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
        )
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    over = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Made(builder.sign(signer, over), own)  # type: ignore[arg-type]


_OIDS = {  # PKCS #1, under 1.2.840.113549.1.1
    "sha256": bytes.fromhex("06092a864886f70d01010b"),
    "sha1": bytes.fromhex("06092a864886f70d010105"),
    "md5": bytes.fromhex("06092a864886f70d010104"),
}
_DIGEST_INFO = {  # RFC 8017, 9.2
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "md5": bytes.fromhex("3020300c06082a864886f70d020505000410"),
}


def sign_weakly(made: Made, by: Made, hash_name: str) -> bytes:
    """Return the DER of a certificate by an RSA key, signed anew over SHA-1 or MD5.

    cryptography makes none any more, so the signature is made by hand.
    """
    assert isinstance(by.key, rsa.RSAPrivateKey)
    tbs = made.certificate.tbs_certificate_bytes.replace(_OIDS["sha256"], _OIDS[hash_name])
    digest = _DIGEST_INFO[hash_name] + hashlib.new(hash_name, tbs, usedforsecurity=False).digest()
    numbers = by.key.private_numbers()
    modulus = numbers.public_numbers.n
    size = (modulus.bit_length() + 7) // 8
    padded = b"\0\1" + b"\xff" * (size - len(digest) - 3) + b"\0" + digest
    signature = pow(int.from_bytes(padded, "big"), numbers.d, modulus).to_bytes(size, "big")
    whole = made.der.replace(made.certificate.tbs_certificate_bytes, tbs)
    whole = whole.replace(_OIDS["sha256"], _OIDS[hash_name])
    return whole.replace(made.certificate.signature, signature)


def authority(common_name: str = "etcd-ca", **more: t.Any) -> Made:
    """Return a CA that signed itself and lives ten years."""
    return make(common_name, ca=True, **{"ends": NOW + 3650 * DAY, **more})
