# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""When a certificate counts from and to, and how near its end is."""

from __future__ import annotations

import datetime as dt

from ansible_collections.controlplane.etcd.plugins.module_utils import _time

from . import table
from .model import Carrier, Certificate, Finding, Kind, Limits, Severity

__all__ = ["check_dates", "days_left", "is_urgent", "span", "state_of"]

_DAY = dt.timedelta(days=1)
# The kubelet renews its own with 10 to 30 % of their life left (client-go util/certificate,
# nextRotationDeadline), and some clusters give it a day only: what counts is that it did not.
_SELF_ROTATED = frozenset({table.KUBELET, table.KUBELET_CLIENT})


def days_left(certificate: Certificate, now: dt.datetime) -> int:
    """Return the whole days until it ends; negative from the moment on that it has."""
    return (certificate.not_after - now) // _DAY


def state_of(certificate: Certificate, limits: Limits) -> str:
    """Return `ok`, `expires_soon` (within `warn_days`), `expired` or `not_yet_valid`."""
    if limits.now > certificate.not_after:
        return "expired"
    if limits.now < certificate.not_before:
        return "not_yet_valid"
    left = certificate.not_after - limits.now
    return "expires_soon" if left <= limits.warn_days * _DAY else "ok"


def is_urgent(certificate: Certificate, limits: Limits) -> bool:
    """Tell whether it has ended, or ends within `fail_days`."""
    return certificate.not_after - limits.now <= limits.fail_days * _DAY


def span(duration: dt.timedelta) -> str:
    """Return how long that is, in words: `4 days`, `1 hour`, `less than a minute`."""
    for unit, name in ((_DAY, "day"), (_DAY / 24, "hour"), (_DAY / 1440, "minute")):
        count = abs(duration) // unit
        if count:
            return f"{count} {name}" if count == 1 else f"{count} {name}s"
    return "less than a minute"


def check_dates(
    carrier: Carrier, certificate: Certificate, *, limits: Limits, layout: str, role: str | None
) -> list[Finding]:
    """Return what is wrong with a certificate's dates; at most one finding."""
    state = state_of(certificate, limits)
    left = certificate.not_after - limits.now
    ends = _time.rfc3339(certificate.not_after)
    # A kubelet.crt holds the CA of its own that issued it, a kubeconfig the cluster's.
    of_role = table.ROLES.get(role or "")
    about = role
    if certificate.is_ca and of_role and not of_role.is_ca and role not in _SELF_ROTATED:
        about = of_role.ca
    action = f"{table.renewal(about, layout=layout)} {table.restart(about, layout=layout)}".strip()
    severity = Severity.CRITICAL
    if state == "expired":
        kind = Kind.EXPIRED
        message = f"It expired on {ends}, {span(left)} ago."
    elif state == "not_yet_valid":
        kind = Kind.NOT_YET_VALID
        begins = _time.rfc3339(certificate.not_before)
        message = (
            f"It is valid from {begins} on only; this host's clock says "
            f"{_time.rfc3339(limits.now)}, {span(certificate.not_before - limits.now)} before."
        )
        action = f"Check this host's clock (chronyc tracking). If it is right: {action}"
    elif state == "expires_soon" and not _rotates_in_time(certificate, limits, role):
        kind = Kind.EXPIRES_SOON
        urgent = is_urgent(certificate, limits)
        limit = f"fail_days is {limits.fail_days}" if urgent else f"warn_days is {limits.warn_days}"
        severity = Severity.CRITICAL if urgent else Severity.WARNING
        message = f"It ends on {ends}, in {span(left)}; {limit}."
    else:
        return []
    return [
        Finding(
            kind=kind,
            severity=severity,
            subject=certificate.subject,
            where=carrier.where,
            message=message,
            action=action,
            name=carrier.name,
            days_left=days_left(certificate, limits.now),
        )
    ]


def _rotates_in_time(certificate: Certificate, limits: Limits, role: str | None) -> bool:
    """Tell whether a short-lived certificate of the kubelet still has a tenth of its life."""
    life = certificate.not_after - certificate.not_before
    if role not in _SELF_ROTATED or life > limits.warn_days * _DAY:
        return False
    return certificate.not_after - limits.now > life / 10
