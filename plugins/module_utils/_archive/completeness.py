# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""How much of a control plane an entry brings back, and what it lacks; pure, from the manifest alone.

Computed whenever a manifest is read, never stored: what a later version knows counts for old entries.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import aids, parts
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.lacks import (
    Lack,
    Severity,
    Verdict,
    verdict,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import names

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        Kit,
        Manifest,
        Member,
    )

__all__ = ["judge"]


def judge(manifest: Manifest) -> Verdict:
    """Judge an entry by its manifest.

    What all hosts share is judged for the cluster: a copy in one kit is enough. A layout is not
    asked for parts that it does not have.
    """
    return verdict(_Judge(manifest).lacks())


# Other names of one file, by the flags that name it (names.py): what is missing is said once.
_SAME_FILE = {
    "cluster-signing.crt": "ca.crt",
    "cluster-signing.key": "ca.key",
    "etcd/peer-ca.crt": "etcd/ca.crt",
    "kubelet-ca.crt": "ca.crt",
    "root-ca.crt": "ca.crt",
}


@dataclasses.dataclass(frozen=True)
class _Host:
    """A host's kit, with what it is to be asked for."""

    name: str
    layout: str | None
    present: frozenset[str]
    wanted: tuple[parts.Part, ...]


class _Judge:
    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._members = {member.id: member for member in manifest.cluster.members}
        self._tls = any(
            url.startswith("https") for member in self._members.values() for url in member.peer_urls
        )
        counted = manifest.kubernetes
        self._kits = [
            (kit, self._layout(kit), self._present(kit)) for kit in manifest.kit if kit.present
        ]
        self._api_hosts = [
            kit.host
            for kit, layout, present in self._kits
            if parts.is_api_host(layout, present.union(kit.damaged))
        ]
        self._is_kubernetes = bool(
            counted.object_count or manifest.cluster.identity.kube_system_uid or self._api_hosts
        )
        self._hosts = [
            _Host(kit.host, layout, present, self._wanted(kit, layout))
            for kit, layout, present in self._kits
        ]
        self._anywhere = frozenset[str]().union(*(host.present for host in self._hosts))

    def lacks(self) -> t.Iterator[Lack]:
        """Yield all lacks."""
        if not self._hosts:
            yield Lack(
                "no_kit",
                "kit",
                "No host gave what etcd does not hold: no CA, no sa.key, no certificate, no "
                "manifest. A control plane has to be built anew around the data.",
                Severity.CRITICAL,
            )
        else:
            told = [*self._of_cluster(), *self._of_hosts(), *self._of_kits()]
            told += self._without_kit()
            yield from told
            judged = {lack.part for lack in told}
            if self._labels and names.ENCRYPTION_CONFIG not in self._anywhere:
                judged.add(names.ENCRYPTION_CONFIG)
            yield from self._damaged(judged)
        yield from self._encryption()
        yield from aids.lacks(self._manifest)

    def _layout(self, kit: Kit) -> str | None:
        if kit.layout:
            return kit.layout
        for member in self._members.values():
            if member.layout and (member.id == kit.member_id or member.host == kit.host):
                return member.layout.kind
        return None

    def _present(self, kit: Kit) -> frozenset[str]:
        """Return what a kit has whose file is in the entry; the encryption part is another one."""
        whole = set(kit.present) - set(kit.damaged)
        present = whole - {names.ENCRYPTION_CONFIG}
        if not any(file.part == "pki" and file.host == kit.host for file in self._manifest.files):
            present.clear()
        # With some keys that can be used it is judged by them.
        some = kit.encryption is not None and bool(kit.encryption.key_names)
        if some and names.ENCRYPTION_CONFIG in kit.present:
            whole.add(names.ENCRYPTION_CONFIG)
        if names.ENCRYPTION_CONFIG in whole and self._has_encryption_part:
            present.add(names.ENCRYPTION_CONFIG)
        return frozenset(present)

    @property
    def _has_encryption_part(self) -> bool:
        return any(file.part == "encryption" for file in self._manifest.files)

    def _wanted(self, kit: Kit, layout: str | None) -> tuple[parts.Part, ...]:
        found: tuple[parts.Part, ...] = ()
        if self._is_kubernetes and kit.host in self._api_hosts:
            found += parts.of_api_host(layout)
            if not self._tls:
                found = tuple(part for part in found if part not in _with_tls())
        if kit.member_id:
            found += parts.of_member(layout, tls=self._tls)
        return found

    def _of_cluster(self) -> t.Iterator[Lack]:
        layout = self._hosts[0].layout
        for part in parts.shared(layout, tls=self._tls, kubernetes=self._is_kubernetes):
            if part.name not in self._anywhere:
                yield self._lack(part, ())
        if self._is_kubernetes and not self._api_hosts:
            yield Lack(
                "no_api_server",
                "kube-apiserver",
                "No kit is one of a host with an API server: its certificates, manifests and "
                "settings have to be built anew.",
                Severity.CRITICAL,
            )
        if layout not in parts.RANCHER and not any(kit.member_id for kit in self._manifest.kit):
            yield Lack(
                "no_member_kit",
                "etcd",
                "No kit is one of a member's host: etcd's certificates and settings have to be "
                "built anew.",
                Severity.CRITICAL,
            )

    def _of_hosts(self) -> t.Iterator[Lack]:
        """Yield what hosts with a kit lack of their own, one line for each part."""
        wanted: dict[str, parts.Part] = {}
        lacking: dict[str, list[str]] = {}
        for host in self._hosts:
            for part in host.wanted:
                wanted.setdefault(part.name, part)
                if part.name not in host.present:
                    lacking.setdefault(part.name, []).append(host.name)
        for name, hosts in lacking.items():
            yield self._lack(wanted[name], tuple(hosts))

    def _lack(self, part: parts.Part, hosts: tuple[str, ...]) -> Lack:
        meaning = part.meaning
        critical = part.essential
        if part.made_with:
            there = part.made_with in self._anywhere
            critical = critical and not there
            if not there:
                meaning += f" That cannot be done with what is here: there is no {part.made_with}."
        if any(part.name in kit.excluded for kit in self._manifest.kit):
            meaning += " It was left out as asked."
        damaged = [kit.host for kit in self._manifest.kit if part.name in kit.damaged]
        if damaged and (not hosts or set(damaged) & set(hosts)):
            meaning += (
                f" Its file is there, but damaged ({', '.join(damaged)}): empty, cut off, or not "
                "what belongs to the files beside it."
            )
        if part.name in self._anywhere:
            # The hosts that have it come back; these join them.
            critical = False
        return Lack(
            part.code,
            part.name,
            meaning,
            Severity.CRITICAL if critical else Severity.WARNING,
            hosts,
        )

    def _of_kits(self) -> t.Iterator[Lack]:
        """Yield what the hosts themselves missed, beyond what every host of the layout has."""
        shared = parts.shared(self._hosts[0].layout, tls=True, kubernetes=True)
        judged = {part.name for part in shared} | names.CA_KEYS
        judged |= {part.name for host in self._hosts for part in host.wanted}
        if not self._tls:
            judged |= {part.name for part in _with_tls()}
        if names.ENCRYPTION_CONFIG in self._anywhere or self._labels:
            judged.add(names.ENCRYPTION_CONFIG)
        missed: dict[str, list[str]] = {}
        for kit, layout, present in self._kits:
            of_layout = _names_of(layout)
            for name in kit.missing:
                if name in judged or name in present or _SAME_FILE.get(name) in kit.missing:
                    continue
                # A host of etcd alone is not asked for an API server's parts.
                if name not in of_layout or kit.host in self._api_hosts:
                    missed.setdefault(name, []).append(kit.host)
        for name, hosts in missed.items():
            yield Lack(
                "no_file",
                name,
                "The hosts' own files name it, or every host of this layout has it: what reads it "
                "does not start, or not as it was.",
                Severity.WARNING,
                tuple(hosts),
            )

    def _damaged(self, told: t.Container[str]) -> t.Iterator[Lack]:
        """Yield what is damaged beyond the parts whose lack was told."""
        hosts: dict[str, list[str]] = {}
        for kit in self._manifest.kit:
            for name in kit.damaged:
                hosts.setdefault(name, []).append(kit.host)
        shared = parts.shared(self._hosts[0].layout, tls=True, kubernetes=True)
        spared = {part.name for part in shared} & self._anywhere
        for name, of in sorted(hosts.items()):
            if name in told:
                continue
            yield Lack(
                "damaged",
                name,
                "The file is damaged: empty, cut off, or not what belongs to the files beside it. "
                + (
                    "Another host's kit has a whole one: take that."
                    if name in spared
                    else "What reads it does not start, or not as it was."
                ),
                Severity.INFO if name in spared else Severity.WARNING,
                tuple(of),
            )

    def _without_kit(self) -> t.Iterator[Lack]:
        with_kit = {kit.member_id for kit in self._manifest.kit if kit.present}
        cluster = self._manifest.cluster
        told = set()
        for member in cluster.members:
            if member.id not in with_kit:
                told.add(member.host)
                yield _member_lack(member, missing=member.host in cluster.missing_hosts)
        with_file = {host.name for host in self._hosts}
        for host in cluster.missing_hosts:
            if host not in told | with_file:
                yield Lack(
                    "host_missing",
                    "kit",
                    "The host could not be reached: what it has of its own is not here.",
                    Severity.WARNING,
                    (host,),
                )

    @property
    def _labels(self) -> dict[str, int]:
        """Encrypted objects per `provider/key name`: of all resources where the manifest tells."""
        counted = self._manifest.kubernetes
        found = counted.secrets if counted.encrypted is None else counted.encrypted
        return {label: count for label, count in found.items() if label != "identity" and count}

    def _encryption(self) -> t.Iterator[Lack]:
        labels = self._labels
        shown = ", ".join(f"{count} by {label}" for label, count in sorted(labels.items()))
        what = "Secrets" if self._manifest.kubernetes.encrypted is None else "objects"
        if labels and names.ENCRYPTION_CONFIG not in self._anywhere:
            yield Lack(
                "no_encryption_config",
                names.ENCRYPTION_CONFIG,
                f"The data hold encrypted {what} ({shown}), and no kit has the configuration with "
                "their keys: they are unreadable without it."
                + (
                    " The one that is there is damaged: it names no key that can be used."
                    if any(names.ENCRYPTION_CONFIG in kit.damaged for kit in self._manifest.kit)
                    else ""
                ),
                Severity.CRITICAL,
            )
        elif labels:
            yield from self._encryption_keys(labels, what)
        for name in self._kms():
            yield Lack(
                "kms_needed",
                name,
                "Secrets are encrypted by a KMS, whose key is in no kit: where that KMS cannot be "
                "asked they are unreadable.",
                Severity.WARNING,
            )

    def _kms(self) -> list[str]:
        found = {label for label in self._labels if label.startswith("kms-")}
        for kit in self._manifest.kit:
            if kit.encryption:
                found |= {name for name in kit.encryption.key_names if name.startswith("kms-")}
        return sorted(found)

    def _encryption_keys(self, labels: t.Mapping[str, int], what: str) -> t.Iterator[Lack]:
        told = {
            kit.host: frozenset(kit.encryption.key_names)
            for kit, _layout, present in self._kits
            if kit.encryption and names.ENCRYPTION_CONFIG in present.union(kit.damaged)
        }
        if not told:
            yield Lack(
                "encryption_keys_not_told",
                names.ENCRYPTION_CONFIG,
                f"The manifest is of a version that does not tell which keys the configuration "
                f"holds: whether it opens all {what} ({', '.join(sorted(labels))}) is not known until "
                "somebody opens it and compares the names.",
                Severity.WARNING,
            )
            return
        for label, count in sorted(labels.items()):
            without = tuple(sorted(host for host, keys in told.items() if label not in keys))
            if not without:
                continue
            # One host's configuration is in the entry, and stands for all.
            some = len(without) < len(told)
            yield Lack(
                "no_encryption_key",
                label,
                f"{count} {what} are encrypted with a key of this name, which "
                + (f"{', '.join(without)} did not have; one host's " if some else "the archived ")
                + "configuration "
                + (
                    "is archived: they may be unreadable."
                    if some
                    else "lacks: they are unreadable."
                ),
                Severity.CRITICAL,
                without if some else (),
            )


def _with_tls() -> list[parts.Part]:
    """Return what hosts have of their own only where etcd speaks TLS."""
    all_parts = (*parts.of_api_host("kubeadm"), *parts.of_member("kubeadm", tls=True))
    return [part for part in all_parts if part.made_with == "etcd/ca.key"]


def _names_of(layout: str | None) -> frozenset[str]:
    """Return the parts of a host with an API server."""
    shared = parts.shared(layout, tls=False, kubernetes=True)
    return frozenset(part.name for part in (*shared, *parts.of_api_host(layout)))


def _member_lack(member: Member, *, missing: bool) -> Lack:
    name = member.name or member.id
    why = "its host gave none"
    if missing:
        why = "its host could not be reached"
    elif not member.host:
        why = "the inventory has no host for it"
    return Lack(
        "member_without_kit",
        f"kit of {name}",
        f"Member {name} has no kit: {why}. It comes back where its host still has its own files, or "
        "joins the others anew.",
        Severity.WARNING,
        (member.host,) if member.host else (),
    )
