# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A whole cluster as one host sees it: every member asked at once, none of them waited for long."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EndpointError,
    EndpointTimeout,
    EndpointUnreachable,
    NoQuorum,
    NotEtcd,
)

from .client import Client
from .connection import Connection
from .wire import Alarm, HashKv, Member, Status

__all__ = ["HashAnswer", "MemberReport", "Survey", "hash_members", "survey"]

_T = t.TypeVar("_T")
_MOST_AT_ONCE = 16


@dataclasses.dataclass(frozen=True)
class MemberReport:
    """What one member said, or why it said nothing."""

    member: Member
    endpoint: str | None
    """The client URL that answered."""
    status: Status | None
    round_trip_ms: float | None
    error: EndpointError | None

    @property
    def healthy(self) -> bool:
        """Tell whether it is a voter that answers and has a leader."""
        return (
            not self.member.is_learner
            and self.status is not None
            and self.status.leader is not None
        )


@dataclasses.dataclass(frozen=True)
class Survey:
    """A cluster as one of its members, and the others, describe it."""

    cluster_id: str
    local_id: str
    local_endpoint: str
    members: tuple[MemberReport, ...]
    leader: str | None
    revision: int
    has_quorum: bool
    no_quorum_reason: str | None
    warnings: tuple[str, ...]

    @property
    def voters(self) -> tuple[MemberReport, ...]:
        """The members that count for the quorum."""
        return tuple(report for report in self.members if not report.member.is_learner)

    @property
    def required(self) -> int:
        """How many voters make a majority."""
        return len(self.voters) // 2 + 1

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Every alarm that any member knows of."""
        known = {alarm for each in self.members if each.status for alarm in each.status.alarms}
        return tuple(sorted(known, key=lambda alarm: (alarm.member_id, alarm.alarm)))


@dataclasses.dataclass(frozen=True)
class HashAnswer:
    """One member's HashKV, or why there is none."""

    member: Member
    endpoint: str | None
    answer: HashKv | None
    error: EndpointError | None


def survey(connection: Connection) -> Survey:
    """Ask the first endpoint that answers, then every member at the URLs that it names.

    :raises EndpointError: no endpoint can be used; the first one's error.
    """
    errors: list[EndpointError] = []
    for endpoint in connection.asked:
        try:
            return _survey(connection, endpoint)
        except EndpointError as exc:
            errors.append(exc)
    if len(errors) > 1:
        others = "; ".join(error.message for error in errors[1:])
        errors[0].hint = f"{errors[0].hint} The other endpoints failed too: {others}".strip()
    first = errors[0]
    raise type(first)(
        first.message, hint=first.hint, endpoint=first.endpoint, path=first.path
    ) from first


def _survey(connection: Connection, endpoint: str) -> Survey:
    warnings: list[str] = []
    with Client(connection, endpoint) as client:
        client.status()
        local, milliseconds = _timed(client.status)
        if local.is_learner:
            # A learner serves no member list and no linearizable read.
            me = Member(local.member_id, "", (), (endpoint,), is_learner=True)
            members: tuple[Member, ...] = (me,)
            warnings.append(
                f"etcd {endpoint} is a learner (member {local.member_id}): it tells nothing of "
                "the other members."
            )
            quorum, why = local.leader is not None, None
        else:
            members = client.members()
            quorum, why = _has_quorum(client, local)
    others = [member for member in members if member.id != local.member_id]
    asked = _at_once(lambda member: _ask(connection, member, local.cluster_id), others)
    reports = {report.member.id: report for report in asked}
    for member in members:
        if member.id == local.member_id:
            reports[member.id] = MemberReport(member, endpoint, local, milliseconds, None)
    found = tuple(sorted(reports.values(), key=lambda each: (each.member.name, each.member.id)))
    statuses = [report.status for report in found if report.status]
    newest = max((each for each in statuses if each.leader), key=_term, default=None)
    return Survey(
        cluster_id=local.cluster_id,
        local_id=local.member_id,
        local_endpoint=endpoint,
        members=found,
        leader=newest.leader if newest else None,
        revision=local.revision,
        has_quorum=quorum,
        no_quorum_reason=why,
        warnings=tuple(warnings),
    )


