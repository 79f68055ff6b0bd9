# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make certificates with one thing wrong with each; beside lab.pki, which makes good ones only."""

from __future__ import annotations

import datetime as dt
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
    signed_over: hashes.HashAlgorithm | None = None,
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
    over = signed_over
    if over is None and not isinstance(signer, ed25519.Ed25519PrivateKey):
        over = hashes.SHA256()
    return Made(builder.sign(signer, over), own)  # type: ignore[arg-type]


def authority(common_name: str = "etcd-ca", **more: t.Any) -> Made:
    """Return a CA that signed itself and lives ten years."""
    return make(common_name, ca=True, **{"ends": NOW + 3650 * DAY, **more})
