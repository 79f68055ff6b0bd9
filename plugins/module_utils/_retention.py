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

Differences from restic: UTC, not the local zone; no -1 for "all"; an empty policy is refused here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ClockImplausible,
    OptionInvalid,
    PolicyEmpty,
    RemovalsCapped,
)

__all__ = ["CLOCK_TOLERANCE", "Policy", "Snapshot", "Verdict", "apply", "parse_within"]

# Two controllers may differ by some minutes; an hour is a wrong clock.
CLOCK_TOLERANCE = dt.timedelta(hours=1)
MOST_REMOVALS = 20
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


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """An entry as retention sees it.

    `counts`: it is trusted, a regular backup, and all its checks passed; else `why_not` says what
    it is. `complete`: it has the kits of all members. `object_count` is compared with its
    neighbours'. `pinned` and `used_by` say why and by whom; None where it is not.
    """

    id: str
    created_at: dt.datetime
    object_count: int = 0
    counts: bool = True
    why_not: str = ""
    complete: bool = True
    proven: bool = False
    pinned: str | None = None
    used_by: str | None = None


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

    Never removed: what does not count, the newest that counts, the newest complete one, the newest
    proven, what is pinned or in use, and both sides of a shrink (objects fell by more than a third)
    unless the ID of the entry before it is `released`. `max_removals` takes the place of the cap:
    20, or half of all that count, whichever is less, but always two more than the policy has rules:
    so many one new entry and one new proof can push out.

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
    kept: dict[str, list[str]] = {snapshot.id: [] for snapshot in counted}
    lost: dict[str, list[str]] = {snapshot.id: [] for snapshot in counted}
    if len(kept) != len(counted):
        raise AssertionError("entries of one prefix have IDs of their own")
    for entry, reason in _protected(counted, released):
        kept[entry].append(reason)
    for rule in _RULES:
        _count(rule, policy, counted, kept, lost)
    _count_within(policy.keep_within, counted, kept, lost)
    verdicts = []
    for snapshot in sorted(snapshots, key=_age, reverse=True):
        if not snapshot.counts:
            held = [reason for _other, reason in _held(snapshot)]
            reasons = (f"not judged: {snapshot.why_not}", *held)
            verdicts.append(Verdict(snapshot, keep=True, reasons=reasons))
            continue
        keep = bool(kept[snapshot.id])
        reasons = tuple((kept if keep else lost)[snapshot.id])
        verdicts.append(Verdict(snapshot, keep=keep, reasons=reasons))
    _check_cap(policy, verdicts, max_removals, len(counted))
    return verdicts


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


def _protected(
    counted: t.Sequence[Snapshot], released: t.Collection[str]
) -> t.Iterator[tuple[str, str]]:
    """Yield what no rule can remove, and why."""
    if counted:
        yield counted[0].id, "the newest verified"
    complete = next((snapshot for snapshot in counted if snapshot.complete), None)
    if complete and complete is not counted[0]:
        yield complete.id, "the newest with the kits of all members"
    proven = next((snapshot for snapshot in counted if snapshot.proven), None)
    if proven:
        yield proven.id, "the newest proven by a drill"
    for snapshot in counted:
        yield from _held(snapshot)
    for after, before in zip(counted, counted[1:]):
        # By more than a third, in whole numbers.
        if 3 * after.object_count < 2 * before.object_count and before.id not in released:
            fell = f"from {before.object_count} to {after.object_count} objects"
            yield before.id, f"the last before a shrink {fell} ({after.id})"
            yield after.id, f"the first after a shrink {fell} ({before.id})"


def _held(snapshot: Snapshot) -> t.Iterator[tuple[str, str]]:
    if snapshot.pinned is not None:
        yield snapshot.id, f"pinned: {snapshot.pinned}" if snapshot.pinned else "pinned"
    if snapshot.used_by is not None:
        yield snapshot.id, f"in use by {snapshot.used_by}"


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


def _check_cap(
    policy: Policy, verdicts: t.Sequence[Verdict], max_removals: int | None, counted: int
) -> None:
    removed = [verdict.snapshot.id for verdict in verdicts if not verdict.keep]
    cap = max_removals
    if cap is None:
        cap = max(min(MOST_REMOVALS, counted // 2), policy.rule_count + 2)
    if len(removed) <= cap:
        return
    more = f" and {len(removed) - _SHOWN} more" if len(removed) > _SHOWN else ""
    raise RemovalsCapped(
        f"Nothing is removed: the policy would remove {len(removed)} of {counted} entries "
        f"({', '.join(removed[:_SHOWN])}{more}), and in one run no more than {cap} may go.",
        hint=f"If that is meant, as in the first rotation of an old archive, raise max_removals to "
        f"{len(removed)} for one run; in check mode, that shows each entry with its reasons.",
    )
