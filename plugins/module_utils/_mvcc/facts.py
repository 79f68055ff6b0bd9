# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the small buckets say: compaction, consistency, versions, members, leases, alarms, auth.

Names of buckets and keys: etcd server/storage/schema/{schema,bucket}.go (3.4: mvcc/backend, lease).
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import DatabaseInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._protobuf import WireError, fields

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Bucket

__all__ = ["SMALL_BUCKETS", "Alarm", "Facts", "Member", "read_facts"]

SMALL_BUCKETS = (b"alarm", b"auth", b"cluster", b"members", b"meta")
# etcd keeps a few kilobytes there; a hostile file must not fill memory.
_MAX_SIZE = 16 << 20
_ALARM_NAMES = {0: "NONE", 1: "NOSPACE", 2: "CORRUPT"}


@dataclass(frozen=True)
class Member:
    """A member as the snapshot's members bucket has it; `id` is lower-case hex."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool


@dataclass(frozen=True)
class Alarm:
    """An active alarm."""

    member_id: str
    alarm: str


@dataclass(frozen=True)
class Facts:
    """The small buckets' content; -1 and None where etcd has not written it."""

    finished_compact_revision: int
    scheduled_compact_revision: int
    consistent_index: int
    term: int | None
    storage_version: str | None
    cluster_version: str | None
    members: tuple[Member, ...]
    alarms: tuple[Alarm, ...]
    auth_enabled: bool


def _bad(bucket: str, key: bytes, finding: str) -> DatabaseInvalid:
    return DatabaseInvalid(
        f"The etcd database is invalid: bucket {bucket}, key {key[:64]!r}: {finding}.",
        hint="The file is damaged: take or fetch it again, or use another one.",
    )


def _entries(bucket: Bucket | None, name: str) -> dict[bytes, bytes]:
    if bucket is None:
        return {}
    found = {}
    size = 0
    for leaf in bucket.leaves():
        for a, b, c in zip(leaf.key_starts, leaf.value_starts, leaf.ends):
            size += c - a + 100
            if size > _MAX_SIZE:
                raise _bad(name, leaf.source[a:b], f"the bucket holds more than {_MAX_SIZE} bytes")
            found[leaf.source[a:b]] = leaf.source[b:c]
    return found


def _revision(entries: dict[bytes, bytes], key: bytes) -> int:
    """Read a compaction mark: 17 bytes, big-endian main first (mvcc/util.go)."""
    value = entries.get(key)
    if value is None:
        return -1
    if len(value) not in (17, 18) or value[8:9] != b"_":
        raise _bad("meta", key, f"is {value[:32].hex()}, expected a revision of 17 bytes")
    return int.from_bytes(value[:8], "big", signed=True)


def _number(entries: dict[bytes, bytes], key: bytes) -> int | None:
    value = entries.get(key)
    if value is None:
        return None
    if len(value) != 8:
        raise _bad("meta", key, f"is {value[:32].hex()}, expected 8 bytes")
    return int.from_bytes(value, "big")


def _text(entries: dict[bytes, bytes], key: bytes) -> str | None:
    value = entries.get(key)
    return None if value is None else value[:64].decode("utf-8", "replace")


def _shown(text: t.Any) -> str:
    """Return text that can be printed: JSON may hold halves of surrogates."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def _member(key: bytes, value: bytes) -> Member:
    try:
        number = int(key, 16)
        data = json.loads(value, parse_int=float)
        raft = data.get("peerURLs") or []
        clients = data.get("clientURLs") or []
        return Member(
            id=f"{number:x}",
            name=_shown(data.get("name") or ""),
            peer_urls=tuple(_shown(url) for url in raft),
            client_urls=tuple(_shown(url) for url in clients),
            learner=bool(data.get("isLearner", False)),
        )
    except (ValueError, TypeError, AttributeError, RecursionError) as exc:
        raise _bad(
            "members", key, f"is not a member's ID with its JSON ({type(exc).__name__})"
        ) from exc


def _alarm(key: bytes) -> Alarm:
    """Read an AlarmMember, which etcd keeps as the key: memberID=1, alarm=2."""
    try:
        found = dict(fields(key))
    except WireError as exc:
        raise _bad("alarm", key, f"is not an AlarmMember: {exc}") from exc
    member_id, alarm = found.get(1, 0), found.get(2, 0)
    if not isinstance(member_id, int) or not isinstance(alarm, int):
        raise _bad("alarm", key, "is not an AlarmMember: its fields are not numbers")
    return Alarm(member_id=f"{member_id:x}", alarm=_ALARM_NAMES.get(alarm, str(alarm)))


def read_facts(buckets: dict[bytes, Bucket]) -> Facts:
    """Read the small buckets."""
    meta = _entries(buckets.get(b"meta"), "meta")
    cluster = _entries(buckets.get(b"cluster"), "cluster")
    auth = _entries(buckets.get(b"auth"), "auth")
    return Facts(
        finished_compact_revision=_revision(meta, b"finishedCompactRev"),
        scheduled_compact_revision=_revision(meta, b"scheduledCompactRev"),
        consistent_index=_number(meta, b"consistent_index") or 0,
        term=_number(meta, b"term"),
        storage_version=_text(meta, b"storageVersion"),
        cluster_version=_text(cluster, b"clusterVersion"),
        members=tuple(
            _member(key, value)
            for key, value in _entries(buckets.get(b"members"), "members").items()
        ),
        alarms=tuple(_alarm(key) for key in _entries(buckets.get(b"alarm"), "alarm")),
        auth_enabled=auth.get(b"authEnabled") == b"\x01",
    )