def _term(status: Status) -> int:
    return status.raft_term


def _has_quorum(client: Client, local: Status) -> tuple[bool, str | None]:
    """Do a linearizable read, which only a majority can answer."""
    if local.leader is None:
        return False, f"member {local.member_id} has no leader"
    try:
        client.linearizable_revision()
    except NoQuorum as exc:
        return False, exc.message
    return True, None


def _ask(connection: Connection, member: Member, cluster_id: str) -> MemberReport:
    """Ask one member for its status, at each of its client URLs until one answers."""
    error: EndpointError = EndpointUnreachable(
        f"Member {member.name or member.id} announces no client URL: it has never been started.",
        hint="Start it, or remove it from the cluster.",
    )
    for url in member.client_urls:
        try:
            with Client(connection, url) as client:
                client.status()
                status, milliseconds = _timed(client.status)
        except EndpointError as exc:
            error = exc
            continue
        if status.member_id == member.id and status.cluster_id == cluster_id:
            return MemberReport(member, url, status, milliseconds, None)
        error = NotEtcd(
            f"Another etcd answers at {url}: member {status.member_id} of cluster "
            f"{status.cluster_id}, not {member.id} ({member.name}) of cluster {cluster_id}.",
            hint="Correct that member's --advertise-client-urls.",
            endpoint=url,
        )
    return MemberReport(member, None, None, None, error)


def hash_members(
    connection: Connection, seen: Survey, *, revision: int, timeout: float
) -> tuple[HashAnswer, ...]:
    """Ask the voters for HashKV at `revision`, one after the other, followers first.

    The leader is asked only where the others alone give no majority of equal hashes: puts on a
    member wait while it hashes. Members that answered nothing before are not asked.
    """
    followers = [each for each in seen.voters if each.member.id != seen.leader]
    leader = [each for each in seen.voters if each.member.id == seen.leader]
    answers: list[HashAnswer] = []
    for report in followers + leader:
        if report in leader and _agreeing(answers) >= seen.required:
            continue
        answers.append(_hash(connection, report, revision, timeout))
    return tuple(answers)


def _agreeing(answers: t.Sequence[HashAnswer]) -> int:
    """Return how many members gave the hash that most of them gave."""
    seen: dict[tuple[int, int], int] = {}
    for each in answers:
        if each.answer:
            key = (each.answer.hash, each.answer.compact_revision)
            seen[key] = seen.get(key, 0) + 1
    return max(seen.values(), default=0)


def _hash(
    connection: Connection, report: MemberReport, revision: int, timeout: float
) -> HashAnswer:
    if report.endpoint is None:
        return HashAnswer(report.member, None, None, report.error)
    try:
        with Client(connection, report.endpoint) as client:
            answer = client.hash_kv(revision, timeout=timeout)
    except EndpointTimeout as exc:
        mended = EndpointTimeout(
            exc.message, hint="hash_timeout sets the limit.", endpoint=exc.endpoint
        )
        return HashAnswer(report.member, report.endpoint, None, mended)
    except EndpointError as exc:
        return HashAnswer(report.member, report.endpoint, None, exc)
    return HashAnswer(report.member, report.endpoint, answer, None)


def _timed(ask: t.Callable[[], _T]) -> tuple[_T, float]:
    """Return what `ask` returns and the milliseconds that it took."""
    start = _time.monotonic()
    answer = ask()
    return answer, round((_time.monotonic() - start) * 1000, 3)


def _at_once(
    ask: t.Callable[[Member], MemberReport], members: t.Sequence[Member]
) -> list[MemberReport]:
    if not members:
        return []
    with concurrent.futures.ThreadPoolExecutor(min(len(members), _MOST_AT_ONCE)) as pool:
        return list(pool.map(ask, members))
