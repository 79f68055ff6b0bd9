# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a restore must know of a snapshot, read from the snapshot itself."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
    Catalogue,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import read_image

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.opened import Opened

__all__ = ["Image", "look_into"]


@dataclasses.dataclass(frozen=True)
class Image:
    """A snapshot whose structure holds.

    :param trailer: passed, absent or failed, as `Opened` has it.
    :param trailer_bytes: what stands behind the image.
    :param revision: that of its last row, which etcd's tool raises.
    :param read_seconds: how long reading all of it took.
    """

    where: str
    size_bytes: int
    sha256: str
    trailer: str
    trailer_bytes: int
    revision: int
    key_count: int
    cluster_version: str | None
    storage_version: str | None
    member_ids: tuple[str, ...]
    alarms: tuple[str, ...]
    kube_system_uid: str | None
    object_count: int
    read_seconds: float


def look_into(opened: Opened, *, etcd_prefix: str) -> Image:
    """Prove the structure of a snapshot and read what matters of it.

    :raises DatabaseInvalid: it breaks bbolt's format or etcd's.
    :raises SnapshotInvalid: its file was changed meanwhile.
    """
    started = _time.monotonic()
    catalogue = Catalogue(etcd_prefix)
    summary = read_image(opened.database, visit_batch=catalogue.visit_batch)
    opened.check_unchanged()
    return Image(
        where=opened.where,
        size_bytes=opened.database.size_bytes,
        sha256=opened.sha256,
        trailer=opened.trailer,
        trailer_bytes=opened.clear_size_bytes - opened.database.size_bytes,
        revision=summary.revision,
        key_count=summary.key_count,
        cluster_version=summary.cluster_version,
        storage_version=summary.storage_version,
        member_ids=tuple(each.id for each in summary.members),
        alarms=tuple(f"{each.alarm} on {each.member_id}" for each in summary.alarms),
        kube_system_uid=catalogue.kube_system_uid,
        object_count=catalogue.object_count,
        read_seconds=_time.monotonic() - started,
    )
