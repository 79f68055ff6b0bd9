# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Bring the answers of several hosts together: compared, counted, in one table.

What a host answered is not taken on trust: one whose report is none was not looked at.
"""

from __future__ import annotations

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    CertificatesUnsound,
    OptionInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.tree import shown as printable
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import across, shown
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Finding,
    Kind,
    Severity,
)

from .check import Answer, failure

__all__ = ["together"]

_MOST_TEXT = 2000
_MOST = 10**12
_SEVERITIES = [severity.value for severity in Severity]
_TEXTS = ("subject", "where", "message", "action")
_COUNTED = (*_SEVERITIES, "certificates")


def together(
    reports: t.Mapping[str, t.Any],
    *,
    clusters: t.Mapping[str, t.Any],
    max_clock_skew: float,
    fail_on: str,
) -> Answer:
    """Return what the module returns of several hosts.

    :raises OptionInvalid: there is no report at all.
    """
    if not reports:
        raise OptionInvalid(
            "Option reports is empty: no host was looked at.",
            hint="Give what this module returned, by host.",
        )
    named = {str(host): str(cluster or "") for host, cluster in clusters.items()}
    plain = {str(host): _plain(report) for host, report in sorted(reports.items())}
    differences = across.compare(plain, clusters=named, max_clock_skew=max_clock_skew)
    found = [
        {**finding, "hosts": [host]}
        for host, report in plain.items()
        for finding in report.get("findings", ())
    ]
    found += [each.as_dict() for each in differences]
    found.sort(key=_rank)
    ends = [
        {**report["soonest"], "host": host}
        for host, report in plain.items()
        if report.get("soonest")
    ]
    soonest = min(ends, key=lambda each: str(each["not_after"]), default=None)
    counts = {
        severity: sum(each["severity"] == severity for each in found) for severity in _SEVERITIES
    }
    counts["certificates"] = sum(
        each["counts"]["certificates"] for each in plain.values() if "counts" in each
    )
    result = {
        "findings": found,
        "soonest": soonest,
        "days_left": soonest["days_left"] if soonest else None,
        "counts": counts,
        "lines": shown.lines(plain, clusters=named, differences=differences),
    }
    told = [{**each, "where": f"{', '.join(each['hosts'][:3])} {each['where']}"} for each in found]
    return Answer(result, failure(told, fail_on))


def _rank(finding: t.Mapping[str, t.Any]) -> tuple[t.Any, ...]:
    left = finding.get("days_left")
    return (
        _SEVERITIES.index(finding["severity"]),
        left is None,
        left or 0,
        finding["hosts"],
        finding["where"],
    )


def _plain(report: t.Any) -> dict[str, t.Any]:
    """Return a report as it must be; of a host that gave none, what Ansible would register."""
    if not isinstance(report, dict):
        return _lost("it gave no report")
    if report.get("unreachable"):
        return _lost(f"it cannot be reached: {_text(report.get('msg'))}")
    findings, counts = report.get("findings"), report.get("counts")
    error = report.get("error")
    unsound = isinstance(error, dict) and error.get("kind") == CertificatesUnsound.kind
    failed = bool(report.get("failed")) and not unsound
    if failed or not isinstance(findings, list) or not isinstance(counts, dict):
        return _lost(_text(report.get("msg")) or "it gave no report")
    try:
        if not findings and not _whole(counts["certificates"]):
            return _lost("not one certificate was found there")
        return {
            "findings": [_finding(each) for each in findings],
            "counts": {name: _whole(counts[name]) for name in _COUNTED},
            "soonest": _soonest(report.get("soonest")),
            "days_left": _number(report.get("days_left")),
            "shared": _shared(report.get("shared")),
            "clock_skew_seconds": _number(report.get("clock_skew_seconds")),
            "layout": _text(report.get("layout")),
        }
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return _lost("its report is not one of this module")


def _lost(why: str) -> dict[str, t.Any]:
    return {"unreachable": True, "msg": why}


def _finding(value: t.Any) -> dict[str, t.Any]:
    name = value["name"]
    return Finding(
        kind=Kind(value["kind"]),
        severity=Severity(value["severity"]),
        name=None if name is None else _text(name),
        days_left=_number(value["days_left"]),
        **{key: _text(value[key]) for key in _TEXTS},
    ).as_dict()


def _soonest(value: t.Any) -> dict[str, t.Any] | None:
    if value is None:
        return None
    name = value["name"]
    return {
        "name": None if name is None else _text(name),
        "where": _text(value["where"]),
        "subject": _text(value["subject"]),
        "not_after": _text(value["not_after"]),
        "days_left": _whole(value["days_left"]),
    }


def _shared(value: t.Any) -> dict[str, str | None]:
    pairs = (value or {}).items()
    return {_text(key): None if each is None else _text(each) for key, each in pairs}


def _text(value: t.Any) -> str:
    return printable(str("" if value is None else value)[:_MOST_TEXT])


def _number(value: t.Any) -> int | None:
    return None if value is None else _whole(value)


def _whole(value: t.Any) -> int:
    # Ansible hands on numbers of templates as text.
    if abs(int(value)) > _MOST:
        raise ValueError("no number of certificates, days or seconds")
    return int(value)
