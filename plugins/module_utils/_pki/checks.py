# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What is wrong with a certificate, its key, and its names: pure, the clock is in the limits."""

from __future__ import annotations

import dataclasses
import ipaddress
import typing as t

from . import table
from .chain import check_chain
from .dates import check_dates, days_left, state_of
from .keys import SERVICE_ACCOUNTS, check_contents, check_key_file, check_match, check_strength
from .model import Certificate, Finding, Kind, Limits, Pair, Severity

__all__ = [
    "check_contents",
    "check_key_file",
    "check_names",
    "check_pair",
    "days_left",
    "missing",
    "not_looked_at",
    "state_of",
    "worst_first",
]

_ANY_USAGE = "2.5.29.37.0"  # RFC 5280, 4.2.1.12
_RANK = {severity: rank for rank, severity in enumerate(Severity)}
_MANY = 12


def check_pair(
    pair: Pair,
    *,
    limits: Limits,
    layout: str = "",
    names_wanted: t.Sequence[str] = (),
    at_hand: t.Sequence[tuple[str, Certificate]] = (),
    in_use: bool = True,
) -> list[Finding]:
    """Return everything that is wrong with a certificate, its key apart from its file.

    For every carrier of certificates: leaves, CAs, bundles of others. `names_wanted`: the DNS names
    and addresses that clients use for what serves it. `at_hand`: where every CA of the host lies,
    to name the one that signed it. Not `in_use` (a kubelet's rotated certificate, a copy): nothing
    is critical.
    """
    carrier = pair.certificate
    certificates = carrier.contents.certificates
    found = check_contents(carrier, layout=layout)
    if not certificates and not found:
        found = [_without_certificate(pair, layout)]
    for certificate in dict.fromkeys(certificates):
        dates = check_dates(carrier, certificate, limits=limits, layout=layout, role=pair.role)
        found += _softened(dates) if _has_successor(pair, certificate, limits) else dates
        found += check_strength(carrier, certificate, layout=layout, role=pair.role)
    if certificates:
        found += check_chain(pair, limits=limits, layout=layout, at_hand=at_hand)
        found += check_match(pair, layout=layout)
        found += _usage(pair, certificates[0], layout)
        found += check_names(
            certificates[0],
            names_wanted,
            where=carrier.where,
            name=carrier.name,
            role=pair.role,
            layout=layout,
        )
    return found if in_use else _softened(found)


def check_names(
    certificate: Certificate,
    wanted: t.Sequence[str],
    *,
    where: str,
    name: str | None,
    role: str | None,
    layout: str,
) -> list[Finding]:
    """Return which of the wanted names and addresses a certificate lacks; at most one finding."""
    lacking = [each for each in dict.fromkeys(wanted) if not _covers(certificate, each)]
    if not lacking:
        return []
    has = [*certificate.dns_names, *certificate.addresses]
    listed = ", ".join(has[:_MANY]) + (f" and {len(has) - _MANY} more" if len(has) > _MANY else "")
    valid_for = f"it is valid for {listed}" if has else "it has no subject alternative names at all"
    action = f"{table.remaking(role, layout=layout)} {table.restart(role, layout=layout)}".strip()
    return [
        Finding(
            kind=Kind.NAMES_MISSING,
            severity=Severity.CRITICAL,
            subject=certificate.subject,
            where=where,
            message=f"It lacks {', '.join(lacking[:_MANY])}, by which it is reached; {valid_for}.",
            action=f"{_sans_setting(role, layout)}{action}",
            name=name,
        )
    ]


def missing(name: str, where: str, *, layout: str = "") -> Finding:
    """Return that a file which something refers to, or the layout needs, is not there."""
    role = table.role_of(name)
    needed = role is not None or name in SERVICE_ACCOUNTS
    action = "Put it back from a backup, or remove what refers to it."
    if role and not role.is_ca:
        action = f"{table.remaking(role.name, layout=layout)} Or put it back from a backup."
    return Finding(
        kind=Kind.MISSING,
        severity=Severity.CRITICAL if needed else Severity.WARNING,
        subject=name,
        where=where,
        message="It is not there, but is needed here.",
        action=action,
        name=name,
    )


