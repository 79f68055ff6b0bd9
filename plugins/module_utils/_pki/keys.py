# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Keys: who can read them, whether they fit their certificates, and whether they are strong."""

from __future__ import annotations

import dataclasses
import typing as t

from . import table
from .model import Carrier, Certificate, Finding, Kind, Limits, Pair, Severity

__all__ = [
    "SERVICE_ACCOUNTS",
    "WEAK_HASHES",
    "check_contents",
    "check_key_file",
    "check_match",
    "check_strength",
]

# The others' and the group's read bit; what may be written can be replaced, too.
_OTHERS = 0o006
_GROUP = 0o060
_LEAST_BITS = {"RSA": 2048, "EC": 256}
# Go refuses to verify these since 1.18 (crypto/x509, SHA-1) and ever since (MD5).
WEAK_HASHES = frozenset({"md2", "md4", "md5", "sha1"})
SERVICE_ACCOUNTS = frozenset({"sa.key", "sa.pub"})
"""Without either of them no API server starts, and no certificate tells of them."""
_CA_KEYS = frozenset(
    {"ca.key", "client-ca.key", "etcd/ca.key", "etcd/peer-ca.key", "front-proxy-ca.key"}
) | {"cluster-signing.key"}


def check_contents(carrier: Carrier, *, layout: str = "") -> list[Finding]:
    """Return what could not be read of a file or field; at most one finding."""
    if not carrier.contents.problems:
        return _der(carrier)
    role = table.role_of(carrier.name)
    told = "; ".join(carrier.contents.problems[:5])
    action = "Look at it with openssl x509 -in or openssl pkey -in; remove it if nothing uses it."
    if role:
        action = f"{table.remaking(role.name, layout=layout)} Or put it back from a backup."
    elif carrier.name in SERVICE_ACCOUNTS:
        action = "Put it back from another control-plane host or from a backup."
    return [
        Finding(
            kind=Kind.UNREADABLE,
            severity=Severity.CRITICAL
            if role or carrier.name in SERVICE_ACCOUNTS
            else Severity.WARNING,
            subject=carrier.name or carrier.path,
            where=carrier.where,
            message=f"Not all of it could be read: {told}.",
            action=action,
            name=carrier.name,
        )
    ]


def _der(carrier: Carrier) -> list[Finding]:
    """Return whether a program is told to read what is no PEM.

    etcd: tls.X509KeyPair in client/pkg/tlsutil/tlsutil.go; Kubernetes: client-go util/cert, util/keyutil.
    """
    contents = carrier.contents
    known = table.role_of(carrier.name) is not None or carrier.name in SERVICE_ACCOUNTS
    if not contents.is_der or not (known or carrier.named or carrier.field):
        return []
    path = carrier.path
    # `openssl pkey` empties its output before it reads: never into the same file.
    tool = "openssl x509" if contents.certificates else "umask 077; openssl pkey"
    action = (
        f"Convert it: {tool} -inform der -in {path} -out {path}.pem, then mv {path}.pem {path}."
    )
    if carrier.field:
        action = "Make it anew, with its data as PEM in base64."
    return [
        Finding(
            kind=Kind.UNREADABLE,
            severity=Severity.CRITICAL,
            subject=carrier.name or path,
            where=carrier.where,
            message="It is DER: etcd and Kubernetes read PEM only.",
            action=action,
            name=carrier.name,
        )
    ]


def check_key_file(
    carrier: Carrier,
    *,
    limits: Limits,
    layout: str = "",
    ca_public_keys: t.Collection[str] = (),
) -> list[Finding]:
    """Return what is wrong with a file that holds a private key, its certificate apart.

    `ca_public_keys`: of every CA on the host, so that a CA's key is known whatever its file's name.
    """
    return [
        *check_contents(carrier, layout=layout),
        *_readable(carrier),
        *_encrypted(carrier),
        *_weak_lone_key(carrier, layout),
        *(_forbidden(carrier, ca_public_keys) if limits.ca_key_forbidden else ()),
    ]


def check_match(pair: Pair, *, layout: str) -> list[Finding]:
    """Return whether the key of a pair is there, and is its certificate's; at most one finding.

    An encrypted key is told by check_key_file; nothing is guessed of it here.
    """
    certificates = pair.certificate.contents.certificates
    if not certificates:
        return []
    leaf = certificates[0]
    role = table.ROLES.get(pair.role or "")
    base = Finding(
        kind=Kind.KEY_MISSING,
        severity=Severity.CRITICAL,
        subject=leaf.subject,
        where=pair.certificate.where,
        message="",
        action=f"{table.renewal(pair.role, layout=layout)} "
        f"{table.restart(pair.role, layout=layout)}".strip(),
        name=pair.certificate.name,
    )
    if pair.key is None:
        if role is None or role.is_ca:
            return []
        wanted = table.key_name(role.name) or "in the same file"
        return [dataclasses.replace(base, message=f"Its private key ({wanted}) is missing.")]
    contents = pair.key.contents
    where = pair.key.where
    if not contents.keys:
        if contents.problems and pair.key != pair.certificate:
            return []  # said of the key's file already
        return [dataclasses.replace(base, message=f"There is no private key in {where}.")]
    # The first of each counts, as in Go's tls.X509KeyPair.
    key = contents.keys[0]
    if key.encrypted or (key.public_key == leaf.public_key and leaf.public_key):
        return []
    if not key.public_key or not leaf.public_key:
        return [
            dataclasses.replace(
                base,
                kind=Kind.NOT_LOOKED_AT,
                severity=Severity.WARNING,
                message=f"Whether the key in {where} is its own can't be told: it has a public key "
                f"of an algorithm that is not known here ({leaf.key_algorithm}).",
                action="Compare them with openssl x509 -noout -pubkey and openssl pkey -pubout.",
            )
        ]
    other = [each for each in certificates[1:] if each.public_key == key.public_key]
    why = (
        f"it belongs to {other[0].subject}, which must stand first in {pair.certificate.path}"
        if other
        else f"the key's public half has sha256 {key.public_key[:12]}, "
        f"the certificate's {leaf.public_key[:12]}"
    )
    return [
        dataclasses.replace(
            base,
            kind=Kind.KEY_MISMATCH,
            message=f"The private key in {where} does not belong to it: {why}.",
        )
    ]


