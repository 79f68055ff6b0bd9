# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention: golden files, what is refused, and what holds for any history and any policy."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.util
import json
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.controlplane.etcd.plugins.module_utils import _retention
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ClockImplausible,
    OptionInvalid,
    PolicyEmpty,
    RemovalsCapped,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._retention import (
    Policy,
    Restores,
    Snapshot,
    Verdict,
    apply,
    parse_within,
)

GOLDEN = Path(__file__).parent / "fixtures" / "retention"
UTC = dt.timezone.utc
NOW = dt.datetime(2026, 11, 23, 14, 50, tzinfo=UTC)
DAY = dt.timedelta(days=1)
ANY = 1_000_000

_spec = importlib.util.spec_from_file_location("retention_write", GOLDEN / "write.py")
assert _spec and _spec.loader
write = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(write)


def snapshot(time: dt.datetime, number: int = 0, **fields: t.Any) -> Snapshot:
    return Snapshot(f"{time:%Y%m%dT%H%M%SZ}-{number:08x}", time, **fields)


def daily(count: int, **fields: t.Any) -> list[Snapshot]:
    """As many entries, one a day, the last of them now."""
    return [snapshot(NOW - n * DAY, **fields) for n in reversed(range(count))]


def kept(verdicts: t.Iterable[Verdict]) -> set[str]:
    return {verdict.snapshot.id for verdict in verdicts if verdict.keep}


def removed(verdicts: t.Iterable[Verdict]) -> set[str]:
    return {verdict.snapshot.id for verdict in verdicts if not verdict.keep}


# Golden files


@pytest.mark.parametrize("name", write.CASES)
def test_apply_golden_history_gives_what_the_file_says(name: str) -> None:
    words, released = write.CASES[name]
    assert write.judged(words, released) == json.loads((GOLDEN / f"{name}.json").read_text())


def test_golden_files_are_all_used() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(write.CASES)


# Refusals


def test_apply_empty_policy_is_refused() -> None:
    for policy in (Policy(), Policy(keep_last=0, keep_daily=0)):
        with pytest.raises(PolicyEmpty, match="keep_last"):
            apply(policy, daily(3), now=NOW)
        with pytest.raises(PolicyEmpty):
            apply(policy, [], now=NOW)


def test_policy_negative_count_is_refused_by_name() -> None:
    with pytest.raises(OptionInvalid, match="keep_daily is -1"):
        Policy(keep_daily=-1)


@pytest.mark.parametrize("behind", [dt.timedelta(hours=1, seconds=1), DAY, 365 * 50 * DAY])
def test_apply_newest_entry_from_the_future_is_refused(behind: dt.timedelta) -> None:
    entries = daily(40)
    with pytest.raises(ClockImplausible) as caught:
        apply(Policy(keep_last=40), entries, now=NOW - behind)
    assert entries[-1].id in str(caught.value)
    assert f"{NOW - behind:%Y-%m-%dT%H:%M:%SZ}" in str(caught.value)


def test_apply_two_controllers_clocks_may_differ_a_little() -> None:
    assert apply(Policy(keep_last=3), daily(3), now=NOW - dt.timedelta(minutes=59))


def test_apply_entry_from_the_future_that_does_not_count_stops_nobody() -> None:
    forged = snapshot(NOW + 365 * DAY, counts=False, why_not="forged: so it is")
    verdicts = apply(Policy(keep_last=2), [*daily(3), forged], now=NOW)
    assert verdicts[0] == Verdict(forged, keep=True, reasons=("not judged: forged: so it is",))
    assert len(removed(verdicts)) == 1


def test_apply_clock_far_ahead_loses_nothing() -> None:
    # Nothing is counted from now: backups that stopped years ago are kept as they were.
    policy = Policy(keep_daily=3, keep_within=parse_within("10d"))
    then = apply(policy, daily(20), now=NOW, max_removals=ANY)
    assert apply(policy, daily(20), now=NOW + 365 * 20 * DAY, max_removals=ANY) == then
    assert len(kept(then)) == 10


