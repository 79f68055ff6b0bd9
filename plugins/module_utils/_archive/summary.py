# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the modules return of an entry: small enough for an event, whatever the cluster's size."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive.completeness import judge

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.entries import Entry

__all__ = ["FIRST", "summary"]

# So many of a list are told of each entry, beside their count.
FIRST = 20


def summary(entry: Entry) -> dict[str, t.Any]:
    """Return an entry as JSON; what its manifest would tell is null where it can't be read."""
    found = entry.manifest
    result: dict[str, t.Any] = {
        "id": entry.id,
        "etcd_cluster": entry.prefix.cluster,
        "etcd_instance": entry.prefix.instance,
        "trust": entry.trust.value,
        "reason": entry.reason,
        "verified": entry.verified,
    }
    if found is None:
        return {**result, **dict.fromkeys(_OF_MANIFEST)}
    verdict = judge(found)
    told = {
        "created_at": found.created_at,
        "mode": found.mode,
        "collection_version": found.collection_version,
        "cluster_id": found.cluster.cluster_id,
        "kube_system_uid": found.cluster.identity.kube_system_uid,
        "etcd_version": found.etcd.server_version,
        "kubernetes_version": found.kubernetes.version,
        "revision": found.snapshot.revision,
        "key_count": found.snapshot.key_count,
        "object_count": found.kubernetes.object_count,
        "db_size_bytes": found.snapshot.db_size_bytes,
        "sha256": found.snapshot.sha256,
        "source_member": found.snapshot.source_member.name,
        "source_host": found.snapshot.source_host,
        "member_count": len(found.cluster.members),
        "completeness": verdict.completeness.value,
        "lack_count": len(verdict.lacks),
        "lacks": [lack.as_dict() for lack in verdict.lacks[:FIRST]],
        "kit_hosts": [kit.host for kit in found.kit],
        "members_without_kit": list(found.members_without_kit),
        "members_without_host": list(found.cluster.members_without_host),
        "missing_hosts": list(found.cluster.missing_hosts),
        "sealed": found.sealed,
        "size_bytes": found.size_bytes,
        "file_count": len(found.files),
        "checks": [dataclasses.asdict(check) for check in found.checks],
        "warnings": list(found.warnings),
    }
    if list(told) != list(_OF_MANIFEST):
        raise AssertionError("_OF_MANIFEST and what a manifest tells have drifted apart")
    return {**result, **told}


_OF_MANIFEST = (
    "created_at",
    "mode",
    "collection_version",
    "cluster_id",
    "kube_system_uid",
    "etcd_version",
    "kubernetes_version",
    "revision",
    "key_count",
    "object_count",
    "db_size_bytes",
    "sha256",
    "source_member",
    "source_host",
    "member_count",
    "completeness",
    "lack_count",
    "lacks",
    "kit_hosts",
    "members_without_kit",
    "members_without_host",
    "missing_hosts",
    "sealed",
    "size_bytes",
    "file_count",
    "checks",
    "warnings",
)
