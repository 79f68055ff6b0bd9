# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a host's certificates come to: one list of findings, and what there is to return."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.model import Taken
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import names
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import checks
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Carrier,
    Certificate,
    Finding,
    Handshake,
    Kind,
    Limits,
    Pair,
    Severity,
)

from .look import Looked

__all__ = ["SHARED", "Shown", "count", "shared", "show", "soften"]

_AUTHORITIES = ("ca", "client-ca", "etcd/ca", "etcd/peer-ca", "front-proxy-ca")
SHARED = (*_AUTHORITIES, "sa", "encryption-config")
"""What should be the same on all control-plane hosts of a cluster."""
_ROUNDS = 200_000
_SALT = b"controlplane.etcd encryption-config"


@dataclasses.dataclass(frozen=True)
class Shown:
    """One certificate that was looked at."""

    certificate: Certificate
    carrier: Carrier
    role: str | None
    used: bool


def show(
    pairs: t.Iterable[Pair], limits: Limits, *, unused: t.Collection[str]
) -> list[dict[str, t.Any]]:
    """Return `certificates[]`, the one that ends first first."""
    found = [
        Shown(certificate, pair.certificate, pair.role, pair.certificate.path not in unused)
        for pair in pairs
        for certificate in pair.certificate.contents.certificates
    ]
    found.sort(key=lambda each: (each.certificate.not_after, each.carrier.path))
    return [_entry(each, limits) for each in found]


def _entry(shown: Shown, limits: Limits) -> dict[str, t.Any]:
    certificate = shown.certificate
    return {
        "name": shown.carrier.name,
        "path": shown.carrier.path,
        "field": shown.carrier.field,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial,
        "dns_names": list(certificate.dns_names),
        "addresses": list(certificate.addresses),
        "not_before": _time.rfc3339(certificate.not_before),
        "not_after": _time.rfc3339(certificate.not_after),
        "days_left": checks.days_left(certificate, limits.now),
        "is_ca": certificate.is_ca,
        "usages": None if certificate.usages is None else list(certificate.usages),
        "key_algorithm": certificate.key_algorithm,
        "key_bits": certificate.key_bits,
        "fingerprint": certificate.fingerprint,
        "role": shown.role,
        "used": shown.used,
        "state": checks.state_of(certificate, limits),
    }


def soften(findings: t.Iterable[Finding], unused: t.Collection[str]) -> list[Finding]:
    """Return findings, those about files that nothing is known to read as warnings at most."""
    return [
        dataclasses.replace(
            each,
            severity=Severity.WARNING,
            message=f"{each.message} Nothing that was found on this host reads this file.",
        )
        if each.severity is Severity.CRITICAL and each.where in unused
        else each
        for each in findings
    ]


def count(findings: t.Iterable[Finding], certificates: int) -> dict[str, int]:
    """Return `counts`."""
    severities = [each.severity for each in findings]
    return {
        **{severity.value: severities.count(severity) for severity in Severity},
        "certificates": certificates,
    }


def soonest(certificates: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any] | None:
    """Return the certificate in use that ends first."""
    for each in certificates:
        if each["used"]:
            where = f"{each['path']} {each['field']}" if each["field"] else each["path"]
            kept = {key: each[key] for key in ("name", "subject", "not_after", "days_left")}
            return {**kept, "where": where}
    return None


def served(
    handshakes: t.Iterable[tuple[Handshake, Carrier | None, str]],
) -> list[dict[str, t.Any]]:
    """Return `served[]` of handshakes, the file on disk, and what both together mean."""
    return [
        {
            "endpoint": handshake.endpoint,
            "role": handshake.role or None,
            "path": on_disk.path if on_disk else None,
            "subject": handshake.served.subject if handshake.served else None,
            "fingerprint": handshake.served.fingerprint if handshake.served else None,
            "not_after": _time.rfc3339(handshake.served.not_after) if handshake.served else None,
            "state": state,
        }
        for handshake, on_disk, state in handshakes
    ]


def shared(looked: Looked) -> dict[str, str | None]:
    """Return fingerprints of what a cluster's hosts share; None: this host has none.

    Of certificates and public keys they are sha256. The encryption configuration is all secret: its
    fingerprint is a slow hash of its content, good for comparing only.
    """
    by_name: dict[str, Carrier] = {}
    for each in looked.carriers:
        if each.name is None or each.field is not None:
            continue
        if each.name not in by_name or each.path.endswith(f"/{each.name}"):
            by_name[each.name] = each
    found: dict[str, str | None] = {}
    for name in _AUTHORITIES:
        carrier = by_name.get(f"{name}.crt")
        prints = [each.fingerprint for each in carrier.contents.certificates] if carrier else []
        found[name] = _together(prints)
    found["sa"] = _together(
        _public_keys(by_name.get("sa.key")) or _public_keys(by_name.get("sa.pub"))
    )
    found["encryption-config"] = _encryption(looked)
    return found


def _public_keys(carrier: Carrier | None) -> list[str]:
    if carrier is None:
        return []
    keys = [key.public_key for key in carrier.contents.keys if key.public_key]
    return [*keys, *carrier.contents.public_keys]


def _together(prints: t.Sequence[str]) -> str | None:
    unique = sorted(set(prints))
    if len(unique) < 2:
        return unique[0] if unique else None
    return hashlib.sha256("".join(unique).encode()).hexdigest()


def _encryption(looked: Looked) -> str | None:
    for file in looked.files:
        if names.ENCRYPTION_CONFIG in file.names:
            return hashlib.pbkdf2_hmac("sha256", _value(file), _SALT, _ROUNDS).hex()
    return None


def _value(file: Taken) -> bytes:
    """Return what a YAML file says: comments and order of keys make no difference to the API server.

    The file's own bytes where it says nothing that JSON holds.
    """
    if file.parsed.problem or not file.parsed.documents:
        return file.content.data
    try:
        return json.dumps(file.parsed.documents, sort_keys=True).encode()
    except (TypeError, ValueError, RecursionError):  # keys that have no order, a date
        return file.content.data


def sa_mismatch(looked: Looked) -> list[Finding]:
    """Find a service accounts' public key that does not verify what its private key signs."""
    keys = {each.name: each for each in looked.carriers if each.field is None}
    private, public = keys.get("sa.key"), keys.get("sa.pub")
    signs, verifies = set(_public_keys(private)), set(_public_keys(public))
    if private is None or public is None or not signs or not verifies or signs & verifies:
        return []
    return [
        Finding(
            kind=Kind.KEY_MISMATCH,
            severity=Severity.CRITICAL,
            subject="service accounts",
            where=public.path,
            message=f"It does not belong to {private.path}: the API server refuses every service "
            "account's token that is signed with that key.",
            action="Put back the sa.key and sa.pub that belong together, from another control-plane "
            "host or from an archive, then restart the API server and the controller manager.",
            name="sa.pub",
        )
    ]


def clock_skew(now: dt.datetime, controller: dt.datetime | None) -> float | None:
    """Return how far this host's clock is ahead of the controller's, in seconds."""
    return None if controller is None else (now - controller).total_seconds()
