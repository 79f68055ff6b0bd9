# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The election: the truth table over what hosts reported."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.agreement import (
    HashEntry,
    agree,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.cluster import (
    Election,
    Refusal,
    elect,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.views import (
    HostState,
    HostView,
    MemberView,
)


def member(name: str, **changes: t.Any) -> MemberView:
    return dataclasses.replace(
        MemberView(
            id=f"id-{name}",
            name=name,
            peer_urls=(f"https://10.0.0.{ord(name[0]) - 96}:2380",),
            is_learner=False,
            is_leader=name == "a",
            reachable=True,
            follows_leader=True,
            revision=100,
            raft_term=3,
            round_trip_ms=1.0,
            alarms=(),
        ),
        **changes,
    )


def cluster(names: str = "abc", **changes: dict[str, t.Any]) -> list[HostView]:
    """Return every host's view of a healthy cluster led by a; `changes` are member -> fields."""
    members = tuple(member(name, **changes.get(name, {})) for name in names)
    return [view(name, members) for name in names]


def view(name: str, members: tuple[MemberView, ...], **changes: t.Any) -> HostView:
    return dataclasses.replace(
        HostView(
            host=f"host-{name}",
            address=f"10.0.0.{ord(name[0]) - 96}",
            state=HostState.GOOD,
            cluster_id="c1",
            local_id=f"id-{name}",
            has_quorum=True,
            members=members,
        ),
        **changes,
    )


def silent(name: str, state: HostState, reason: str = "gone") -> HostView:
    return HostView(f"host-{name}", f"10.0.0.{ord(name[0]) - 96}", state, reason)


def host(found: Election) -> str | None:
    return found.source.host if found.source else None


@pytest.mark.parametrize(
    ("views", "winner"),
    [
        (cluster(), "host-b"),
        (cluster("a"), "host-a"),
        (cluster(b={"round_trip_ms": 9.0}), "host-c"),
        (cluster(b={"round_trip_ms": 1.4}, c={"round_trip_ms": 0.6}), "host-b"),
        (cluster(b={"is_learner": True}), "host-c"),
        (cluster(b={"alarms": ("CORRUPT",)}), "host-c"),
        (cluster(b={"alarms": ("NOSPACE",)}), "host-b"),
        (cluster(b={"follows_leader": False}), "host-c"),
        (cluster(a={"is_leader": False}, b={"is_leader": True}), "host-a"),
        (cluster(b={"is_learner": True}, c={"is_learner": True}), "host-a"),
    ],
    ids=[
        "follower-by-name",
        "single-member",
        "round-trip",
        "round-trip-by-the-millisecond-then-name",
        "no-learner",
        "no-corrupt-member",
        "nospace-is-fine",
        "needs-a-leader",
        "leader-last",
        "leader-if-nobody-else",
    ],
)
def test_elect_winner(views: list[HostView], winner: str) -> None:
    for order in (views, views[::-1]):
        found = elect("prod", order)
        assert found.refusal is None, found.message
        assert host(found) == winner
        assert not found.degraded


def test_elect_tells_reasons_and_lowest_revision() -> None:
    found = elect("prod", cluster(b={"is_learner": True, "revision": 3}, c={"revision": 90}))
    assert found.hash_revision == 90, "a learner's revision doesn't count"
    assert found.reasons[0] == "host-b: not a voter"
    assert (
        "host-c: elected, member c is a follower, round trip 1 ms, 2 could be used" in found.reasons
    )


@pytest.mark.parametrize(
    ("views", "refusal", "words"),
    [
        ([], Refusal.NO_HOSTS, ["prod", "etcd_cluster"]),
        (
            [*cluster("ab"), silent("c", HostState.NOT_ASKED)],
            Refusal.LIMIT,
            ["host-c", "--limit"],
        ),
        (
            [silent("a", HostState.FAILED, "refused"), silent("b", HostState.UNREACHABLE)],
            Refusal.NO_ANSWER,
            ["host-a: refused", "host-b: gone"],
        ),
        (
            [*cluster("ab"), view("c", (member("c"),), cluster_id="c2")],
            Refusal.SEVERAL_CLUSTERS,
            ["host-a, host-b in c1", "host-c in c2"],
        ),
        (
            [*cluster("ab"), view("a", (member("a"),), host="twin")],
            Refusal.SAME_MEMBER,
            ["host-a", "twin", "id-a"],
        ),
        (
            [view("b", (member("b", is_learner=True),), local_is_learner=True)],
            Refusal.LEARNER_ONLY,
            ["host-b", "Promote"],
        ),
        (
            [
                view("a", (member("a"), member("b", reachable=False)), has_quorum=False),
                silent("b", HostState.FAILED),
            ],
            Refusal.NO_QUORUM,
            ["1 of 2 voters", "2 are needed", "missing: b", "emergency: true", "bring one"],
        ),
        (
            cluster("a", a={"alarms": ("CORRUPT",)}),
            Refusal.CORRUPT,
            ["host-a", "CORRUPT", "Replace"],
        ),
        (
            [view("a", (member("a", follows_leader=False), member("b")))],
            Refusal.NO_CANDIDATE,
            ["host-a", "no leader"],
        ),
    ],
    ids=lambda value: value.value if isinstance(value, Refusal) else "",
)
def test_elect_refuses(views: list[HostView], refusal: Refusal, words: list[str]) -> None:
    found = elect("prod", views)
    assert found.source is None
    assert found.refusal is refusal
    for word in words:
        assert word in f"{found.message} {found.hint}"


@pytest.mark.parametrize("state", [HostState.FAILED, HostState.UNREACHABLE])
def test_elect_goes_on_without_a_host_and_maps_it_by_peer_url(state: HostState) -> None:
    views = [*cluster()[:2], silent("c", state, "ssh timed out")]
    found = elect("prod", views)
    assert host(found) == "host-b"
    assert found.degraded
    assert found.hosts_by_member == {"id-a": "host-a", "id-b": "host-b", "id-c": "host-c"}
    assert found.members_without_host == ()
    assert "host-c: ssh timed out" in found.warnings


def test_elect_names_members_that_the_inventory_lacks() -> None:
    found = elect("prod", cluster()[:2])
    assert [each.name for each in found.members_without_host] == ["c"]
    assert found.degraded
    assert any("lacks a host for c" in warning for warning in found.warnings)


def test_elect_believes_a_voter_with_quorum_over_one_cut_off() -> None:
    stale = tuple(member(n, reachable=n == "c", follows_leader=False) for n in "abc")
    views = [*cluster()[:2], view("c", stale, has_quorum=False)]
    found = elect("prod", views)
    assert host(found) == "host-b"
    assert any("host-c" in reason and "no leader" in reason for reason in found.reasons)


def hashes(**given: str) -> list[HashEntry]:
    return [HashEntry(f"id-{name}", name, value, 100, 5) for name, value in given.items()]


def test_elect_with_hashes_takes_who_agrees() -> None:
    found = elect("prod", cluster(), agreement=agree(hashes(b="11", c="11"), required=2))
    assert host(found) == "host-b"


def test_elect_with_hashes_refuses_where_they_differ() -> None:
    agreement = agree(hashes(a="11", b="22", c="11"), required=2)
    found = elect("prod", cluster(), agreement=agreement)
    assert found.refusal is Refusal.HASH_DIFFERENT
    assert "Not to be trusted: b." in found.message
    assert "b has 22" in found.message


def test_elect_with_hashes_prefers_who_was_hashed() -> None:
    # b's host is silent; the leader was not asked because b and c agreed.
    views = [each for each in cluster("abc") if each.host != "host-b"]
    found = elect("prod", views, agreement=agree(hashes(b="11", c="11"), required=2))
    assert host(found) == "host-c"
    only_leader = [each for each in cluster("abc") if each.host == "host-a"]
    found = elect("prod", only_leader, agreement=agree(hashes(b="11", c="11"), required=2))
    assert host(found) == "host-a"
    assert any("its hash was not asked for" in reason for reason in found.reasons)


def test_elect_with_hashes_that_do_not_compare_goes_on() -> None:
    found = elect("prod", cluster(), agreement=agree([], required=2))
    assert host(found) == "host-b"


def test_elect_warns_of_alarms_and_of_members_that_nobody_reaches() -> None:
    found = elect("prod", cluster("abc", a={"alarms": ("NOSPACE",)}, c={"reachable": False})[:2])
    text = "\n".join(found.warnings)
    assert "Member a of cluster prod raised alarm NOSPACE" in text
    assert "No host of cluster prod reaches member c" in text
