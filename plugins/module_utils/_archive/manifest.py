# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What an entry of the archive says of itself: `controlplane.etcd/manifest/v1`."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import schemas

__all__ = [
    "Certificate",
    "Check",
    "Cluster",
    "Encryption",
    "EtcdVersions",
    "File",
    "Identity",
    "Kit",
    "KitEncryption",
    "Kubernetes",
    "Lineage",
    "Manifest",
    "Member",
    "MemberLayout",
    "Snapshot",
    "SourceMember",
    "Tool",
    "WheelhouseFile",
    "from_json",
    "read_fields",
]

_T = t.TypeVar("_T")


def read_fields(kind: type[_T], data: t.Mapping[str, t.Any]) -> _T:
    """Build a dataclass from a validated JSON object, ignoring fields that it does not have."""
    values: dict[str, t.Any] = {}
    for field in dataclasses.fields(t.cast(t.Any, kind)):
        if field.name not in data:
            continue
        value, of = data[field.name], _NESTED.get((kind.__name__, field.name))
        if isinstance(value, list):
            value = tuple(read_fields(of, item) if of else item for item in value)
        elif of and value is not None:
            value = read_fields(of, value)
        values[field.name] = value
    return kind(**values)


@dataclasses.dataclass(frozen=True)
class MemberLayout:
    """Where a member's files lay on its host."""

    kind: str
    data_dir: str | None = None
    wal_dir: str | None = None
    data_dir_is_mount: bool | None = None
    unit: str | None = None
    environment_file: str | None = None
    manifest: str | None = None
    static_pod_path: str | None = None
    certificates_dir: str | None = None


@dataclasses.dataclass(frozen=True)
class Member:
    """One member as etcd lists it, and the inventory's host for it where there is one."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool
    host: str | None = None
    address: str | None = None
    layout: MemberLayout | None = None


@dataclasses.dataclass(frozen=True)
class Lineage:
    """One etcd cluster ID that this cluster has had, since when, and by what."""

    cluster_id: str
    seen_at: str
    origin: str = "backup"
    entry: str | None = None
    bump_revision: int | None = None


@dataclasses.dataclass(frozen=True)
class Identity:
    """What tells the cluster from every other, beside its etcd cluster IDs."""

    kube_system_uid: str | None


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The cluster that an entry holds."""

    name: str
    instance: str
    identity: Identity
    cluster_id: str
    lineage: tuple[Lineage, ...]
    members: tuple[Member, ...]
    missing_hosts: tuple[str, ...] = ()
    members_without_host: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class EtcdVersions:
    """The versions of etcd that wrote the snapshot."""

    server_version: str
    cluster_version: str | None = None
    storage_version: str | None = None
    alarms: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Kubernetes:
    """What Kubernetes kept in it, as counts."""

    object_count: int
    resources: t.Mapping[str, int]
    secrets: t.Mapping[str, int]
    version: str | None = None
    etcd_prefix: str | None = None
    encrypted: t.Mapping[str, int] | None = None
    """Encrypted objects of every resource per `provider/key name`; None: not told."""


@dataclasses.dataclass(frozen=True)
class SourceMember:
    """The member that the snapshot was taken from."""

    id: str
    name: str


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The image: its size and sha256 are without the 32 bytes that follow it in the stream."""

    revision: int
    db_size_bytes: int
    sha256: str
    key_count: int
    source_member: SourceMember
    source_host: str | None = None
    compact_revision: int | None = None
    hash_kv: str | None = None
    hash_revision: int | None = None
    hash_compact_revision: int | None = None
    entry_count: int | None = None
    status_hash: str | None = None
    term: int | None = None
    lease_count: int | None = None
    auth_enabled: bool | None = None
    consistent_index: int | None = None
    linearizable_revision: int | None = None


@dataclasses.dataclass(frozen=True)
class Encryption:
    """How a file is sealed, and to which public keys."""

    scheme: str
    recipients: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class File:
    """One file of the entry, by its name under the entry's folder."""

    name: str
    part: str
    size_bytes: int
    sha256: str
    compression: str
    encryption: Encryption
    host: str | None = None


@dataclasses.dataclass(frozen=True)
class Tool:
    """One of etcd's own programs, by its path under the archive."""

    name: str
    version: str
    platform: str
    path: str
    size_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class WheelhouseFile:
    """One file of the Python wheelhouse, by its path under the archive."""

    path: str
    size_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class KitEncryption:
    """What a host's encryption-at-rest configuration names, without its keys."""

    providers: tuple[str, ...]
    key_names: tuple[str, ...]
    """`provider/name`, spelled as in the counts of encrypted objects."""


