# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A snapshot of a live member: who it is, what room there is, one run at a time."""

from __future__ import annotations

import dataclasses
import os

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import SpaceMissing
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.client import Client
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.connection import Connection
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.wire import Member, Status
from ansible_collections.controlplane.etcd.plugins.module_utils._node.locks import host_lock
from ansible_collections.controlplane.etcd.plugins.module_utils._node.memory import available_bytes
from ansible_collections.controlplane.etcd.plugins.module_utils._node.space import (
    FileSystem,
    file_system,
)

from .make import Made, make_snapshot
from .make import Wish as MakeWish
from .space import SpacePlan, fits_in_cache, plan_space
from .verify import Expected

__all__ = ["Agreed", "Limits", "Places", "Source", "Taken", "Wish", "folder", "look", "take"]


@dataclasses.dataclass(frozen=True)
class Source:
    """The member that the snapshot comes from, as it describes itself."""

    endpoint: str
    status: Status
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """The member's name, empty if its own list lacks it."""
        return next((m.name for m in self.members if m.id == self.status.member_id), "")


@dataclasses.dataclass(frozen=True)
class Places:
    """Where spool and sealed files go, and where the member's own data lies if on this host."""

    spool_dir: str
    dest_dir: str
    data_dir: str | None


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds."""

    stream_idle: float
    stream: float
    lock: float


@dataclasses.dataclass(frozen=True)
class Agreed:
    """The HashKV on which the members agree, and at which revisions."""

    hash_revision: int | None
    hash_compact_revision: int | None
    hash_kv: int | None


@dataclasses.dataclass(frozen=True)
class Wish:
    """What snapshot is wanted; `emergency` means without quorum, and without its confirmation."""

    agreed: Agreed
    limits: Limits
    recipients: tuple[str, ...]
    etcd_prefix: str
    kubernetes_version: str | None
    emergency: bool


@dataclasses.dataclass(frozen=True)
class Taken:
    """A snapshot, and what the cluster had confirmed before it."""

    made: Made
    storage_version: str | None
    linearizable_revision: int | None


def look(connection: Connection, places: Places) -> tuple[Source, SpacePlan]:
    """Find the source and check that there is room; changes nothing.

    :raises EndpointError: the member can't be used.
    :raises SpaceMissing: there is no room, or no such folder.
    """
    with Client(connection, connection.asked[0]) as client:
        source = Source(client.endpoint, client.status(), client.members())
    spool, dest = (folder(p) for p in (places.spool_dir, places.dest_dir))
    etcd = file_system(places.data_dir) if places.data_dir else None
    return source, plan_space(source.status.db_size_bytes, spool=spool, dest=dest, etcd=etcd)


def take(connection: Connection, source: Source, places: Places, wish: Wish) -> Taken:
    """Take the snapshot; one at a time for this member.

    :raises Locked: another run takes one of the same member.
    :raises NoQuorum: no majority confirms a revision, and it is no emergency.
    """
    status, agreed, limits = source.status, wish.agreed, wish.limits
    name = f"snapshot-{status.cluster_id}-{status.member_id}"
    with host_lock(name, limits.lock), Client(connection, source.endpoint) as client:
        confirmed = None if wish.emergency else client.linearizable_revision()
        make = MakeWish(
            expected=Expected(
                source=source.endpoint,
                server_version=status.version,
                revision=confirmed,
                hash_revision=agreed.hash_revision,
                hash_compact_revision=agreed.hash_compact_revision,
                hash_kv=agreed.hash_kv,
            ),
            spool_dir=places.spool_dir,
            dest_dir=places.dest_dir,
            recipients=wish.recipients,
            etcd_prefix=wish.etcd_prefix,
            keep_cached=fits_in_cache(status.db_size_bytes, available_bytes=available_bytes()),
        )
        stream = client.snapshot(idle_timeout=limits.stream_idle, deadline=limits.stream)
        made = make_snapshot(stream, make)
    storage = stream.storage_version or status.storage_version or None
    return Taken(made=made, storage_version=storage, linearizable_revision=confirmed)


def folder(path: str) -> FileSystem:
    """Return the file system of a folder that this user can write in.

    :raises SpaceMissing: it can't, or there is none.
    """
    if not os.path.isdir(path):
        raise SpaceMissing(
            f"Folder {path} does not exist on this host.",
            hint="Make it, or name another one.",
            path=path,
        )
    if not os.access(path, os.W_OK | os.X_OK):
        raise SpaceMissing(
            f"Folder {path} cannot be written by user {os.geteuid()} on this host.",
            hint="Run the task with become, or name another folder.",
            path=path,
        )
    return dataclasses.replace(file_system(path), path=path)
