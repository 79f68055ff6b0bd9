# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Which entries of an archive are kept, and why: pure, the clock is an argument.

The rules are restic's (internal/data/snapshot_policy.go): keep_X n keeps the newest entry of each of
the n newest hours, days, ISO weeks, months or years that have one; while a rule has fewer, it keeps
the oldest entry, too. Only entries that count take part and are ever removed; buckets are in UTC.

What is removed stays removable. Adding newer entries only pushes others out of a rule, so an entry
that a run removes would be kept by no later run over the whole history: rotating often never loses
what rotating once would have kept, and rotating twice is rotating once. For this to hold,

- keep_within counts back from the newest entry, never from the clock (as restic does), so that an
  archive whose backups have stopped keeps what it has; and its months and years are of 31 and 366
  days. Calendar months, as restic has them, go backwards: a month before 31 March is 3 March, a
  month before 1 April is 1 March, so that what was removed of 2 March would have had to be back.
- both sides of a shrink stay: without the entry after it, the next run would not see it any more.
- the largest entry since the last shrink stays: a fall over many nights is one, too, and only the
  largest tells it. What is compared is the objects of a Kubernetes, however many other keys the
  etcd holds; keys only where neither entry has an object.

It holds for entries as they are. It does not where an entry changes later (a drill that fails takes
"proven" away, a file "verified"), or where one arrives with an ID that is older than the newest.

Differences from restic: UTC, not the local zone; no -1 for "all"; an empty policy is refused here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ClockImplausible,
    OptionInvalid,
    PolicyEmpty,
    RemovalsCapped,
)

__all__ = [
    "CLOCK_TOLERANCE",
    "Policy",
    "Restores",
    "Snapshot",
    "Verdict",
    "apply",
    "cornerstones",
    "parse_within",
]

# Two controllers may differ by some minutes; an hour is a wrong clock.
CLOCK_TOLERANCE = dt.timedelta(hours=1)
MOST_REMOVALS = 20
# Beside one of each rule: it may be the largest, and restore the most; the newest, and proven last.
_BY_ENTRY, _BY_PROOF = 2, 2
_SHOWN = 5

_WITHIN = re.compile(r"(\d+)([ymwdh])")
_WITHIN_HOURS = {"y": 366 * 24, "m": 31 * 24, "w": 7 * 24, "d": 24, "h": 1}


@dataclasses.dataclass(frozen=True)
class Policy:
    """How many entries are kept, in restic's words; 0 and None mean that there is no such rule."""

    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_within: dt.timedelta | None = None

    def __post_init__(self) -> None:
        for rule in _RULES:
            if rule.count(self) < 0:
                raise OptionInvalid(
                    f"Option {rule.option} is {rule.count(self)}: a number of entries is 0 or more.",
                    hint="Leave the option out where there is no such rule.",
                )

    @property
    def rule_count(self) -> int:
        """How many rules there are."""
        return sum(rule.count(self) > 0 for rule in _RULES) + bool(self.keep_within)


