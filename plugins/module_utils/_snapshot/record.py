# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A snapshot's record: what the module returns and the manifest is made of."""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import ImageSummary

    from .live import Source, Taken, Wish
    from .space import SpacePlan

__all__ = ["image_fields", "member_fields", "planned", "record"]


def image_fields(summary: ImageSummary, db_size_bytes: int, sha256: str) -> dict[str, t.Any]:
    """Return an image's figures, named as in the manifest."""
    return {
        "revision": summary.current_revision,
        "compact_revision": summary.compact_revision,
        "hash_kv": f"{summary.hash_kv:08x}",
        "hash_revision": summary.hash_revision,
        "hash_compact_revision": summary.hash_compact_revision,
        "status_hash": f"{summary.status_hash:08x}",
        "db_size_bytes": db_size_bytes,
        "sha256": sha256,
        "key_count": summary.key_count,
        "entry_count": summary.entry_count,
        "consistent_index": summary.consistent_index,
        "term": summary.term,
        "lease_count": summary.lease_count,
        "auth_enabled": summary.auth_enabled,
    }


def member_fields(summary: ImageSummary) -> list[dict[str, t.Any]]:
    """Return the members that an image names, as in the manifest."""
    return [
        {
            "id": member.id,
            "name": member.name,
            "peer_urls": list(member.peer_urls),
            "client_urls": list(member.client_urls),
            "is_learner": member.learner,
        }
        for member in summary.members
    ]


def planned(source: Source, plan: SpacePlan, *, emergency: bool) -> dict[str, t.Any]:
    """Return what is known before anything is taken."""
    return {
        "plan": {
            "endpoint": source.endpoint,
            "member": {"id": source.status.member_id, "name": source.name},
            "db_size_bytes": source.status.db_size_bytes,
            **dataclasses.asdict(plan),
        },
        "cluster_id": source.status.cluster_id,
        "alarms": [f"{alarm.alarm} on {alarm.member_id}" for alarm in source.status.alarms],
        "mode": "emergency" if emergency else "regular",
    }


def record(source: Source, taken: Taken, wish: Wish) -> dict[str, t.Any]:
    """Return the record as the module's return values."""
    made, summary = taken.made, taken.made.verified.summary
    counts = made.catalogue
    return {
        "snapshot": {
            **image_fields(summary, made.spooled.image_bytes, made.spooled.sha256),
            "linearizable_revision": taken.linearizable_revision,
            "source_member": {"id": source.status.member_id, "name": source.name},
        },
        "etcd": {
            "server_version": source.status.version,
            "cluster_version": summary.cluster_version,
            "storage_version": taken.storage_version,
        },
        "members": member_fields(summary),
        "kubernetes": {
            "version": wish.kubernetes_version,
            "etcd_prefix": wish.etcd_prefix,
            "object_count": counts.object_count,
            "resources": counts.counts,
            "secrets": counts.secrets,
            "encrypted": counts.encrypted,
            "kube_system_uid": counts.kube_system_uid,
        },
        "files": [dataclasses.asdict(file) for file in made.files],
        "checks": [dataclasses.asdict(check) for check in made.checks],
        "timing": {
            "stream_seconds": made.stream_seconds,
            "verify_seconds": made.verify_seconds,
            "seal_seconds": made.seal_seconds,
        },
    }