@pytest.mark.parametrize(("count", "cap"), [(10, 5), (30, 15), (100, 20)])
def test_apply_cap_is_twenty_or_half(count: int, cap: int) -> None:
    entries = daily(count)
    assert len(removed(apply(Policy(keep_last=count - cap), entries, now=NOW))) == cap
    over = Policy(keep_last=count - cap - 1)
    with pytest.raises(RemovalsCapped) as caught:
        apply(over, entries, now=NOW)
    for word in (f"remove {cap + 1} of {count}", f"than {cap} ", f"max_removals to {cap + 1}"):
        assert word in str(caught.value)
    assert len(removed(apply(over, entries, now=NOW, max_removals=cap + 1))) == cap + 1


def test_apply_cap_of_a_small_archive_lets_a_night_s_work_through() -> None:
    """Each of four rules lets one go when a month begins, which is more than half of six."""
    at = dt.datetime(2026, 6, 1, 2, tzinfo=UTC)  # a Monday
    ages = (40, 8, 1.9, 0.9, 0.8)
    entries = [*(snapshot(at - days * DAY) for days in ages), snapshot(at)]
    policy = Policy(keep_last=2, keep_daily=2, keep_weekly=2, keep_monthly=2)
    assert not removed(apply(policy, entries[:-1], now=at, max_removals=0))
    assert len(removed(apply(policy, entries, now=at))) == 4


def test_apply_cap_of_a_small_archive_under_another_policy_is_half() -> None:
    """Four rules, but what they would remove was not left by one night."""
    policy = Policy(keep_last=1, keep_daily=1, keep_weekly=1, keep_monthly=1)
    with pytest.raises(RemovalsCapped, match="remove 6 of 7 .* no more than 3 "):
        apply(policy, daily(7), now=NOW)


def test_apply_cap_of_nothing_removes_nothing() -> None:
    with pytest.raises(RemovalsCapped, match="no more than 0"):
        apply(Policy(keep_last=2), daily(3), now=NOW, max_removals=0)
    assert not removed(apply(Policy(keep_last=3), daily(3), now=NOW, max_removals=0))
    with pytest.raises(OptionInvalid, match="max_removals is -1"):
        apply(Policy(keep_last=3), daily(3), now=NOW, max_removals=-1)


@pytest.mark.parametrize(
    ("text", "days"),
    [("30d", 30), ("1y2m3d4h", 366 + 62 + 3 + 4 / 24), ("2w", 14), ("36h", 1.5), (" 1d ", 1)],
)
def test_parse_within_reads_restic_durations(text: str, days: float) -> None:
    assert parse_within(text) == dt.timedelta(days=days)


@pytest.mark.parametrize(
    "text", ["", "0d", "d", "30", "30s", "1h30", "-1d", "1.5d", "9" * 30 + "y", "1d;2d"]
)
def test_parse_within_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_within(text)


# Shrinks


def shrunk(*counts: int, field: str = "object_count") -> list[Snapshot]:
    first = NOW - len(counts) * DAY
    return [snapshot(first + n * DAY, **{field: count}) for n, count in enumerate(counts)]


def why(verdicts: t.Iterable[Verdict], entry: Snapshot) -> str:
    return next("; ".join(each.reasons) for each in verdicts if each.snapshot is entry)


@pytest.mark.parametrize("field", ["object_count", "key_count"])
@pytest.mark.parametrize(
    ("before", "after", "shrinks"),
    [(90, 60, False), (90, 59, True), (3, 2, False), (3, 1, True), (1, 0, True), (0, 0, False)],
)
def test_apply_shrink_is_more_than_a_third(
    before: int, after: int, shrinks: bool, field: str
) -> None:
    entries = shrunk(before, after, after, after, field=field)
    verdicts = apply(Policy(keep_last=1), entries, now=NOW, max_removals=ANY)
    assert ("before a shrink" in why(verdicts, entries[0])) is shrinks
    assert (entries[1].id in kept(verdicts)) is shrinks