def not_looked_at(
    where: str, why: str, *, subject: str = "", name: str | None = None, needed: bool = False
) -> Finding:
    """Return that something was not looked at: never an "all good".

    It is critical where the control plane needs it, by its standard name or as `needed` says.
    """
    needed = needed or table.role_of(name) is not None or name in SERVICE_ACCOUNTS
    action = "Remove the reason, and check again."
    if "become" in why:
        action = "Run it with become, and check again."
    elif needed:
        action = "Remove the reason, or put it back from a backup; then check again."
    return Finding(
        kind=Kind.NOT_LOOKED_AT,
        severity=Severity.CRITICAL if needed else Severity.WARNING,
        subject=subject or name or where,
        where=where,
        message=f"It was not looked at: {why.rstrip('.')}.",
        action=action,
        name=name,
    )


def worst_first(findings: t.Iterable[Finding]) -> list[Finding]:
    """Return findings by severity, then by what ends first, then by place; each one once."""
    return sorted(
        dict.fromkeys(findings),
        key=lambda each: (
            _RANK[each.severity],
            each.days_left is None,
            each.days_left or 0,
            each.where,
            each.kind.value,
            each.subject,
            each.message,
        ),
    )


def _softened(findings: t.Iterable[Finding]) -> list[Finding]:
    return [
        dataclasses.replace(each, severity=Severity.WARNING)
        if each.severity == Severity.CRITICAL
        else each
        for each in findings
    ]


def _has_successor(pair: Pair, certificate: Certificate, limits: Limits) -> bool:
    """Tell whether a CA's file holds another CA that lasts, as while one is being replaced.

    What the old one issued says so itself then (check_chain).
    """
    role = table.ROLES.get(pair.role or "")
    return bool(role and role.is_ca) and any(
        each.is_ca and each != certificate and state_of(each, limits) == "ok"
        for each in pair.certificate.contents.certificates
    )


def _without_certificate(pair: Pair, layout: str) -> Finding:
    role = table.ROLES.get(pair.role or "")
    return Finding(
        kind=Kind.UNREADABLE,
        severity=Severity.CRITICAL if role else Severity.WARNING,
        subject=pair.role or pair.certificate.path,
        where=pair.certificate.where,
        message="It holds no certificate, where one is expected.",
        action=f"{table.remaking(pair.role, layout=layout)} Or put it back from a backup.",
        name=pair.certificate.name,
    )


def _usage(pair: Pair, leaf: Certificate, layout: str) -> list[Finding]:
    """Compare extended key usages with the role's; without the extension, every use is allowed."""
    role = table.ROLES.get(pair.role or "")
    if role is None or leaf.usages is None or _ANY_USAGE in leaf.usages:
        return []
    lacking = [usage for usage in role.usages if usage not in leaf.usages]
    if not lacking:
        return []
    # What serves works without the client's usage until it dials its own kind.
    serves_only = role.serves and "server" not in lacking
    has = ", ".join(leaf.usages) or "none"
    action = f"{table.remaking(pair.role, layout=layout)} {table.restart(pair.role, layout=layout)}"
    return [
        Finding(
            kind=Kind.USAGE,
            severity=Severity.WARNING
            if serves_only and role.name != "etcd/peer"
            else Severity.CRITICAL,
            subject=leaf.subject,
            where=pair.certificate.where,
            message=f"Its extended key usage is {has}; expected {' and '.join(role.usages)}: "
            f"it can't be used as a {' or '.join(lacking)} certificate.",
            action=action.strip(),
            name=pair.certificate.name,
        )
    ]


def _sans_setting(role: str | None, layout: str) -> str:
    """Return where kubeadm is told of further names (kubeadm.k8s.io/v1beta4)."""
    if layout not in ("kubeadm", "systemd"):
        return ""
    setting = {
        "apiserver": "apiServer.certSANs",
        "etcd/server": "etcd.local.serverCertSANs",
        "etcd/peer": "etcd.local.peerCertSANs",
    }.get(role or "")
    if setting is None or (layout == "systemd" and role != "apiserver"):
        return ""
    return f"Add what is lacking to {setting} of kubeadm's ClusterConfiguration. "


def _covers(certificate: Certificate, wanted: str) -> bool:
    plain = wanted.strip().strip("[]").split("%", maxsplit=1)[0]
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return _covers_name(certificate, plain)
    return any(_same_address(each, address) for each in certificate.addresses)


def _same_address(text: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return ipaddress.ip_address(text) == address
    except ValueError:
        return False


def _covers_name(certificate: Certificate, wanted: str) -> bool:
    """Compare as Go's matchHostnames: a star stands for the whole first label."""
    name = wanted.lower().rstrip(".")
    for pattern in certificate.dns_names:
        plain = pattern.lower().rstrip(".")
        if plain == name:
            return True
        if plain.startswith("*.") and "." in name and name.split(".", 1)[1] == plain[2:]:
            return True
    return False