@dataclasses.dataclass(frozen=True)
class Kit:
    """What a host's kit holds, by standard names."""

    host: str
    present: tuple[str, ...]
    missing: tuple[str, ...]
    member_id: str | None = None
    layout: str | None = None
    excluded: tuple[str, ...] = ()
    """Left out as asked."""
    encryption: KitEncryption | None = None
    """None: not told."""
    damaged: tuple[str, ...] = ()
    """Present, and not to be used: empty, cut off, or not the other half's."""


@dataclasses.dataclass(frozen=True)
class Certificate:
    """When a certificate in a host's kit ends."""

    host: str
    name: str
    not_after: str


@dataclasses.dataclass(frozen=True)
class Check:
    """One check of the snapshot or of the entry, and what it found."""

    name: str
    result: str
    detail: str | None = None


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A whole manifest; from_json() and to_json() are its two edges."""

    id: str
    created_at: str
    collection_version: str
    mode: str
    cluster: Cluster
    etcd: EtcdVersions
    kubernetes: Kubernetes
    snapshot: Snapshot
    files: tuple[File, ...]
    checks: tuple[Check, ...]
    tools: tuple[Tool, ...] = ()
    wheelhouse: tuple[WheelhouseFile, ...] = ()
    kit: tuple[Kit, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    clock_skew_seconds: t.Mapping[str, int] = dataclasses.field(default_factory=dict)
    timing: t.Mapping[str, float] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    must_understand: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Return the manifest's bytes, as they are signed.

        :raises ManifestInvalid: it breaks its own schema.
        """
        document = {"schema": schemas.MANIFEST, **dataclasses.asdict(self)}
        return schemas.dump(document, schemas.MANIFEST_V1, f"The manifest of {self.id}")

    @property
    def size_bytes(self) -> int:
        """The bytes of all files of the entry."""
        return sum(file.size_bytes for file in self.files)

    @property
    def sealed(self) -> bool:
        """Whether every file but the text is encrypted."""
        return all(file.encryption.scheme != "none" for file in self.files if file.part != "text")

    @property
    def checks_passed(self) -> bool:
        """Whether there were checks, and all of them passed as far as there was a way to tell."""
        return bool(self.checks) and not self.checks_in_doubt

    @property
    def checks_in_doubt(self) -> tuple[str, ...]:
        """The names of the checks that failed, or whose result this version does not know."""
        return tuple(check.name for check in self.checks if check.result not in _GOOD_RESULTS)

    @property
    def members_without_kit(self) -> tuple[str, ...]:
        """The names (or IDs) of the members whose host gave no kit."""
        with_kit = {kit.member_id for kit in self.kit if kit.present}
        return tuple(
            member.name or member.id for member in self.cluster.members if member.id not in with_kit
        )


# docs/formats.md. A result that a later version invents is in doubt here, not unreadable.
_GOOD_RESULTS = ("passed", "first", "not_comparable", "not_asked")

# The fields that hold other dataclasses, or tuples of them.
_NESTED: dict[tuple[str, str], type] = {
    ("Member", "layout"): MemberLayout,
    ("Cluster", "identity"): Identity,
    ("Cluster", "lineage"): Lineage,
    ("Cluster", "members"): Member,
    ("IdentityRecord", "lineage"): Lineage,
    ("Snapshot", "source_member"): SourceMember,
    ("File", "encryption"): Encryption,
    ("Manifest", "cluster"): Cluster,
    ("Manifest", "etcd"): EtcdVersions,
    ("Manifest", "kubernetes"): Kubernetes,
    ("Manifest", "snapshot"): Snapshot,
    ("Manifest", "files"): File,
    ("Manifest", "checks"): Check,
    ("Manifest", "tools"): Tool,
    ("Manifest", "wheelhouse"): WheelhouseFile,
    ("Manifest", "kit"): Kit,
    ("Kit", "encryption"): KitEncryption,
    ("Manifest", "certificates"): Certificate,
}


def from_json(data: bytes, where: str) -> Manifest:
    """Read a manifest of version 1; `where` names the file in messages.

    :raises ManifestInvalid: it can't be used; the message says why.
    """
    return read_fields(Manifest, schemas.load(data, schemas.MANIFEST_V1, where))