@pytest.mark.parametrize("keys", [0, 300, 657, 658, 659, 1500])
def test_apply_wiped_kubernetes_beside_other_keys_is_a_shrink(keys: int) -> None:
    """Of an etcd that others use too, only its objects tell; and so does another prefix."""
    times = [NOW - n * DAY for n in (4, 3, 2, 1)]
    sizes = [(987, 987 + keys), (987, 987 + keys), (0, keys), (0, keys)]
    entries = [
        snapshot(time, object_count=objects, key_count=total)
        for time, (objects, total) in zip(times, sizes)
    ]
    verdicts = apply(Policy(keep_last=1), entries, now=NOW, max_removals=ANY)
    assert kept(verdicts) == {each.id for each in entries[1:]}
    assert "the last before a shrink from 987 to 0 objects" in why(verdicts, entries[1])


def test_apply_fall_over_many_nights_is_a_shrink() -> None:
    """None of them is one by itself, and each night only the newest is kept."""
    state: list[Snapshot] = []
    counts = [990, 1000, *(1000 - 10 * n for n in range(1, 100))]
    for each in shrunk(*counts):
        state.append(each)
        stay = kept(apply(Policy(keep_last=1), state, now=NOW))
        state = [entry for entry in state if entry.id in stay]
    told = [each.object_count for each in state]
    assert told[:4] == [1000, 660, 430, 280]
    assert len(told) < 20


def test_apply_largest_stays_until_another_one_is_as_large() -> None:
    entries = shrunk(100, 90, 80, 90)
    verdicts = apply(Policy(keep_last=1), entries, now=NOW)
    assert kept(verdicts) == {entries[0].id, entries[3].id}
    assert why(verdicts, entries[0]) == "the largest since any shrink"
    freed = apply(Policy(keep_last=1), entries, now=NOW, released=[entries[0].id])
    assert kept(freed) == {entries[3].id}
    grown = [*entries, snapshot(NOW, object_count=100)]
    assert kept(apply(Policy(keep_last=1), grown, now=NOW, max_removals=ANY)) == {grown[4].id}


def test_apply_wiped_then_grown_keeps_what_was_before() -> None:
    entries = shrunk(1000, 980, 0, 300, 1000, 1200)
    verdicts = apply(Policy(keep_last=1), entries, now=NOW, max_removals=ANY)
    assert kept(verdicts) == {entries[n].id for n in (0, 1, 2, 5)}
    assert "the last before a shrink from 980 to 0" in why(verdicts, entries[1])
    assert "the largest before a shrink from 1000 to 0" in why(verdicts, entries[0])


def test_apply_release_of_the_last_releases_the_largest_and_no_other_shrink() -> None:
    entries = shrunk(500, 100, 1000, 980, 0, 0)
    stay = kept(
        apply(Policy(keep_last=1), entries, now=NOW, max_removals=9, released=[entries[3].id])
    )
    assert stay == {entries[n].id for n in (0, 1, 5)}


def test_apply_wiped_cluster_does_not_rotate_its_history_away() -> None:
    state, policy = shrunk(*[987] * 7), Policy(keep_last=7)
    for n in range(400):
        state.append(snapshot(NOW + n * DAY, object_count=12))
        stay = kept(apply(policy, state, now=NOW + n * DAY))
        state = [each for each in state if each.id in stay]
    assert [each.object_count for each in state] == [987] + [12] * 8


def test_apply_shrink_that_was_mended_stays_known() -> None:
    # Without the entry after it, the second run would see 100, 100, and remove what the first kept.
    entries = shrunk(100, 10, 100, 100)
    first = apply(Policy(keep_last=1), entries, now=NOW)
    assert kept(first) == {each.id for each in (entries[0], entries[1], entries[3])}
    left = [each for each in entries if each.id in kept(first)]
    assert not removed(apply(Policy(keep_last=1), left, now=NOW))


