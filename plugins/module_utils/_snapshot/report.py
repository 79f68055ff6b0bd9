# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the module tells of a snapshot: small enough for an event, whatever the cluster's size."""

from __future__ import annotations

import dataclasses
import typing as t
from collections import Counter

from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
    IDENTITY,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._text import shown

from .record import image_fields, member_fields

if t.TYPE_CHECKING:
    from .inspect import Inspection
    from .listed import Lists
    from .opened import Opened

__all__ = ["report"]

# A thousand resources.
_MOST_RESOURCES_BYTES = 64 << 10
# Of members, alarms and encryption keys; a cluster has some.
_MOST_BYTES = 16 << 10


def report(opened: Opened, found: Inspection, lists: Lists) -> dict[str, t.Any]:
    """Return what was found as return values."""
    summary, counts = found.summary, found.catalogue
    resources, secrets, encrypted = map(_named, (counts.counts, counts.secrets, counts.encrypted))
    members = [_member(fields) for fields in member_fields(summary)]
    alarms = [f"{alarm.alarm} on {shown(alarm.member_id)}" for alarm in summary.alarms]
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
            "cluster_version": summary.cluster_version and shown(summary.cluster_version),
            "storage_version": summary.storage_version and shown(summary.storage_version),
        },
        "member_count": len(summary.members),
        "members": lists.most("members", members, _MOST_BYTES),
        "alarm_count": len(summary.alarms),
        "alarms": lists.most("alarms", alarms, _MOST_BYTES),
        "kubernetes": {
            "etcd_prefix": found.etcd_prefix,
            "object_count": counts.object_count,
            "other_key_count": counts.other_key_count,
            "resource_count": len(resources),
            "resources": lists.highest("resources", resources, _MOST_RESOURCES_BYTES),
            "secrets": lists.highest("secrets", secrets, _MOST_BYTES, always={IDENTITY}),
            "encryption_key_count": len(encrypted),
            "encrypted": lists.highest("encrypted", encrypted, _MOST_BYTES),
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
        changed = found.difference["resources"]
        told["difference"] = {
            **found.difference,
            "resource_count": len(changed),
            "resources": lists.highest(
                "difference_resources", changed, _MOST_RESOURCES_BYTES, rank=_total
            ),
        }
    return told


def _named(figures: t.Mapping[str, int]) -> dict[str, int]:
    """Return figures under names that can be shown; names that look alike then are added up."""
    totals: Counter[str] = Counter()
    for name, figure in figures.items():
        totals[shown(name)] += figure
    return dict(totals)


def _total(counts: t.Mapping[str, int]) -> int:
    return sum(counts.values())


def _member(fields: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        **fields,
        "id": shown(fields["id"]),
        "name": shown(fields["name"]),
        "peer_urls": [shown(url) for url in fields["peer_urls"]],
        "client_urls": [shown(url) for url in fields["client_urls"]],
    }