class Restores(str, enum.Enum):
    """What an entry brings back by itself, the most first; the values are said in reasons."""

    ALL = "the whole control plane"
    SAME_HOSTS = "the control plane on the same hosts, with the kits of all members"
    SOME_HOSTS = "the control plane on the same hosts"
    KITS = "the data, with the kits of all members"
    DATA = "the data"


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """An entry as retention sees it.

    `counts`: it is trusted, a regular backup, and all its checks passed; else `why_not` says what
    it is. A shrink is told by `object_count`, by `key_count` where there are none. `proven_at`:
    when its last drill passed; None if it did not. `pinned` and `used_by` say why and by whom; None
    where it is not.
    """

    id: str
    created_at: dt.datetime
    object_count: int = 0
    key_count: int = 0
    counts: bool = True
    why_not: str = ""
    restores: Restores = Restores.ALL
    proven_at: dt.datetime | None = None
    pinned: str | None = None
    used_by: str | None = None

    @property
    def proven(self) -> bool:
        """Whether its last drill passed."""
        return self.proven_at is not None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is to become of an entry, and for which reasons."""

    snapshot: Snapshot
    keep: bool
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Rule:
    """A row of the table: how many are kept of which buckets; no bucket is one an entry."""

    word: str
    bucket: str

    @property
    def option(self) -> str:
        return f"keep_{self.word}"

    def count(self, policy: Policy) -> int:
        return int(getattr(policy, self.option))

    def bucket_of(self, snapshot: Snapshot) -> str:
        if not self.bucket:
            return snapshot.id
        return snapshot.created_at.astimezone(dt.timezone.utc).strftime(self.bucket)


_RULES = (
    _Rule("last", ""),
    _Rule("hourly", "%Y-%m-%d %H:00"),
    _Rule("daily", "%Y-%m-%d"),
    _Rule("weekly", "%G-W%V"),
    _Rule("monthly", "%Y-%m"),
    _Rule("yearly", "%Y"),
)


def parse_within(text: str) -> dt.timedelta:
    """Read `1y2m3d4h`, restic's spelling of a duration: years, months, weeks, days, hours.

    :raises ValueError: `text` is none, or nothing.
    """
    plain = text.strip()
    parts = _WITHIN.findall(plain)
    if not parts or "".join(number + unit for number, unit in parts) != plain:
        raise ValueError(
            f"{text!r} is not a duration in years, months, weeks, days and hours, as in 1y2m3d4h"
        )
    try:
        within = dt.timedelta(hours=sum(int(n) * _WITHIN_HOURS[unit] for n, unit in parts))
    except OverflowError as exc:
        raise ValueError(f"{text!r} is longer than time") from exc
    if not within:
        raise ValueError(f"{text!r} is no time at all")
    return within


def apply(
    policy: Policy,
    snapshots: t.Sequence[Snapshot],
    *,
    now: dt.datetime,
    max_removals: int | None = None,
    released: t.Collection[str] = (),
) -> list[Verdict]:
    """Judge each entry of one prefix, newest first.

    Never removed: what does not count, the cornerstones, what is pinned or in use, the last and the
    largest before a shrink and the first after it (objects fell by more than a third from the
    largest since the last shrink), and the largest since then. A shrink does not count that has the
    ID of a `released` entry between its sides, nor a largest one that is `released`. `max_removals`
    takes the place of the cap: 20, or half of all that count, whichever is less; what one new entry
    and one new proof push out may go all the same where nothing more was left over from before.

    :raises OptionInvalid: `max_removals` is below 0.
    :raises PolicyEmpty: the policy has no rule.
    :raises ClockImplausible: the newest entry is more than CLOCK_TOLERANCE ahead of `now`.
    :raises RemovalsCapped: there are more removals than the cap.
    """
    if not policy.rule_count:
        raise PolicyEmpty(
            "The retention policy has no rule: it would keep nothing.",
            hint="Set at least one of keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, "
            "keep_yearly and keep_within.",
        )
    if max_removals is not None and max_removals < 0:
        raise OptionInvalid(
            f"Option max_removals is {max_removals}: a number of entries is 0 or more.",
            hint="Set 0 to have nothing removed, or leave the option out.",
        )
    counted = sorted((s for s in snapshots if s.counts), key=_age, reverse=True)
    _check_clock(counted, now)
    kept, lost = _reasons(policy, counted, released)
    verdicts = []
    for snapshot in sorted(snapshots, key=_age, reverse=True):
        if not snapshot.counts:
            reasons = (f"not judged: {snapshot.why_not}", *_held(snapshot))
            verdicts.append(Verdict(snapshot, keep=True, reasons=reasons))
            continue
        keep = bool(kept[snapshot.id])
        reasons = tuple((kept if keep else lost)[snapshot.id])
        verdicts.append(Verdict(snapshot, keep=keep, reasons=reasons))
    removed = [verdict.snapshot.id for verdict in verdicts if not verdict.keep]
    if max_removals is None:
        max_removals = min(MOST_REMOVALS, len(counted) // 2)
        before, _lost = _reasons(policy, counted[1:], released)
        if sum(not reasons for reasons in before.values()) <= _BY_PROOF:
            max_removals = max(max_removals, policy.rule_count + _BY_ENTRY + _BY_PROOF)
    _check_cap(removed, max_removals, len(counted))
    return verdicts


def cornerstones(counted: t.Sequence[Snapshot]) -> list[tuple[Snapshot, str]]:
    """Return the entries, of those that count, newest first, that must be good, and what they are."""
    if not counted:
        return []
    best = min(counted, key=lambda snapshot: list(Restores).index(snapshot.restores))
    found = [(counted[0], "the newest verified")]
    if best is not counted[0]:
        found.append((best, f"the newest that restores {best.restores.value}"))
    proven = [snapshot for snapshot in counted if snapshot.proven]
    if proven:
        found.append((proven[0], "the newest proven by a drill"))
        last = max(proven, key=lambda snapshot: snapshot.proven_at or snapshot.created_at)
        if last is not proven[0]:
            found.append((last, "the one that a drill proved last"))
    return found


def _reasons(
    policy: Policy, counted: t.Sequence[Snapshot], released: t.Collection[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return for each entry what keeps it, and which rules do not."""
    kept: dict[str, list[str]] = {snapshot.id: [] for snapshot in counted}
    lost: dict[str, list[str]] = {snapshot.id: [] for snapshot in counted}
    if len(kept) != len(counted):
        raise AssertionError("entries of one prefix have IDs of their own")
    for snapshot, reason in cornerstones(counted):
        kept[snapshot.id].append(reason)
    for snapshot in counted:
        kept[snapshot.id] += _held(snapshot)
    for snapshot, reason in _shrinks(counted, released):
        kept[snapshot.id].append(reason)
    for rule in _RULES:
        _count(rule, policy, counted, kept, lost)
    _count_within(policy.keep_within, counted, kept, lost)
    return kept, lost


