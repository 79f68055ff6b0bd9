# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The findings of all hosts as one table of plain text, worst first."""

from __future__ import annotations

import textwrap
import typing as t

from .across import HostFinding, Report
from .model import Severity

__all__ = ["lines"]

WIDTH = 110
_INDENT = 10
_MOST = 200
_RANK = {severity.value: rank for rank, severity in enumerate(Severity)}
_HEADER = ("SEVERITY", "HOST", "WHAT", "DAYS", "WHERE")
_WIDEST = {"HOST": 24, "CLUSTER": 20, "WHAT": 30}
_NUMBERS = frozenset({"CERTIFICATES", "CRITICAL", "WARNING", "DAYS"})


def lines(
    reports: t.Mapping[str, Report],
    *,
    clusters: t.Mapping[str, str] | None = None,
    differences: t.Sequence[HostFinding] = (),
    width: int = WIDTH,
) -> list[str]:
    """Return the table: what is found, one row each with what to do, then a line for each host.

    No line is wider than `width` (100 or more). Findings of severity info are left out. It says "all good" only where every host told its
    certificates and nothing is found.
    """
    rows = [_row(host, each) for host, report in reports.items() for each in _findings(report)]
    rows += [_row(_among(each.hosts), each.as_dict()) for each in differences]
    rows = [row for row in rows if row["severity"] != Severity.INFO.value]
    rows.sort(key=_order)
    shown: list[str] = []
    if rows:
        shown += _table(rows[:_MOST], width)
        if len(rows) > _MOST:
            shown.append(f"… and {len(rows) - _MOST} more, not shown: see `findings`.")
        shown.append("")
    shown += _hosts(reports, clusters or {}, width)
    shown += ["", *textwrap.wrap(_sum(reports, rows), width)]
    return [line.rstrip() for line in shown]


def _findings(report: Report) -> list[t.Mapping[str, t.Any]]:
    found = report.get("findings")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _row(host: str, finding: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    left = finding.get("days_left")
    return {
        "severity": str(finding.get("severity")),
        "left": left if isinstance(left, int) else None,
        "SEVERITY": str(finding.get("severity")),
        "HOST": host,
        "WHAT": str(finding.get("name") or finding.get("subject") or ""),
        "DAYS": str(left) if isinstance(left, int) else "",
        "WHERE": str(finding.get("where") or ""),
        "message": str(finding.get("message") or ""),
        "action": str(finding.get("action") or ""),
    }


def _order(row: t.Mapping[str, t.Any]) -> tuple[t.Any, ...]:
    rank = _RANK.get(row["severity"], 0)
    return rank, row["left"] is None, row["left"] or 0, row["HOST"], row["WHERE"], row["message"]


def _among(hosts: t.Sequence[str]) -> str:
    return hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts"


def _table(rows: t.Sequence[t.Mapping[str, t.Any]], width: int) -> list[str]:
    shown = _columns(_HEADER, rows, width)
    result = [shown[0]]
    for row, line in zip(rows, shown[1:]):
        result.append(line)
        result += _wrapped(row["message"], "", width)
        if row["action"]:
            result += _wrapped(row["action"], "Do: ", width)
    return result


def _wrapped(text: str, label: str, width: int) -> list[str]:
    indent = " " * _INDENT
    return textwrap.wrap(
        " ".join(text.split()),
        width,
        initial_indent=indent + label,
        subsequent_indent=indent + " " * len(label),
        break_on_hyphens=False,
    )


def _columns(
    header: t.Sequence[str], rows: t.Sequence[t.Mapping[str, t.Any]], width: int
) -> list[str]:
    """Return the header and each row, in columns as wide as their widest; the last takes the rest."""
    sizes = []
    for column in header[:-1]:
        widest = max(len(column), *(len(str(row[column])) for row in rows)) if rows else len(column)
        sizes.append(min(widest, _WIDEST.get(column, widest)))
    rest = max(12, width - sum(sizes) - 2 * len(sizes))
    result = []
    for row in ({column: column for column in header}, *rows):
        cells = [
            f"{_cut(str(row[column]), size):{'>' if column in _NUMBERS else '<'}{size}}"
            for column, size in zip(header, sizes)
        ]
        result.append("  ".join([*cells, _cut(str(row[header[-1]]), rest)]))
    return result


def _cut(text: str, size: int) -> str:
    """Shorten to `size`; the end of a path tells more than its start."""
    plain = " ".join(text.split())
    return plain if len(plain) <= size else f"…{plain[-(size - 1) :]}"


def _count(report: Report, severity: str) -> int:
    return sum(each.get("severity") == severity for each in _findings(report))


def _looked_at(report: Report) -> int | None:
    """Return how many certificates a host told of, None where it told nothing."""
    if report.get("unreachable") or not isinstance(report.get("findings"), list):
        return None
    listed = report.get("certificates")
    if isinstance(listed, list):
        return len(listed)
    counts = report.get("counts")
    count = counts.get("certificates") if isinstance(counts, dict) else None
    return count if isinstance(count, int) else 0


def _hosts(reports: t.Mapping[str, Report], clusters: t.Mapping[str, str], width: int) -> list[str]:
    header = ["HOST", "CLUSTER", "CERTIFICATES", "CRITICAL", "WARNING", "DAYS", "ENDS FIRST"]
    rows: list[dict[str, t.Any]] = []
    for host, report in reports.items():
        looked_at = _looked_at(report)
        soonest = report.get("soonest")
        first = soonest if isinstance(soonest, dict) and looked_at is not None else {}
        left = report.get("days_left")
        rows.append(
            {
                "HOST": host,
                "CLUSTER": clusters.get(host, ""),
                "CERTIFICATES": "not looked at" if looked_at is None else str(looked_at),
                "CRITICAL": _count(report, "critical") or "-",
                "WARNING": _count(report, "warning") or "-",
                "DAYS": str(left) if first and isinstance(left, int) else "",
                "ENDS FIRST": str(first.get("name") or first.get("where") or ""),
                "left": left if first and isinstance(left, int) else -(1 << 30),
            }
        )
    rows.sort(key=lambda row: (row["left"], row["CLUSTER"], row["HOST"]))
    if not any(row["CLUSTER"] for row in rows):
        header.remove("CLUSTER")
    return _columns(header, rows, width)


def _sum(reports: t.Mapping[str, Report], rows: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    looked_at = {host: _looked_at(report) for host, report in reports.items()}
    count = sum(each or 0 for each in looked_at.values())
    blank = [host for host, each in looked_at.items() if not each]
    critical = sum(row["severity"] == "critical" for row in rows)
    text = f"{_many(count, 'certificate')} on {_many(len(reports), 'host')}: "
    if rows:
        text += f"{critical} critical, {_many(len(rows) - critical, 'warning')}."
    elif blank or not reports:
        text += "nothing is found."
    else:
        text += "all good."
    if blank:
        names = ", ".join(blank[:5]) + (f" and {len(blank) - 5} more" if len(blank) > 5 else "")
        text += f" No certificate was seen on {names}: nothing is known of what lies there."
    return text


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