def test_apply_released_shrink_lets_both_sides_go() -> None:
    entries = shrunk(100, 10, 10, 10)
    verdicts = apply(
        Policy(keep_last=1), entries, now=NOW, released=[entries[0].id], max_removals=9
    )
    assert kept(verdicts) == {entries[3].id}


# For any history and any policy

COUNTS = st.integers(0, 4)
POLICIES = st.builds(
    Policy,
    keep_last=COUNTS,
    keep_hourly=COUNTS,
    keep_daily=COUNTS,
    keep_weekly=COUNTS,
    keep_monthly=COUNTS,
    keep_yearly=COUNTS,
    keep_within=st.none() | st.integers(1, 100 * 24).map(lambda hours: dt.timedelta(hours=hours)),
).filter(lambda policy: policy.rule_count > 0)
# Gaps from a second to some months: hours, days, weeks, months and years are all met and skipped.
GAPS = st.one_of(
    st.integers(0, 3),
    st.integers(1, 7 * 3600),
    st.integers(1, 5 * 86400),
    st.integers(1, 200 * 86400),
)


@st.composite
def histories(draw: st.DrawFn, *, odd: bool = True) -> list[Snapshot]:
    """Entries in the order in which they were made; all sizes of clusters, all kinds of entries."""
    time = draw(st.datetimes(dt.datetime(2020, 12, 20), dt.datetime(2022, 2, 1))).replace(
        microsecond=0, tzinfo=UTC
    )
    made = []
    rarely = st.integers(0, 9).map(lambda n: n == 0)
    for number in range(draw(st.integers(0, 24))):
        time += dt.timedelta(seconds=draw(GAPS))
        counts = not (odd and draw(rarely))
        made.append(
            snapshot(
                time,
                number,
                object_count=draw(st.sampled_from([0, 1, 50, 66, 67, 99, 100, 150])),
                counts=counts,
                why_not="" if counts else "damaged: so it is",
                key_count=draw(st.sampled_from([0, 0, 50, 150])),
                restores=draw(st.sampled_from(list(Restores))),
                proven_at=time + draw(st.integers(0, 99)) * DAY if draw(rarely) else None,
                pinned=draw(st.sampled_from([None] * 9 + ["so"])),
                used_by=draw(st.sampled_from([None] * 9 + ["process 1"])),
            )
        )
    return made


def judge(policy: Policy, entries: t.Sequence[Snapshot], **more: t.Any) -> list[Verdict]:
    now = max((each.created_at for each in entries), default=NOW)
    return apply(policy, entries, now=now, **{"max_removals": ANY, **more})


thorough = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@thorough
@given(histories(), POLICIES)
def test_the_last_good_ones_survive(entries: list[Snapshot], policy: Policy) -> None:
    verdicts = judge(policy, entries)
    stay = kept(verdicts)
    counted = [each for each in entries if each.counts]
    if counted:
        assert counted[-1].id in stay
        order = list(Restores)
        most = min(order.index(each.restores) for each in counted)
        assert [each for each in counted if order.index(each.restores) == most][-1].id in stay
    proven = [each for each in counted if each.proven_at]
    if proven:
        assert proven[-1].id in stay
        last = max(each.proven_at for each in proven if each.proven_at)
        assert any(each.id in stay for each in proven if each.proven_at == last)
    for each in entries:
        if not each.counts or each.pinned is not None or each.used_by is not None:
            assert each.id in stay
    for before, after in zip(counted, counted[1:]):
        if after.object_count < before.object_count * 2 / 3 - 1e-9:
            assert {before.id, after.id} <= stay
    # No later entry has fallen by more than a third from all that there is.
    for number, before in enumerate(counted):
        for after in counted[number + 1 :]:
            if after.object_count < before.object_count * 2 / 3 - 1e-9:
                older = [each for each in counted if each.id < after.id and each.id in stay]
                assert max(each.object_count for each in older) >= before.object_count
    # Every entry is judged once, with a reason.
    assert [v.snapshot.id for v in verdicts] == sorted((e.id for e in entries), reverse=True)
    assert all(verdict.reasons for verdict in verdicts)


