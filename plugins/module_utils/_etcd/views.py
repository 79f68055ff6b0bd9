# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What each host of a cluster reported, read from etcd_info's results, whole or failed or missing."""

from __future__ import annotations

import dataclasses
import enum
import typing as t
import urllib.parse

__all__ = ["HostState", "HostView", "MemberView"]


class HostState(str, enum.Enum):
    """What became of asking a host."""

    GOOD = "good"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    NO_MEMBER = "no_member"
    """The host was looked at, and holds no etcd member."""
    NOT_ASKED = "not_asked"
    """--limit left it out of the play."""


@dataclasses.dataclass(frozen=True)
class MemberView:
    """A member as one host saw it."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    is_learner: bool
    is_leader: bool
    reachable: bool
    follows_leader: bool
    revision: int | None
    raft_term: int
    round_trip_ms: float | None
    alarms: tuple[str, ...]

    @classmethod
    def from_dict(cls, entry: t.Mapping[str, t.Any]) -> MemberView:
        """Read an entry of etcd_info's `members`."""
        return cls(
            id=entry["id"],
            name=entry.get("name") or "",
            peer_urls=tuple(entry.get("peer_urls") or ()),
            is_learner=bool(entry.get("is_learner")),
            is_leader=bool(entry.get("is_leader")),
            reachable=bool(entry.get("reachable")),
            follows_leader=bool(entry.get("leader")),
            revision=entry.get("revision"),
            raft_term=entry.get("raft_term") or 0,
            round_trip_ms=entry.get("round_trip_ms"),
            alarms=tuple(entry.get("alarms") or ()),
        )

    @property
    def label(self) -> str:
        """Its name, its ID where it has none."""
        return self.name or self.id

    @property
    def peer_hosts(self) -> tuple[str, ...]:
        """The hosts in its peer URLs."""
        hosts = (urllib.parse.urlsplit(url).hostname for url in self.peer_urls)
        return tuple(host for host in hosts if host)


@dataclasses.dataclass(frozen=True)
class HostView:
    """One host's report."""

    host: str
    address: str
    """The address that Ansible uses for it, else its name."""
    state: HostState
    reason: str = ""
    cluster_id: str = ""
    local_id: str = ""
    local_is_learner: bool = False
    has_quorum: bool = False
    members: tuple[MemberView, ...] = ()

    @classmethod
    def from_result(
        cls, host: str, result: object, *, address: str | None = None, asked: bool = True
    ) -> HostView:
        """Read a host's registered result; None or an incomplete one is a state, not an error."""
        where = address or host
        if not asked:
            return cls(host, where, HostState.NOT_ASKED, "--limit left it out of this run")
        if not isinstance(result, t.Mapping):
            return cls(host, where, HostState.UNREACHABLE, "it returned nothing")
        message = str(result.get("msg") or "")
        if result.get("unreachable"):
            return cls(host, where, HostState.UNREACHABLE, message or "unreachable")
        if "cluster_id" not in result or "members" not in result:
            error = result.get("error")
            error = error if isinstance(error, t.Mapping) else {}
            nothing_here = error.get("kind") == "layout" and not error.get("path")
            state = HostState.NO_MEMBER if nothing_here else HostState.FAILED
            return cls(host, where, state, message or "its etcd_info has no result")
        return cls(
            host=host,
            address=where,
            state=HostState.GOOD,
            cluster_id=result["cluster_id"],
            local_id=result["local_member"]["id"],
            local_is_learner=bool(result["local_member"]["is_learner"]),
            has_quorum=bool(result["quorum"]["has_quorum"]),
            members=tuple(MemberView.from_dict(entry) for entry in result["members"]),
        )

    @property
    def local(self) -> MemberView | None:
        """Its own member, as it saw it."""
        return next((member for member in self.members if member.id == self.local_id), None)
