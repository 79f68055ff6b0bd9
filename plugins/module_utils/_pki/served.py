# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What an endpoint serves against the file on disk, and how far a clock is off."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time

from . import table
from .chain import check_chain, short
from .checks import check_names
from .dates import check_dates, days_left, is_urgent
from .keys import check_strength
from .model import (
    Carrier,
    Certificate,
    Contents,
    Finding,
    Handshake,
    Kind,
    Limits,
    Pair,
    Severity,
)

__all__ = ["check_clock", "check_served", "check_started", "served_state"]


def served_state(handshake: Handshake, *, on_disk: Carrier | None) -> str:
    """Return `loaded`, `not_loaded`, `not_on_disk` (no file to compare with), or the problem."""
    if handshake.served is None:
        return handshake.problem or "it showed no certificate"
    filed = _leaf(on_disk)
    if filed is None:
        return "not_on_disk"
    return "loaded" if filed.fingerprint == handshake.served.fingerprint else "not_loaded"


def check_served(
    handshake: Handshake,
    *,
    on_disk: Carrier | None,
    limits: Limits,
    layout: str = "",
    names_wanted: t.Sequence[str] = (),
    authorities: t.Sequence[Certificate] = (),
) -> list[Finding]:
    """Return what is wrong with what an endpoint showed.

    What is loaded from the file on disk is judged there (check_pair), and gives nothing here; where
    there is no such file, all that can be told of a certificate alone is looked at.
    """
    state = served_state(handshake, on_disk=on_disk)
    served = handshake.served
    if served is None:
        return [_not_served(handshake, state, layout)]
    filed = _leaf(on_disk)
    if state == "loaded":
        return []
    carrier = Carrier(handshake.endpoint, None, Contents(certificates=(served,)))
    if filed is not None and on_disk is not None:
        found = [_not_loaded(handshake, served, filed, on_disk, limits, layout)]
    else:
        pair = Pair(carrier, None, tuple(authorities), None)
        found = [
            *check_dates(carrier, served, limits=limits, layout=layout, role=handshake.role),
            *check_strength(carrier, served, layout=layout, role=handshake.role),
            *check_chain(pair, limits=limits, layout=layout, at_hand=()),
        ]
    return found + check_names(
        served,
        names_wanted,
        where=handshake.endpoint,
        name=None,
        role=handshake.role,
        layout=layout,
    )


def check_started(
    path: str,
    *,
    name: str | None,
    written: dt.datetime,
    component: str,
    pid: int,
    started: dt.datetime,
    layout: str = "",
) -> list[Finding]:
    """Return whether a file that a program reads at its start only was written since.

    The time of a file has whole seconds: one written in the second of the start counts as read.
    """
    if written <= started:
        return []
    return [
        Finding(
            kind=Kind.NOT_LOADED,
            severity=Severity.WARNING,
            subject=component,
            where=path,
            message=f"It was written on {_time.rfc3339(written)}, after {component} (pid {pid}) was "
            f"started on {_time.rfc3339(started)}, which reads it at its start only: it goes on with "
            "what was there before, until that ends.",
            action=table.restarted(component, layout=layout),
            name=name,
        )
    ]


def check_clock(
    skew_seconds: float, *, limit_seconds: float, where: str, against: str
) -> list[Finding]:
    """Return whether a clock is off by more than it may; positive: it is ahead of `against`."""
    if abs(skew_seconds) <= limit_seconds:
        return []
    way = "ahead of" if skew_seconds > 0 else "behind"
    return [
        Finding(
            kind=Kind.CLOCK_OFF,
            severity=Severity.WARNING,
            subject="clock",
            where=where,
            message=f"Its clock is {abs(skew_seconds):.0f} s {way} {against}, expected at most "
            f"{limit_seconds:g} s: dates are judged by a wrong day, and etcd's leases with them.",
            action="Find out which of the two is wrong, and have it synchronized: chronyc tracking, "
            "timedatectl.",
        )
    ]


def _leaf(carrier: Carrier | None) -> Certificate | None:
    if carrier is None or not carrier.contents.certificates:
        return None
    return carrier.contents.certificates[0]


def _not_served(handshake: Handshake, state: str, layout: str) -> Finding:
    role = table.ROLES.get(handshake.role)
    component = role.loaded_by[0] if role and role.loaded_by else "what listens there"
    return Finding(
        kind=Kind.NOT_SERVED,
        severity=Severity.WARNING,
        subject=handshake.role,
        where=handshake.endpoint,
        message=f"No certificate was seen: {state.rstrip('.')}.",
        action=f"Find out whether {component} runs ({_look(component, layout)}), and check again.",
        name=None,
    )


def _look(component: str, layout: str) -> str:
    service = {"k3s": "k3s", "rke2": "rke2-server"}.get(layout)
    if service is None and (
        component == "kubelet" or (layout == "systemd" and component == "etcd")
    ):
        service = component
    if service:
        return f"systemctl status {service}"
    return f"crictl ps -a --name {component}" if layout in ("kubeadm", "systemd") else "its log"


def _not_loaded(
    handshake: Handshake,
    served: Certificate,
    filed: Certificate,
    on_disk: Carrier,
    limits: Limits,
    layout: str,
) -> Finding:
    ends = _time.rfc3339(served.not_after)
    gone = "ended" if served.not_after < limits.now else "ends"
    restart = table.restart(handshake.role, layout=layout)
    other = ""
    if served.issuer != filed.issuer:
        other = f" The served one is issued by {served.issuer}, the file's by {filed.issuer}."
    base = Finding(
        kind=Kind.NOT_LOADED,
        severity=Severity.CRITICAL if is_urgent(served, limits) else Severity.WARNING,
        subject=served.subject,
        where=handshake.endpoint,
        message=f"It serves {short(served)}, which {gone} on {ends}; {on_disk.where} was renewed "
        f"since ({short(filed)}, ends on {_time.rfc3339(filed.not_after)}) and is not loaded.{other}",
        action=restart,
        name=on_disk.name,
        days_left=days_left(served, limits.now),
    )
    if filed.not_before > served.not_before:
        return base
    # The next restart takes what lies on disk: if that is worse, it is the thing to look at first.
    worse = is_urgent(filed, limits) or is_urgent(served, limits)
    holds = "an older one" if filed.not_before < served.not_before else "another one"
    return dataclasses.replace(
        base,
        severity=Severity.CRITICAL if worse else Severity.WARNING,
        message=f"It serves {short(served)}, which {gone} on {ends}; {on_disk.where} holds {holds} "
        f"({short(filed)}, ends on {_time.rfc3339(filed.not_after)}): the next start would load "
        f"it.{other}",
        action=f"Find out which of the two is right before anything is restarted. If the file is: "
        f"{restart} If not: {table.renewal(handshake.role, layout=layout)}",
    )
