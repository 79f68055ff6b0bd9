# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Merge what the hosts recorded into one manifest; pure."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
    Certificate,
    Check,
    Cluster,
    Encryption,
    EtcdVersions,
    File,
    Identity,
    Kit,
    KitEncryption,
    Kubernetes,
    Lineage,
    Manifest,
    Member,
    MemberLayout,
    Snapshot,
    SourceMember,
    Tool,
    WheelhouseFile,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.names import (
    Prefix,
    check_file_name,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import seal_warning
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    IdentityMismatch,
    ManifestInvalid,
)

__all__ = ["Records", "assemble", "file_claims"]

_Json = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Records:
    """The results of modules, as they returned them (what Ansible adds to them is ignored).

    `hosts` are {host, info} of every host of the cluster, with `address` where it is known; `kits`
    are {host, member_id, result}. `election` is what the filter elect returned.
    """

    snapshot: _Json
    info: _Json
    hosts: tuple[_Json, ...] = ()
    kits: tuple[_Json, ...] = ()
    missing_hosts: tuple[str, ...] = ()
    election: _Json = dataclasses.field(default_factory=dict)


def file_claims(records: Records) -> dict[str, list[File]]:
    """Return what the records claim of each file, by name; several kits may claim one name.

    :raises ManifestInvalid: a record lacks what a file needs.
    :raises OptionInvalid: a name would leave the entry's folder.
    """
    claims: dict[str, list[File]] = {}
    sources = [(None, "the snapshot", records.snapshot)]
    sources += [(kit["host"], f"the kit of {kit['host']}", kit["result"]) for kit in records.kits]
    for host, what, record in sources:
        for item in _need(record, "files", what):
            encryption = item.get("encryption") or {}
            file = File(
                name=check_file_name(_need(item, "name", what)),
                part=_need(item, "part", what),
                size_bytes=_need(item, "size_bytes", what),
                sha256=_need(item, "sha256", what),
                compression=item.get("compression") or "none",
                encryption=Encryption(
                    scheme=encryption.get("scheme") or "none",
                    recipients=tuple(encryption.get("recipients") or ()),
                ),
                host=host,
            )
            claims.setdefault(file.name, []).append(file)
    return claims


