# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Whether members hold the same data: HashKV answers compared. Pure.

Hashes compare only at one revision and one compact revision (etcd, server/storage/mvcc/hash.go).
"""

from __future__ import annotations

import dataclasses
import enum
import typing as t

__all__ = ["Agreement", "HashEntry", "HashOutcome", "agree"]


class HashOutcome(str, enum.Enum):
    """What comparing came to."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NOT_COMPARABLE = "not_comparable"


@dataclasses.dataclass(frozen=True)
class HashEntry:
    """One member's answer; `hash` is None where it gave none, and `reason` says why."""

    member_id: str
    name: str
    hash: str | None
    revision: int | None
    compact_revision: int | None
    reason: str = ""

    @classmethod
    def from_dict(cls, entry: t.Mapping[str, t.Any]) -> HashEntry:
        """Read an entry of etcd_info's `hash_kv`."""
        error = entry.get("error") or {}
        return cls(
            member_id=entry["member_id"],
            name=entry.get("name") or "",
            hash=entry.get("hash"),
            revision=entry.get("revision"),
            compact_revision=entry.get("compact_revision"),
            reason=str(error.get("msg") or ""),
        )

    @property
    def label(self) -> str:
        """Its name, its ID where it has none."""
        return self.name or self.member_id


@dataclasses.dataclass(frozen=True)
class Agreement:
    """What the hashes say; hash, revision and compact revision are those of the largest group."""

    outcome: HashOutcome
    hash: str | None
    revision: int | None
    compact_revision: int | None
    agreeing: tuple[str, ...]
    """IDs of the members that gave `hash`."""
    differing: tuple[str, ...]
    """Names of the members that gave another one; all, where no majority tells who is wrong."""
    reasons: tuple[str, ...]


def agree(entries: t.Sequence[HashEntry], *, required: int) -> Agreement:
    """Compare answers; `required` voters make a majority.

    `different` if any two that may be compared differ; `equal` if a majority gave one hash;
    otherwise `not_comparable`, with what stood in the way.
    """
    answers = [each for each in entries if each.hash is not None]
    groups: dict[tuple[int | None, int | None], list[HashEntry]] = {}
    for each in answers:
        groups.setdefault((each.revision, each.compact_revision), []).append(each)
    for group in groups.values():
        if len({each.hash for each in group}) > 1:
            return _different(group, required)
    best = max(groups.values(), key=len, default=[])
    first = best[0] if best else None
    reasons = [f"{each.label}: {each.reason}" for each in entries if each.hash is None]
    if len(groups) > 1:
        shown = ", ".join(f"{each.label} at {each.compact_revision}" for each in answers)
        reasons.append(f"compact revisions differ: {shown}")
    outcome = HashOutcome.EQUAL
    if len(best) < required:
        outcome = HashOutcome.NOT_COMPARABLE
        reasons.append(f"{len(best)} members gave comparable hashes, {required} make a majority")
    return Agreement(
        outcome=outcome,
        hash=first.hash if first else None,
        revision=first.revision if first else None,
        compact_revision=first.compact_revision if first else None,
        agreeing=tuple(each.member_id for each in best),
        differing=(),
        reasons=tuple(reasons),
    )


def _different(group: list[HashEntry], required: int) -> Agreement:
    by_hash: dict[str | None, list[HashEntry]] = {}
    for each in group:
        by_hash.setdefault(each.hash, []).append(each)
    best = max(by_hash.values(), key=len)
    majority = len(best) >= required
    wrong = [each for each in group if not majority or each.hash != best[0].hash]
    shown = ", ".join(f"{each.label} has {each.hash}" for each in group)
    return Agreement(
        outcome=HashOutcome.DIFFERENT,
        hash=best[0].hash if majority else None,
        revision=best[0].revision,
        compact_revision=best[0].compact_revision,
        agreeing=tuple(each.member_id for each in best) if majority else (),
        differing=tuple(each.label for each in wrong),
        reasons=(
            f"at revision {best[0].revision}, compacted at {best[0].compact_revision}: {shown}",
        ),
    )
