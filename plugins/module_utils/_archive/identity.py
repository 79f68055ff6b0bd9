# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Which cluster a name of the archive belongs to: signed records, the newest trusted one counts."""

from __future__ import annotations

import dataclasses
import datetime as dt
import secrets
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    entries,
    schemas,
    store,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
    Lineage,
    read_fields,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import (
    Signers,
    Signing,
    TrustState,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    IdentityMismatch,
    ManifestInvalid,
    TrustError,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.names import Prefix

__all__ = ["Guarded", "IdentityRecord", "Seen", "guard", "known", "put"]

_FOLDER = "identity"


@dataclasses.dataclass(frozen=True)
class Seen:
    """The cluster that stands before us: its UID where it could be read, and its etcd ID."""

    kube_system_uid: str | None
    cluster_id: str

    def __str__(self) -> str:
        return f"kube-system UID {self.kube_system_uid or 'unknown'}, etcd cluster ID {self.cluster_id}"


@dataclasses.dataclass(frozen=True)
class IdentityRecord:
    """What the archive knows of the cluster under a name."""

    kube_system_uid: str | None
    lineage: tuple[Lineage, ...]

    def __str__(self) -> str:
        ids = ", ".join(line.cluster_id for line in self.lineage)
        return f"kube-system UID {self.kube_system_uid or 'unknown'}, etcd cluster ID(s) {ids}"


@dataclasses.dataclass(frozen=True)
class Guarded:
    """The identity after a match: `is_news` where the archive did not know all of it yet."""

    record: IdentityRecord
    is_news: bool
    warnings: tuple[str, ...]


def guard(
    before: IdentityRecord | None, seen: Seen, prefix: Prefix, *, entry: str, now: dt.datetime
) -> Guarded:
    """Compare the cluster with what its name stands for in the archive (None: a new name).

    The UID or any etcd cluster ID of the lineage is a match.

    :raises IdentityMismatch: neither matches.
    """
    line = Lineage(cluster_id=seen.cluster_id, seen_at=_time.rfc3339(now), entry=entry)
    if before is None:
        return Guarded(IdentityRecord(seen.kube_system_uid, (line,)), is_news=True, warnings=())
    same_uid = None
    if seen.kube_system_uid and before.kube_system_uid:
        same_uid = seen.kube_system_uid == before.kube_system_uid
    same_id = any(line.cluster_id == seen.cluster_id for line in before.lineage)
    if not same_uid and not same_id:
        raise IdentityMismatch(
            f"Archive name {prefix} belongs to another cluster: it knows {before}; this one has "
            f"{seen}.",
            hint="If this is another cluster, give it an etcd_cluster of its own. If the cluster "
            f"was built anew under its old name, move the folder {prefix} of the archive aside "
            "first: what it holds cannot be restored into the new one unseen.",
        )
    warnings = []
    if same_uid is False:
        warnings.append(
            f"Cluster {prefix} has the etcd cluster ID that the archive knows, but another "
            f"kube-system UID ({seen.kube_system_uid}; the archive knows "
            f"{before.kube_system_uid}): a cluster built anew on the same addresses looks like "
            f"this. If it was, move the folder {prefix} of the archive aside."
        )
    lineage = before.lineage if same_id else (*before.lineage, line)
    uid = before.kube_system_uid or seen.kube_system_uid
    record = IdentityRecord(uid, lineage)
    return Guarded(record, is_news=record != before, warnings=tuple(warnings))


def known(
    place: store.Store, prefix: Prefix, signers: Signers
) -> tuple[IdentityRecord | None, list[str]]:
    """Return what the archive knows of a name (None if nothing), and warnings.

    Where no identity record is left, the newest trusted entry tells.

    :raises TrustError: there are records or entries, and none of them can be trusted.
    """
    refused: list[str] = []
    listed = place.records(prefix, _FOLDER)
    for name in sorted((name for name in listed if name.endswith(".json")), reverse=True):
        data = place.read(prefix, f"{_FOLDER}/{name}") or b""
        state, reason = signers.check(data, place.read(prefix, f"{_FOLDER}/{name}.sig"))
        if state is TrustState.TRUSTED:
            try:
                found = _from_json(data, prefix, f"{place.location}/{prefix}/{_FOLDER}/{name}")
            except ManifestInvalid as exc:
                reason = str(exc)
            else:
                return found, [f"Not counted: {text}" for text in refused]
        refused.append(f"{prefix}/{_FOLDER}/{name} ({state.value}): {reason}")
    for entry in reversed(place.entries(prefix)):
        judged = entries.read_entry(place, prefix, entry, signers=signers, depth="signature")
        if judged.manifest and judged.trust in (
            TrustState.TRUSTED,
            TrustState.INCOMPLETE,
            TrustState.DAMAGED,
        ):  # its signature and place are right; its files do not matter here
            cluster = judged.manifest.cluster
            lineage = cluster.lineage or (Lineage(cluster.cluster_id, judged.manifest.created_at),)
            return IdentityRecord(cluster.identity.kube_system_uid, lineage), [
                f"Not counted: {text}" for text in refused
            ]
        if judged.trust is not TrustState.INCOMPLETE:
            refused.append(f"{prefix}/{entry} ({judged.trust.value}): {judged.reason}")
    if refused:
        raise TrustError(
            f"Archive name {prefix} is taken, but nothing in it is signed by an allowed signer: "
            f"{refused[0]}",
            hint="If the signing key was changed, add the old public key to etcd_allowed_signers. "
            "If somebody else uses this name, choose another etcd_cluster.",
        )
    return None, []


def put(
    place: store.Store,
    prefix: Prefix,
    record: IdentityRecord,
    *,
    signing: Signing,
    now: dt.datetime,
    collection_version: str,
) -> str:
    """Add a signed identity record; return its name below the prefix."""
    document = {
        "schema": schemas.IDENTITY,
        "must_understand": [],
        "created_at": _time.rfc3339(now),
        "collection_version": collection_version,
        "cluster": {"name": prefix.cluster, "instance": prefix.instance},
        **dataclasses.asdict(record),
    }
    stamp = now.astimezone(dt.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    name = f"{_FOLDER}/{stamp}-{secrets.token_hex(4)}.json"
    data = schemas.dump(document, schemas.IDENTITY_V1, name)
    place.put_record(prefix, f"{name}.sig", signing.sign(data))
    place.put_record(prefix, name, data)
    return name


def _from_json(data: bytes, prefix: Prefix, where: str) -> IdentityRecord:
    document = schemas.load(data, schemas.IDENTITY_V1, where)
    cluster = document["cluster"]
    if (cluster["name"], cluster["instance"]) != (prefix.cluster, prefix.instance):
        raise ManifestInvalid(
            f"{where} is the identity of cluster {cluster['name']} (instance "
            f"{cluster['instance']}), put under {prefix}.",
            path=where,
        )
    return read_fields(IdentityRecord, document)