def assemble(
    records: Records,
    prefix: Prefix,
    *,
    entry: str,
    created_at: str,
    collection_version: str,
    files: tuple[File, ...],
    lineage: tuple[Lineage, ...],
    tools: tuple[Tool, ...] = (),
    wheelhouse: tuple[WheelhouseFile, ...] = (),
    checks: tuple[Check, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Manifest:
    """Build the manifest of an entry.

    :raises ManifestInvalid: a record lacks what a manifest needs.
    :raises IdentityMismatch: the records are not all of one etcd cluster.
    """
    record = records.snapshot
    snapshot, kubernetes, etcd = (
        _need(record, name, "the snapshot") for name in ("snapshot", "kubernetes", "etcd")
    )
    members = _members(records)
    source = _need(snapshot, "source_member", "the snapshot")
    kits = tuple(_kit(item, members) for item in records.kits)
    hosted = {member.id: member.host for member in members}
    return Manifest(
        id=entry,
        created_at=created_at,
        collection_version=collection_version,
        mode=record.get("mode") or "regular",
        cluster=Cluster(
            name=prefix.cluster,
            instance=prefix.instance,
            identity=Identity(kubernetes.get("kube_system_uid")),
            cluster_id=_need(record, "cluster_id", "the snapshot"),
            lineage=lineage,
            members=members,
            missing_hosts=tuple(sorted(records.missing_hosts)),
            members_without_host=tuple(
                member.name or member.id for member in members if not member.host
            ),
        ),
        etcd=EtcdVersions(
            server_version=_need(etcd, "server_version", "the snapshot"),
            cluster_version=etcd.get("cluster_version"),
            storage_version=etcd.get("storage_version"),
            alarms=_texts(record.get("alarms")),
        ),
        kubernetes=Kubernetes(
            object_count=_need(kubernetes, "object_count", "the snapshot"),
            resources=dict(kubernetes.get("resources") or {}),
            secrets=dict(kubernetes.get("secrets") or {}),
            version=kubernetes.get("version"),
            etcd_prefix=kubernetes.get("etcd_prefix"),
            encrypted=_counts(kubernetes.get("encrypted")),
        ),
        snapshot=Snapshot(
            revision=_need(snapshot, "revision", "the snapshot"),
            db_size_bytes=_need(snapshot, "db_size_bytes", "the snapshot"),
            sha256=_need(snapshot, "sha256", "the snapshot"),
            key_count=_need(snapshot, "key_count", "the snapshot"),
            source_member=SourceMember(id=source["id"], name=source["name"]),
            source_host=hosted.get(source["id"]),
            **{
                field.name: snapshot.get(field.name)
                for field in dataclasses.fields(Snapshot)
                if field.name not in _NAMED and snapshot.get(field.name) is not None
            },
        ),
        files=files,
        checks=(*_checks(record), *_agreement(records.election), *checks),
        tools=tools,
        wheelhouse=wheelhouse,
        kit=kits,
        certificates=_certificates(records),
        clock_skew_seconds={
            host["host"]: int(host["clock_skew_seconds"])
            for host in records.hosts
            if host.get("clock_skew_seconds") is not None
        },
        timing=dict(record.get("timing") or {}),
        warnings=(
            *_texts(record.get("warnings")),
            *(text for kit in records.kits for text in _texts(kit["result"].get("warnings"))),
            *_seal_warnings(files),
            *drift(records),
            *warnings,
        ),
    )


_NAMED = ("revision", "db_size_bytes", "sha256", "key_count", "source_member", "source_host")


def _need(record: _Json, name: str, what: str) -> t.Any:
    if not isinstance(record, t.Mapping) or record.get(name) is None:
        raise ManifestInvalid(
            f"The record of {what} has no {name}: an entry cannot be made of it.",
            hint="Give the result of the module as it was registered, of a run that did not fail "
            "and was not in check mode.",
        )
    return record[name]


def _counts(value: t.Any) -> dict[str, int] | None:
    return None if value is None else dict(value)


def _texts(value: t.Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value or ())


def _members(records: Records) -> tuple[Member, ...]:
    cluster_id = _need(records.snapshot, "cluster_id", "the snapshot")
    of_info = records.info.get("cluster_id")
    if of_info and of_info != cluster_id:
        raise IdentityMismatch(
            f"The records are of two etcd clusters: the snapshot's is {cluster_id}, the one in info "
            f"{of_info}.",
            hint="Give the records of one cluster's hosts.",
        )
    hosts = {}
    for host in records.hosts:
        info = host.get("info") or {}
        local = info.get("local_member") or {}
        if info.get("cluster_id") == cluster_id and local.get("id"):
            hosts[local["id"]] = host
    for kit in records.kits:
        if kit.get("member_id"):
            hosts.setdefault(kit["member_id"], {"host": kit["host"]})
    listed = records.info.get("members") or _need(records.snapshot, "members", "the snapshot")
    return tuple(_member(item, hosts.get(item["id"], {})) for item in listed)


def _member(item: _Json, host: _Json) -> Member:
    info = host.get("info") or {}
    layout = info.get("layout") or {}
    known: dict[str, t.Any] = {
        field.name: layout.get(field.name) for field in dataclasses.fields(MemberLayout)
    }
    mount_point = (info.get("host") or {}).get("data_dir_mount_point")
    if mount_point:
        known["data_dir_is_mount"] = mount_point == layout.get("data_dir")
    return Member(
        id=item["id"],
        name=item.get("name") or "",
        peer_urls=_texts(item.get("peer_urls")),
        client_urls=_texts(item.get("client_urls")),
        is_learner=bool(item.get("is_learner", item.get("learner", False))),
        host=host.get("host"),
        address=host.get("address"),
        layout=MemberLayout(**known) if layout.get("kind") else None,
    )


def _kit(item: _Json, members: tuple[Member, ...]) -> Kit:
    member_id = item.get("member_id")
    if member_id and member_id not in [member.id for member in members]:
        raise IdentityMismatch(
            f"The kit of host {item['host']} is of member {member_id}, which the cluster of the "
            f"snapshot does not have ({', '.join(member.id for member in members)}).",
            hint="Give the kits of that cluster's hosts; see etcd_cluster in the inventory.",
        )
    result = item["result"]
    kit = _need(result, "kit", f"the kit of {item['host']}")
    encryption = result.get("encryption")
    return Kit(
        host=item["host"],
        present=_texts(kit.get("present")),
        missing=_texts(kit.get("missing")),
        member_id=member_id or None,
        layout=result.get("layout"),
        excluded=_texts(kit.get("excluded")),
        damaged=_texts(kit.get("damaged")),
        encryption=KitEncryption(
            providers=_texts(encryption.get("providers")),
            key_names=_texts(encryption.get("key_names")),
        )
        if encryption
        else None,
    )


def _checks(record: _Json) -> tuple[Check, ...]:
    return tuple(
        Check(name=item["name"], result=item["result"], detail=item.get("detail"))
        for item in record.get("checks") or ()
    )


def _agreement(election: _Json) -> tuple[Check, ...]:
    outcome = election.get("hash_agreement")
    if not outcome:
        return ()
    reasons = "; ".join(_texts(election.get("hash_reasons")))
    if outcome == "equal":
        at = f"{election.get('hash_kv')} at revision {election.get('hash_revision')}"
        said = f"a majority of the voters has {at}" + (f"; {reasons}" if reasons else "")
        return (Check("hash_agreement", "passed", said),)
    return (Check("hash_agreement", outcome, f"the members' hashes, asked twice: {reasons}"),)


def _seal_warnings(files: tuple[File, ...]) -> list[str]:
    found = {seal_warning(file.part, file.encryption.recipients) for file in files}
    return sorted(found - {""})


def drift(records: Records) -> list[str]:
    """Say if hosts encrypt at rest in different ways: one host's configuration stands for all."""
    hosts_by_keys: dict[tuple[str, ...], list[str]] = {}
    for kit in records.kits:
        encryption = kit["result"].get("encryption") or {}
        keys = _texts(encryption.get("providers")) + _texts(encryption.get("key_names"))
        hosts_by_keys.setdefault(keys, []).append(kit["host"])
    if len(hosts_by_keys) < 2:
        return []
    shown = "; ".join(
        f"{', '.join(hosts)}: {', '.join(keys) or 'none'}" for keys, hosts in hosts_by_keys.items()
    )
    return [
        f"Hosts encrypt at rest in different ways ({shown}); the entry has one host's configuration. "
        "Finish the change of keys on all of them, or Secrets may be unreadable after a restore."
    ]


def _certificates(records: Records) -> tuple[Certificate, ...]:
    return tuple(
        Certificate(host=kit["host"], name=item["name"], not_after=item["not_after"])
        for kit in records.kits
        for item in kit["result"].get("certificates") or ()
    )
