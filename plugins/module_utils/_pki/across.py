# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What should be equal on the hosts of a cluster, compared; and hosts that were not looked at."""

from __future__ import annotations

import dataclasses
import json
import typing as t

from .model import Finding, Kind, Severity

__all__ = ["HostFinding", "compare"]

Report = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class HostFinding:
    """A finding about several hosts, or about one that told nothing."""

    hosts: tuple[str, ...]
    finding: Finding

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as JSON."""
        return {**self.finding.as_dict(), "hosts": list(self.hosts)}


@dataclasses.dataclass(frozen=True)
class _Shared:
    """One thing that all hosts have the same of."""

    what: str
    means: str
    action: str


_COPY = "Find out which is the cluster's, and copy it to the others with its key"
_CA_ACTION = (
    f"{_COPY}; then issue anew what the wrong one issued (kubeadm certs renew all), and restart "
    "the control plane there."
)
_SHARED = {
    "ca": _Shared("Kubernetes CA", "these hosts don't trust each other's clients", _CA_ACTION),
    "client-ca": _Shared("client CA", "these hosts don't trust each other's clients", _CA_ACTION),
    "etcd/ca": _Shared(
        "etcd CA", "these members refuse each other at their next start", _CA_ACTION
    ),
    "etcd/peer-ca": _Shared(
        "etcd peer CA", "these members refuse each other at their next start", _CA_ACTION
    ),
    "front-proxy-ca": _Shared(
        "front-proxy CA", "aggregated APIs fail by the API server that is asked", _CA_ACTION
    ),
    "sa": _Shared(
        "service-account key pair",
        "a token made by one API server is void at another",
        f"{_COPY} (sa.key and sa.pub); then restart kube-apiserver and kube-controller-manager.",
    ),
    "encryption-config": _Shared(
        "encryption configuration",
        "what one API server writes another may not be able to read",
        f"{_COPY.replace(' with its key', '')}, all keys of all of them in it; then restart every "
        "kube-apiserver, one by one.",
    ),
}


def compare(
    reports: t.Mapping[str, Report],
    *,
    clusters: t.Mapping[str, str] | None = None,
    max_clock_skew: float = 30,
) -> list[HostFinding]:
    """Return what differs between the hosts of each cluster, and which hosts told nothing.

    A report is etcd_cert_check's result of a host. `clusters`: host -> cluster; hosts that it does
    not name are of one cluster.
    """
    of = clusters or {}
    found = [_silent(host, report) for host, report in sorted(reports.items()) if not _told(report)]
    grouped: dict[str, dict[str, Report]] = {}
    for host, report in sorted(reports.items()):
        if _told(report):
            grouped.setdefault(of.get(host) or "", {})[host] = report
    for cluster, members in sorted(grouped.items()):
        for name in _SHARED:
            found += _differences(name, cluster, members)
        found += _skews(cluster, members, max_clock_skew)
    return found


def _told(report: Report) -> bool:
    return not report.get("unreachable") and isinstance(report.get("findings"), (list, tuple))


def _silent(host: str, report: Report) -> HostFinding:
    why = report.get("msg")
    reason = (
        " ".join(why.split())[:300].rstrip(".") if isinstance(why, str) and why else "no result"
    )
    return HostFinding(
        (host,),
        Finding(
            kind=Kind.NOT_LOOKED_AT,
            severity=Severity.CRITICAL,
            subject=host,
            where=host,
            message=f"This host was not looked at: {reason}.",
            action="Remove the reason, and check again: what lies there is unknown.",
        ),
    )


def _differences(name: str, cluster: str, members: t.Mapping[str, Report]) -> list[HostFinding]:
    shared = _SHARED[name]
    values: dict[str, list[str]] = {}
    for host, report in members.items():
        value = _value(report, name)
        if value is not None:
            values.setdefault(value, []).append(host)
        elif name == "encryption-config" and _value(report, "sa") is not None:
            # Only where an API server runs; elsewhere nobody needs one.
            values.setdefault("", []).append(host)
    if len(values) < 2:
        return []
    # The most hosts first: with three, that is usually the right one.
    told = sorted(values.items(), key=lambda each: (-len(each[1]), each[1]))
    parts = "; ".join(f"{_hosts(hosts)}: {_shown(value)}" for value, hosts in told)
    return [
        HostFinding(
            tuple(host for value, hosts in told for host in hosts),
            Finding(
                kind=Kind.HOSTS_DIFFER,
                severity=Severity.CRITICAL,
                subject=name,
                where=f"cluster {cluster}" if cluster else "all hosts",
                message=f"The {shared.what} is not the same on all hosts: {parts}; {shared.means}.",
                action=shared.action,
                name=name,
            ),
        )
    ]


def _skews(
    cluster: str, members: t.Mapping[str, Report], max_clock_skew: float
) -> list[HostFinding]:
    skews = {
        host: float(report["clock_skew_seconds"])
        for host, report in members.items()
        if isinstance(report.get("clock_skew_seconds"), (int, float))
    }
    if len(skews) < 2:
        return []
    last = min(skews, key=lambda host: (skews[host], host))
    first = max(skews, key=lambda host: (skews[host], host))
    apart = skews[first] - skews[last]
    if apart <= max_clock_skew:
        return []
    return [
        HostFinding(
            (first, last),
            Finding(
                kind=Kind.CLOCK_OFF,
                severity=Severity.WARNING,
                subject="clock",
                where=f"cluster {cluster}" if cluster else "all hosts",
                message=f"The clock of {first} is {apart:.0f} s ahead of that of {last}, expected "
                f"at most {max_clock_skew:g} s.",
                action="Have both synchronized: chronyc tracking, timedatectl.",
            ),
        )
    ]


def _value(report: Report, name: str) -> str | None:
    """Return what a host has of a shared thing, so that equal ones are equal texts."""
    shared = report.get("shared")
    value = shared.get(name) if isinstance(shared, dict) else None
    if value in (None, "", [], {}):
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _hosts(hosts: t.Sequence[str], most: int = 5) -> str:
    more = f" and {len(hosts) - most} more" if len(hosts) > most else ""
    return ", ".join(hosts[:most]) + more


def _shown(value: str) -> str:
    return f"sha256 {value[:12]}" if value else "none"