@thorough
@given(histories(), POLICIES)
def test_twice_is_once(entries: list[Snapshot], policy: Policy) -> None:
    stay = kept(judge(policy, entries))
    left = [each for each in entries if each.id in stay]
    again = apply(policy, left, now=entries[-1].created_at if entries else NOW, max_removals=0)
    assert kept(again) == stay


@thorough
@given(histories(), POLICIES, st.data())
def test_more_time_never_brings_back_what_was_removed(
    entries: list[Snapshot], policy: Policy, data: st.DataObject
) -> None:
    """What a run removes would be kept by no later run over all that there ever was."""
    cut = data.draw(st.integers(0, len(entries)))
    assert removed(judge(policy, entries[:cut])) <= removed(judge(policy, entries))


@thorough
@given(histories(), POLICIES, st.data())
def test_rotating_often_loses_nothing_that_rotating_once_keeps(
    entries: list[Snapshot], policy: Policy, data: st.DataObject
) -> None:
    state: list[Snapshot] = []
    for each in entries:
        state.append(each)
        if data.draw(st.booleans()):
            stay = kept(judge(policy, state))
            state = [entry for entry in state if entry.id in stay]
    once = kept(judge(policy, entries))
    assert once <= {entry.id for entry in state}


@thorough
@given(histories(odd=False), POLICIES)
def test_one_new_entry_never_meets_the_cap(entries: list[Snapshot], policy: Policy) -> None:
    """But after a pause keep_within may have much to let go at once."""
    policy = dataclasses.replace(policy, keep_within=None, keep_last=max(1, policy.keep_last))
    if not entries:
        return
    *before, new = entries
    stay = kept(judge(policy, before))
    judge(policy, [*(e for e in before if e.id in stay), new], max_removals=None)


@thorough
@given(histories(), POLICIES, st.randoms(use_true_random=False))
def test_the_order_of_a_listing_does_not_matter(
    entries: list[Snapshot], policy: Policy, random: t.Any
) -> None:
    mixed = list(entries)
    random.shuffle(mixed)
    assert judge(policy, mixed) == judge(policy, entries)


@thorough
@given(histories(odd=False), POLICIES)
def test_rules_keep_the_newest_of_each_of_the_newest_buckets(
    entries: list[Snapshot], policy: Policy
) -> None:
    """Said in another way than it is done: by the sets of hours, days, weeks, months and years."""
    plain = [
        dataclasses.replace(
            each,
            restores=Restores.ALL,
            proven_at=None,
            pinned=None,
            used_by=None,
            object_count=0,
            key_count=0,
        )
        for each in entries
    ]
    wanted = {plain[-1].id} if plain else set()
    buckets: dict[str, t.Callable[[Snapshot], t.Any]] = {
        "keep_last": lambda each: each.id,
        "keep_hourly": lambda each: (each.created_at.date(), each.created_at.hour),
        "keep_daily": lambda each: each.created_at.date(),
        "keep_weekly": lambda each: each.created_at.isocalendar()[:2],
        "keep_monthly": lambda each: (each.created_at.year, each.created_at.month),
        "keep_yearly": lambda each: each.created_at.year,
    }
    for word, bucket in buckets.items():
        count = getattr(policy, word)
        newest = {bucket(each): each.id for each in plain}
        chosen = list(newest.values())[-count:] if count else []
        wanted |= set(chosen)
        if len(chosen) < count and plain:
            wanted.add(plain[0].id)
    if policy.keep_within:
        wanted |= {
            each.id for each in plain if plain[-1].created_at - each.created_at < policy.keep_within
        }
    assert kept(judge(policy, plain)) == wanted


def test_tolerance_is_what_the_readme_says() -> None:
    assert dt.timedelta(hours=1) == _retention.CLOCK_TOLERANCE
