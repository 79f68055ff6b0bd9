# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the module tells of a snapshot: small enough for an event, whatever the cluster's size."""

from __future__ import annotations

import dataclasses
import typing as t

from .record import image_fields, member_fields

if t.TYPE_CHECKING:
    from .inspect import Inspection
    from .listed import Lists
    from .opened import Opened

__all__ = ["report"]


def report(opened: Opened, found: Inspection, lists: Lists) -> dict[str, t.Any]:
    """Return what was found as return values."""
    summary, counts = found.summary, found.catalogue
    told: dict[str, t.Any] = {
        "file": {
            "path": opened.where,
            "size_bytes": opened.size_bytes,
            "clear_size_bytes": opened.clear_size_bytes,
            "sealed": opened.sealed,
            "compressed": opened.compressed,
            "entry": opened.manifest.id if opened.manifest else None,
        },
        "checks": [dataclasses.asdict(check) for check in found.checks],
        "snapshot": {
            **image_fields(summary, opened.database.size_bytes, opened.sha256),
            "status_revision": summary.revision,
        },
        "etcd": {
            "cluster_version": summary.cluster_version,
            "storage_version": summary.storage_version,
        },
        "members": member_fields(summary),
        "alarms": [f"{alarm.alarm} on {alarm.member_id}" for alarm in summary.alarms],
        "kubernetes": {
            "etcd_prefix": found.etcd_prefix,
            "object_count": counts.object_count,
            "other_key_count": counts.other_key_count,
            "resources": counts.counts,
            "secrets": counts.secrets,
            "encrypted": counts.encrypted,
            "kube_system_uid": counts.kube_system_uid,
            "namespace_count": len(counts.namespaces),
            "namespaces": lists.first("namespaces"),
        },
        "growth": {
            "largest": lists.first("largest"),
            "most_rewritten": lists.first("most_rewritten"),
            "most_history": lists.first("most_history"),
            "history_count": found.history_rows,
            "history_bytes": found.history_bytes,
        },
    }
    if found.query is not None:
        told["query_result"] = found.query.answer
        told["query_count"] = found.query.count
    if found.difference is not None:
        told["difference"] = found.difference
    return told