def _age(snapshot: Snapshot) -> tuple[dt.datetime, str]:
    return snapshot.created_at, snapshot.id


def _check_clock(counted: t.Sequence[Snapshot], now: dt.datetime) -> None:
    if not counted or counted[0].created_at - now <= CLOCK_TOLERANCE:
        return
    newest, at = counted[0], counted[0].created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    raise ClockImplausible(
        f"Nothing is removed: entry {newest.id} was made at {at}, and the controller's clock says "
        f"{now.astimezone(dt.timezone.utc):%Y-%m-%dT%H:%M:%SZ}, which is before that.",
        hint="Set the clock. If the clock was wrong when that entry was made, move the entry out of "
        "the archive, or wait until its time has come.",
    )


def _held(snapshot: Snapshot) -> t.Iterator[str]:
    if snapshot.pinned is not None:
        yield f"pinned: {snapshot.pinned}" if snapshot.pinned else "pinned"
    if snapshot.used_by is not None:
        yield f"in use by {snapshot.used_by}"


def _shrinks(
    counted: t.Sequence[Snapshot], released: t.Collection[str]
) -> t.Iterator[tuple[Snapshot, str]]:
    """Yield what stays since objects fell, or should they go on falling, and why."""
    largest = before = None
    for after in reversed(counted):
        if largest and before and _fell(largest, after):
            both = [(before, "last")] if _fell(before, after) else []
            both += [(largest, "largest")] if largest is not before else []
            both = [pair for pair in both if not any(pair[0].id <= x < after.id for x in released)]
            for one, word in both:
                yield one, f"the {word} before a shrink {_from_to(one, after)} ({after.id})"
            for one, _word in both[:1]:
                yield after, f"the first after a shrink {_from_to(one, after)} ({one.id})"
            largest = after
        elif largest is None or _size(after) >= _size(largest):
            largest = after
        before = after
    if largest and largest is not before and largest.id not in released:
        yield largest, "the largest since any shrink"


def _size(snapshot: Snapshot) -> tuple[int, int]:
    # However many keys others have in an etcd, it is a Kubernetes' objects that are looked after.
    return (snapshot.object_count, 0) if snapshot.object_count else (0, snapshot.key_count)


def _fell(before: Snapshot, after: Snapshot) -> bool:
    """Tell whether it fell by more than a third, in whole numbers."""
    # A size without objects is the second number, and then of both.
    of = 0 if before.object_count or after.object_count else 1
    return 3 * _size(after)[of] < 2 * _size(before)[of]


def _from_to(before: Snapshot, after: Snapshot) -> str:
    if before.object_count:
        return f"from {before.object_count} to {after.object_count} objects"
    return f"from {before.key_count} to {after.key_count} keys"


def _count(
    rule: _Rule,
    policy: Policy,
    counted: t.Sequence[Snapshot],
    kept: dict[str, list[str]],
    lost: dict[str, list[str]],
) -> None:
    """Keep the newest of each of the newest buckets; say of the others what stands before them."""
    count = left = rule.count(policy)
    if not count:
        return
    last, newest = "", ""
    for snapshot in counted:
        bucket = rule.bucket_of(snapshot)
        if bucket != last and left:
            left -= 1
            last, newest = bucket, snapshot.id
            kept[snapshot.id].append(f"{rule.word} {bucket}" if rule.bucket else rule.word)
        elif left and snapshot is counted[-1]:
            kept[snapshot.id].append(f"the oldest, for {rule.word}")
        elif bucket == last:
            lost[snapshot.id].append(f"{rule.word}: of {bucket}, {newest} is newer")
        else:
            lost[snapshot.id].append(f"{rule.word}: {count} {'is' if count == 1 else 'are'} newer")


def _count_within(
    within: dt.timedelta | None,
    counted: t.Sequence[Snapshot],
    kept: dict[str, list[str]],
    lost: dict[str, list[str]],
) -> None:
    if within is None:
        return
    for snapshot in counted:
        # Ages are compared, not times: there is no time 9,999 years before today.
        if counted[0].created_at - snapshot.created_at < within:
            kept[snapshot.id].append(f"within {_spelled(within)} of the newest")
        else:
            lost[snapshot.id].append(f"within: older by {_spelled(within)} than the newest")


def _spelled(within: dt.timedelta) -> str:
    hours = within.seconds // 3600
    return "".join([f"{within.days}d" if within.days else "", f"{hours}h" if hours else ""])


def _check_cap(removed: t.Sequence[str], cap: int, counted: int) -> None:
    if len(removed) <= cap:
        return
    more = f" and {len(removed) - _SHOWN} more" if len(removed) > _SHOWN else ""
    raise RemovalsCapped(
        f"Nothing is removed: the policy would remove {len(removed)} of {counted} entries "
        f"({', '.join(removed[:_SHOWN])}{more}), and in one run no more than {cap} may go.",
        hint=f"If that is meant, as in the first rotation of an old archive, raise max_removals to "
        f"{len(removed)} for one run; in check mode, that shows each entry with its reasons.",
    )
