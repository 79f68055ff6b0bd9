# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Which member of a cluster is backed up, or why none may be. Pure."""

from __future__ import annotations

import dataclasses
import enum
import typing as t

from .agreement import Agreement, HashOutcome
from .views import HostState, HostView, MemberView

__all__ = ["Election", "Refusal", "elect"]


class Refusal(str, enum.Enum):
    """Why a cluster is refused: a stable name to branch on."""

    NO_HOSTS = "no_hosts"
    LIMIT = "limit"
    NO_ANSWER = "no_answer"
    SEVERAL_CLUSTERS = "several_clusters"
    SAME_MEMBER = "same_member"
    LEARNER_ONLY = "learner_only"
    NO_QUORUM = "no_quorum"
    HASH_DIFFERENT = "hash_different"
    CORRUPT = "corrupt"
    NO_CANDIDATE = "no_candidate"


@dataclasses.dataclass(frozen=True)
class Election:
    """The outcome: a source, or a refusal with message and hint; what was found, either way."""

    source: HostView | None = None
    refusal: Refusal | None = None
    message: str = ""
    hint: str = ""
    cluster_id: str = ""
    hash_revision: int | None = None
    hosts_by_member: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    members: tuple[MemberView, ...] = ()
    members_without_host: tuple[MemberView, ...] = ()
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    degraded: bool = False


class _Refused(Exception):
    """Ends an election that can't be won."""

    def __init__(self, refusal: Refusal, message: str, hint: str) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.message = message
        self.hint = hint


def elect(
    cluster: str, views: t.Sequence[HostView], *, agreement: Agreement | None = None
) -> Election:
    """Elect the source of `cluster`'s backup from what its hosts reported.

    Voters only; healthy, no CORRUPT alarm; not against the agreed hash; a follower before the
    leader; the lowest round-trip in whole milliseconds; ties by name. Without `agreement` the
    winner is who shall ask for the hashes.
    """
    good = [view for view in views if view.state is HostState.GOOD]
    found = Election()
    try:
        _check_hosts(cluster, views, good)
        found = _facts(cluster, views, good)
        _check_cluster(cluster, found, good, agreement)
        winner, reasons = _choose(cluster, found, good, agreement)
    except _Refused as exc:
        return dataclasses.replace(found, refusal=exc.refusal, message=exc.message, hint=exc.hint)
    return dataclasses.replace(found, source=winner, reasons=(*found.reasons, *reasons))


def _check_hosts(cluster: str, views: t.Sequence[HostView], good: t.Sequence[HostView]) -> None:
    if not views:
        raise _Refused(
            Refusal.NO_HOSTS,
            f"Cluster {cluster} has no host: no host of the inventory has etcd_cluster set to it.",
            "Set etcd_cluster on the group of its control-plane hosts.",
        )
    cut = [view.host for view in views if view.state is HostState.NOT_ASKED]
    if cut:
        raise _Refused(
            Refusal.LIMIT,
            f"Cluster {cluster} is refused: --limit leaves out {_list(cut)}, and nothing can be "
            "said of a cluster of which not every host was asked.",
            "Run it without --limit, or limit it to whole clusters.",
        )
    if not good:
        shown = "; ".join(f"{view.host}: {view.reason}" for view in views)
        raise _Refused(
            Refusal.NO_ANSWER,
            f"No host of cluster {cluster} gave an answer: {shown}",
            "Mend the first host's error; one host that answers is enough to go on.",
        )
    by_cluster: dict[str, list[str]] = {}
    for view in good:
        by_cluster.setdefault(view.cluster_id, []).append(view.host)
    if len(by_cluster) > 1:
        shown = "; ".join(f"{_list(hosts)} in {name}" for name, hosts in by_cluster.items())
        raise _Refused(
            Refusal.SEVERAL_CLUSTERS,
            f"Hosts of cluster {cluster} belong to {len(by_cluster)} etcd clusters: {shown}.",
            "Give each etcd cluster its own etcd_cluster, or its own etcd_instance if they serve "
            "one Kubernetes cluster.",
        )
    by_member: dict[str, list[str]] = {}
    for view in good:
        by_member.setdefault(view.local_id, []).append(view.host)
    for member, hosts in by_member.items():
        if len(hosts) > 1:
            raise _Refused(
                Refusal.SAME_MEMBER,
                f"Hosts {_list(hosts)} of cluster {cluster} all answer as member {member}.",
                "Leave one of them out, or let endpoints name each host's own member.",
            )