def check_strength(
    carrier: Carrier, certificate: Certificate, *, layout: str, role: str | None
) -> list[Finding]:
    """Return whether a certificate's key and signature are of today."""
    base = Finding(
        kind=Kind.WEAK_KEY,
        severity=Severity.WARNING,
        subject=certificate.subject,
        where=carrier.where,
        message="",
        action=f"{table.renewal(role, layout=layout)} {table.restart(role, layout=layout)}".strip(),
        name=carrier.name,
    )
    found = []
    weak = _weakness(certificate.key_algorithm, certificate.key_bits)
    if weak:
        found.append(dataclasses.replace(base, message=f"Its key is weak: {weak}."))
    # Nobody verifies the signature of a root: it is trusted as it lies there.
    is_root = certificate.is_ca and certificate.self_signed
    if certificate.signature_hash in WEAK_HASHES and not is_root:
        found.append(
            dataclasses.replace(
                base,
                kind=Kind.WEAK_SIGNATURE,
                message=f"It is signed over {certificate.signature_hash}, expected sha256 or better: "
                "programs built with Go 1.18 or later refuse it.",
            )
        )
    return found


def _weakness(algorithm: str | None, bits: int | None) -> str | None:
    if algorithm == "DSA":
        return "DSA, which Go's TLS does not take; expected RSA of 2048 bits, ECDSA P-256 or better"
    least = _LEAST_BITS.get(algorithm or "")
    if least is None or bits is None or bits >= least:
        return None
    return f"{algorithm} of {bits} bits, expected {least} or more"


def _readable(carrier: Carrier) -> list[Finding]:
    if not carrier.contents.keys:
        return []
    who = None
    if carrier.mode & _OTHERS:
        who = "everybody on this host"
    # A group of root's, or of the user that owns it alone, gives it to nobody new.
    elif carrier.mode & _GROUP and carrier.gid not in (0, carrier.uid):
        who = f"group {carrier.gid}"
    if who is None:
        return []
    keys = [key for key in carrier.contents.keys if not key.encrypted]
    can = "write" if not carrier.mode & 0o044 else "read"
    return [
        Finding(
            kind=Kind.KEY_READABLE,
            severity=Severity.WARNING,
            subject=carrier.name or carrier.path,
            where=carrier.where,
            message=f"{who[0].upper()}{who[1:]} can {can} this private key"
            f"{'' if keys else ' (it is encrypted)'}: its mode is {carrier.mode & 0o7777:04o}, "
            f"owner {carrier.uid}:{carrier.gid}; expected 0600.",
            action=f"chmod 600 {carrier.path}; if others log in to this host, issue it anew as well.",
            name=carrier.name,
        )
    ]


def _encrypted(carrier: Carrier) -> list[Finding]:
    if not any(key.encrypted for key in carrier.contents.keys):
        return []
    role = table.role_of(carrier.name)
    in_use = role is not None and not role.is_ca
    return [
        Finding(
            kind=Kind.KEY_ENCRYPTED,
            severity=Severity.CRITICAL if in_use else Severity.WARNING,
            subject=carrier.name or carrier.path,
            where=carrier.where,
            message="This private key is encrypted: whether it belongs to its certificate can't be "
            "told, and etcd, Kubernetes and kubeadm can't open it.",
            action=f"Decrypt it in place (openssl pkey -in {carrier.path}, mode 0600), or keep it "
            "away from this host.",
            name=carrier.name,
        )
    ]


def _weak_lone_key(carrier: Carrier, layout: str) -> list[Finding]:
    """Look at keys that have no certificate (sa.key); the others are told of with theirs."""
    if carrier.name != "sa.key":
        return []
    for key in carrier.contents.keys:
        weak = _weakness(key.algorithm, key.bits)
        if weak:
            return [
                Finding(
                    kind=Kind.WEAK_KEY,
                    severity=Severity.WARNING,
                    subject=carrier.name,
                    where=carrier.where,
                    message=f"The key that signs service-account tokens is weak: {weak}.",
                    action="Add a second key pair to the API server's --service-account-key-file, "
                    "sign with it, and drop this one when its tokens have ended.",
                    name=carrier.name,
                )
            ]
    return []


def _forbidden(carrier: Carrier, ca_public_keys: t.Collection[str]) -> list[Finding]:
    is_ca = carrier.name in _CA_KEYS or any(
        key.public_key and key.public_key in ca_public_keys for key in carrier.contents.keys
    )
    if not is_ca or not carrier.contents.keys:
        return []
    return [
        Finding(
            kind=Kind.CA_KEY_ON_HOST,
            severity=Severity.WARNING,
            subject=carrier.name or carrier.path,
            where=carrier.where,
            message="A CA's private key lies on this host, and ca_key_on_host is forbid: whoever "
            "reads it can make certificates for everything.",
            action="Take it to where it is kept offline, then remove it here (shred -u "
            f"{carrier.path}). kubeadm certs renew then needs it back, or its external CA mode.",
            name=carrier.name,
        )
    ]
