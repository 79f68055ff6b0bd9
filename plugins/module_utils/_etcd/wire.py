# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What etcd's answers say, as values.

Fields newer than etcd 3.4 are unknown to the stubs and are read by their numbers, which stand in
etcd's api/etcdserverpb/rpc.proto.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps
from ansible_collections.controlplane.etcd.plugins.module_utils._protobuf import spans, varint

__all__ = ["Alarm", "HashKv", "Member", "Piece", "Status", "member_id", "unknown_fields"]

_ALARM = re.compile(r"^\s*(?:memberID:(\d+)\s+)?alarm:(\w+)\s*$")


def member_id(number: int) -> str:
    """Write a 64-bit ID as etcdctl prints it."""
    return f"{number:x}"


@dataclasses.dataclass(frozen=True)
class Alarm:
    """An alarm that is raised, and the member that raised it."""

    member_id: str
    alarm: str


@dataclasses.dataclass(frozen=True)
class Member:
    """A member as the member list has it."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool

    @classmethod
    def from_message(cls, message: t.Any) -> Member:
        """Read an etcdserverpb.Member."""
        learner = unknown_fields(message).get(5, [0])[-1]  # Member.isLearner
        return cls(
            id=member_id(message.ID),
            name=message.name,
            peer_urls=tuple(message.peerURLs),
            client_urls=tuple(message.clientURLs),
            is_learner=bool(learner),
        )


@dataclasses.dataclass(frozen=True)
class Status:
    """One member's own state."""

    cluster_id: str
    member_id: str
    version: str
    storage_version: str | None
    db_size_bytes: int
    db_size_in_use_bytes: int | None
    quota_bytes: int | None
    leader: str | None
    revision: int
    raft_term: int
    raft_index: int
    raft_applied_index: int | None
    is_learner: bool
    alarms: tuple[Alarm, ...]
    errors: tuple[str, ...]

    @classmethod
    def from_message(cls, message: t.Any) -> Status:
        """Read an etcdserverpb.StatusResponse."""
        newer = unknown_fields(message)
        texts = [entry.decode("utf-8", "replace") for entry in newer.get(8, [])]
        alarms = [match for match in map(_ALARM.match, texts) if match]
        return cls(
            cluster_id=member_id(message.header.cluster_id),
            member_id=member_id(message.header.member_id),
            version=message.version,
            storage_version=newer.get(11, [b""])[-1].decode() or None,
            db_size_bytes=message.dbSize,
            db_size_in_use_bytes=newer.get(9, [None])[-1],
            quota_bytes=newer.get(12, [None])[-1],
            leader=member_id(message.leader) if message.leader else None,
            revision=message.header.revision,
            raft_term=message.raftTerm,
            raft_index=message.raftIndex,
            raft_applied_index=newer.get(7, [None])[-1],
            is_learner=bool(newer.get(10, [0])[-1]),
            alarms=tuple(Alarm(member_id(int(m.group(1) or 0)), m.group(2)) for m in alarms),
            errors=tuple(text for text in texts if not _ALARM.match(text)),
        )


@dataclasses.dataclass(frozen=True)
class HashKv:
    """A member's hash of its key space up to `hash_revision`."""

    member_id: str
    hash: int
    hash_revision: int
    compact_revision: int

    @property
    def hash_hex(self) -> str:
        """The hash as eight lower-case hex digits."""
        return f"{self.hash:08x}"


class Piece(t.NamedTuple):
    """A piece of a snapshot stream.

    A stream has tens of thousands, and the stubs, in pure Python, take long for each.
    """

    remaining_bytes: int
    blob: memoryview
    version: str

    @classmethod
    def from_bytes(cls, message: bytes) -> Piece:
        """Read an etcdserverpb.SnapshotResponse as it is on the wire.

        :raises WireError: it is none.
        """
        remaining, blob, version = 0, memoryview(b""), ""
        for number, wire_type, start, end in spans(message):
            if (number, wire_type) == (2, 0):
                remaining = varint(message, start)[0]
            elif (number, wire_type) == (3, 2):
                blob = memoryview(message)[start:end]
            elif (number, wire_type) == (4, 2):  # since etcd 3.6
                version = message[start:end].decode("utf-8", "replace")
        return cls(remaining, blob, version)


def unknown_fields(message: t.Any) -> dict[int, list[t.Any]]:
    """Return the fields that the stubs don't know: number -> values in their order."""
    fields = _deps.load("google.protobuf.unknown_fields").UnknownFieldSet(message)
    found: dict[int, list[t.Any]] = {}
    for field in fields:
        found.setdefault(field.field_number, []).append(field.data)
    return found