def _facts(cluster: str, views: t.Sequence[HostView], good: t.Sequence[HostView]) -> Election:
    """Put the reports together: members, who holds which, what is missing."""
    best = max(good, key=_standing)
    hosts_by_member = {view.local_id: view.host for view in good}
    silent = [view for view in views if view.state is not HostState.GOOD]
    missing: list[MemberView] = []
    for member in best.members:
        if member.id in hosts_by_member:
            continue
        host = next((view.host for view in silent if _may_hold(view, member)), None)
        if host:
            hosts_by_member[member.id] = host
        else:
            missing.append(member)
    warnings = [f"{view.host}: {view.reason}" for view in silent]
    if missing:
        names = _list([member.label for member in missing])
        warnings.append(f"The inventory of cluster {cluster} lacks a host for {names}.")
    down = [
        member
        for member in best.members
        if not member.reachable and not any(_sees(view, member.id) for view in good)
    ]
    if down:
        names = _list([member.label for member in down])
        warnings.append(f"No host of cluster {cluster} reaches member {names}.")
    alarms = {(m.label, alarm) for view in good for m in view.members for alarm in m.alarms}
    warnings += [
        f"Member {name} of cluster {cluster} raised alarm {alarm}."
        + (
            " Writes are refused until there is room and the alarm is disarmed; a backup still works."
            if alarm == "NOSPACE"
            else ""
        )
        for name, alarm in sorted(alarms)
    ]
    return Election(
        cluster_id=best.cluster_id,
        hash_revision=_lowest_revision(good),
        hosts_by_member=hosts_by_member,
        members=best.members,
        members_without_host=tuple(missing),
        warnings=tuple(warnings),
        degraded=bool(silent or missing or down),
    )


def _standing(view: HostView) -> tuple[bool, bool, int]:
    """Order reports by how much they know: a voter with a quorum, of the newest term."""
    term = max((member.raft_term for member in view.members), default=0)
    return not view.local_is_learner, view.has_quorum, term


def _may_hold(view: HostView, member: MemberView) -> bool:
    """Tell whether a host that said nothing is where this member lives, by its peer URL."""
    return view.address in member.peer_hosts or view.host in (member.name, *member.peer_hosts)


def _sees(view: HostView, member_id: str) -> bool:
    return any(each.id == member_id and each.reachable for each in view.members)


def _lowest_revision(good: t.Sequence[HostView]) -> int | None:
    revisions = [
        member.revision
        for view in good
        for member in view.members
        if member.revision is not None and not member.is_learner
    ]
    return min(revisions, default=None)


def _check_cluster(
    cluster: str, found: Election, good: t.Sequence[HostView], agreement: Agreement | None
) -> None:
    if all(view.local_is_learner for view in good):
        raise _Refused(
            Refusal.LEARNER_ONLY,
            f"Cluster {cluster}: only learners answered ({_list([v.host for v in good])}), which "
            "may lag behind and do not vote.",
            "Promote the learner (etcdctl member promote), or bring a voting member's host back.",
        )
    if not any(view.has_quorum for view in good):
        voters = [member for member in found.members if not member.is_learner]
        down = [member.label for member in voters if not member.reachable]
        raise _Refused(
            Refusal.NO_QUORUM,
            f"Cluster {cluster} has no quorum: {len(voters) - len(down)} of {len(voters)} voters "
            f"answer, {len(voters) // 2 + 1} are needed; missing: {_list(down) or 'a leader'}.",
            "Two ways on: bring one of the missing members back and run again; or, if that is not "
            "possible, take one survivor's state with etcd_snapshot and emergency: true.",
        )
    if agreement and agreement.outcome is HashOutcome.DIFFERENT:
        raise _Refused(
            Refusal.HASH_DIFFERENT,
            f"Members of cluster {cluster} hold different data: {'; '.join(agreement.reasons)}. "
            f"Not to be trusted: {_list(agreement.differing)}.",
            "Find out which member is right (etcdctl endpoint hashkv), then replace the wrong one: "
            "remove it, empty its data folder, add it again.",
        )


def _choose(
    cluster: str, found: Election, good: t.Sequence[HostView], agreement: Agreement | None
) -> tuple[HostView, tuple[str, ...]]:
    candidates: list[tuple[tuple[bool, bool, int, str, str], HostView, MemberView]] = []
    reasons: list[str] = []
    corrupt: list[str] = []
    agreeing = agreement.agreeing if agreement else ()
    alarmed = {m.id for view in good for m in view.members if "CORRUPT" in m.alarms}
    for view in sorted(good, key=lambda each: each.host):
        member = view.local
        if member is None or member.is_learner:
            reasons.append(f"{view.host}: not a voter")
        elif not view.has_quorum or not member.follows_leader:
            reasons.append(f"{view.host}: its member {member.label} has no leader")
        elif member.id in alarmed:
            reasons.append(f"{view.host}: its member {member.label} raised alarm CORRUPT")
            corrupt.append(member.label)
        else:
            unhashed = bool(agreeing) and member.id not in agreeing
            trip = round(member.round_trip_ms or 0)
            order = (unhashed, member.is_leader, trip, member.name, view.host)
            candidates.append((order, view, member))
    if not candidates:
        raise _Refused(
            Refusal.CORRUPT if corrupt else Refusal.NO_CANDIDATE,
            f"No member of cluster {cluster} may be backed up: {'; '.join(reasons)}.",
            "Replace the corrupt member from a good one, then disarm the alarm."
            if corrupt
            else "Bring a voting member's host back into the inventory and the play.",
        )
    (unhashed, is_leader, trip, _name, _host), view, member = min(candidates)
    why = "the leader, no follower can be used" if is_leader else "a follower"
    reasons.append(
        f"{view.host}: elected, member {member.label} is {why}, round trip {trip} ms, "
        f"{len(candidates)} could be used"
    )
    if unhashed:
        reasons.append(f"{view.host}: its hash was not asked for, the others agree without it")
    return view, tuple(reasons)


def _list(names: t.Iterable[str]) -> str:
    return ", ".join(names)
