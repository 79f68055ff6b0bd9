# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Certificates for an etcd that lives for minutes: one authority, one certificate for both sides."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps, _files

__all__ = ["write_certificates"]

_AUTHORITY = "controlplane.etcd throw-away authority"
LEAF = "controlplane.etcd throw-away etcd"
_LIFETIME = dt.timedelta(days=1)


def write_certificates(
    folder: str, *, now: dt.datetime, common_name: str = LEAF
) -> tuple[str, str, str]:
    """Write authority, certificate and key into `folder`; return their paths.

    The authority's key is never written: nobody can make another certificate for it.

    :param common_name: whom etcd's own users and roles take the holder for.
    """
    x509 = _deps.load("cryptography.x509")
    hashes = _deps.load("cryptography.hazmat.primitives.hashes")
    ec = _deps.load("cryptography.hazmat.primitives.asymmetric.ec")
    serialization = _deps.load("cryptography.hazmat.primitives.serialization")
    oid = _deps.load("cryptography.x509.oid")

    authority_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())

    def named(text: str) -> t.Any:
        return x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, text)])

    def signed(subject: str, public_key: object, *extensions: tuple[object, bool]) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named(_AUTHORITY))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _LIFETIME)
            .not_valid_after(now + _LIFETIME)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(authority_key, hashes.SHA256())
        data: bytes = certificate.public_bytes(serialization.Encoding.PEM)
        return data

    usages = [oid.ExtendedKeyUsageOID.SERVER_AUTH, oid.ExtendedKeyUsageOID.CLIENT_AUTH]
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    contents = {
        "ca.crt": signed(
            _AUTHORITY,
            authority_key.public_key(),
            (x509.BasicConstraints(ca=True, path_length=0), True),
        ),
        "etcd.crt": signed(
            common_name,
            key.public_key(),
            (x509.SubjectAlternativeName([address]), False),
            (x509.ExtendedKeyUsage(usages), False),
        ),
        "etcd.key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    }
    paths = {file: os.path.join(folder, file) for file in contents}
    for file, data in contents.items():
        _files.atomic_write(paths[file], data)
    return paths["ca.crt"], paths["etcd.crt"], paths["etcd.key"]
