# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What an entry lacks, as values."""

from __future__ import annotations

import dataclasses
import enum
import typing as t

__all__ = ["Completeness", "Lack", "Severity", "Verdict", "verdict"]


class Completeness(str, enum.Enum):
    """What an entry brings back by itself."""

    COMPLETE = "complete"
    """The control plane, on empty hosts, whatever their addresses."""
    SAME_HOSTS = "same_hosts"
    """The control plane, on hosts of the same names and addresses; some of it is made anew there."""
    DATA_ONLY = "data_only"
    """etcd's data. Something that cannot be made anew has to come from elsewhere, or is lost."""


class Severity(str, enum.Enum):
    """What a lack does to the verdict."""

    CRITICAL = "critical"
    """Data only."""
    WARNING = "warning"
    """The same hosts at best."""
    INFO = "info"
    """Nothing: it can be had elsewhere, or is only worth knowing."""


@dataclasses.dataclass(frozen=True)
class Lack:
    """One part that a full restore would need and that is not there, and what that means."""

    code: str
    part: str
    meaning: str
    severity: Severity
    hosts: tuple[str, ...] = ()
    """Whose it is; none: the whole cluster's."""

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as JSON."""
        return {
            "code": self.code,
            "part": self.part,
            "hosts": list(self.hosts),
            "meaning": self.meaning,
            "severity": self.severity.value,
        }


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What it comes to; the worst lack first."""

    completeness: Completeness
    lacks: tuple[Lack, ...]


def verdict(lacks: t.Iterable[Lack]) -> Verdict:
    """Return what lacks come to, the worst first, otherwise in their order."""
    order = list(Severity)
    found = tuple(sorted(lacks, key=lambda lack: order.index(lack.severity)))
    worst = found[0].severity if found else Severity.INFO
    return Verdict(_COMES_TO[worst], found)


_COMES_TO = {
    Severity.CRITICAL: Completeness.DATA_ONLY,
    Severity.WARNING: Completeness.SAME_HOSTS,
    Severity.INFO: Completeness.COMPLETE,
}
