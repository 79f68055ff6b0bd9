# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Which files of a kit are there and bring nothing back: empty, cut off, or halves that don't match.

A certificate that has expired is none of them, and neither is an encrypted key. Where a name has
several files, a whole one of them is enough.
"""

from __future__ import annotations

import dataclasses
import posixpath
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import names
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import (
    chain,
    kubeconfig,
    reading,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Certificate,
    Contents,
)

from . import facts
from .model import Taken
from .tree import shown

__all__ = ["Damage", "look_for"]

_MANIFESTS = frozenset(names.MANIFESTS.values())
# The kubelet reads certificate and key of one file (client-go util/certificate/certificate_store.go).
_BOTH = frozenset({"kubelet/client-current.pem", "kubelet/server-current.pem"})
_YAML = frozenset(
    {
        *names.KUBECONFIGS,
        *_MANIFESTS,
        names.ENCRYPTION_CONFIG,
        "admission-control-config",
        "audit-policy",
        "authentication-config",
        "authorization-config",
        "egress-selector-config",
        "kubelet/config.yaml",
        "tracing-config",
    }
)
_NEVER_EMPTY = names.CORE | _YAML | {"kubelet/kubeadm-flags.env", "node-password", "token"}
_CLIENTS = (
    "apiserver-kubelet-client.crt",
    "kubelet/client-current.pem",
    "admin.conf",
    "controller-manager.conf",
    "scheduler.conf",
)
# Who is issued by which authority; one of them tells that it is the cluster's (kubeadm's certlist.go,
# and for k3s and rke2 pkg/daemons/control/deps/deps.go of k3s-io/k3s).
_ISSUED = {
    "ca": ("apiserver.crt", *_CLIENTS),
    "client-ca": _CLIENTS,
    "front-proxy-ca": ("front-proxy-client.crt",),
    "etcd/ca": (
        "etcd/server.crt",
        "etcd/peer.crt",
        "etcd/healthcheck-client.crt",
        "apiserver-etcd-client.crt",
    ),
    "etcd/peer-ca": ("etcd/peer.crt",),
}
_CUT = 2 << 20  # larger files are not parsed


@dataclasses.dataclass(frozen=True)
class Damage:
    """What is there and can't be used, by standard names."""

    names: tuple[str, ...]
    warnings: tuple[str, ...]


def look_for(files: t.Sequence[Taken], encryption: facts.Encryption) -> Damage:
    """Look at every file of a standard name; nothing raises."""
    return _Look(files, encryption).damage()


class _Look:
    def __init__(self, files: t.Sequence[Taken], encryption: facts.Encryption) -> None:
        self._encryption = encryption
        self._files: dict[str, list[Taken]] = {}
        self._read: dict[str, Contents] = {}
        for file in files:
            for name in file.names:
                self._files.setdefault(name, []).append(file)
            if file.names:
                self._read[file.path] = reading.read(file.content.data)
        self._damaged: dict[str, str] = {}
        self._warnings: list[str] = []

    def damage(self) -> Damage:
        """Return all that was found."""
        for name, files in self._files.items():
            self._look_at(name, files)
        for name in sorted(self._files):
            if name.endswith(".key") and name != "sa.key":
                self._pair(name[: -len(".key")])
        self._authorities()
        self._service_accounts()
        if self._encryption.problems and names.ENCRYPTION_CONFIG in self._files:
            self._note(names.ENCRYPTION_CONFIG, "; ".join(self._encryption.problems))
        return Damage(
            tuple(sorted(self._damaged)),
            (
                *(
                    f"{name} ({self._paths(name)}) is DAMAGED and brings nothing back: {reason}. It "
                    "was taken as it is. Put the right one in place, and back up again."
                    for name, reason in sorted(self._damaged.items())
                ),
                *self._warnings,
            ),
        )

    def _look_at(self, name: str, files: t.Sequence[Taken]) -> None:
        reasons = [self._reason(name, file) for file in files]
        for file, reason in zip(files, reasons):
            if reason is not None and None in reasons:
                self._warnings.append(
                    f"{shown(file.path)}, one of {len(files)} files for {name}, can't be used: {reason}."
                )
        if None not in reasons:
            self._note(name, str(reasons[0]))
        if name.endswith(".key") and any(
            key.encrypted for file in files for key in self._read[file.path].keys
        ):
            self._warnings.append(
                f"{name} ({self._paths(name)}) is encrypted: its password is in no kit, and whoever "
                "restores needs it."
            )

    def _reason(self, name: str, file: Taken) -> str | None:
        """Tell why a file can't be what its name says."""
        if not file.content.data.strip():
            needed = name in _NEVER_EMPTY or name.endswith((".crt", ".key", ".pub"))
            return "it is empty" if needed else None
        read = self._read[file.path]
        if name.endswith(".crt"):
            return None if read.certificates else _why(read, "it holds no certificate")
        if name.endswith(".key"):
            return None if read.keys else _why(read, "it holds no private key")
        if name.endswith(".pub"):
            # kube-apiserver takes a certificate and a private key there, too (client-go util/keyutil).
            there = read.public_keys or read.certificates or read.keys
            return None if there else _why(read, "it holds no public key")
        if name in _BOTH:
            return _of_both(read)
        return _of_yaml(name, file) if name in _YAML else None

    def _certificates(self, name: str) -> list[Certificate]:
        """Return the certificates of a name that is not damaged, those of a kubeconfig's user too."""
        if name in self._damaged:
            return []
        found: list[Certificate] = []
        for file in self._files.get(name, ()):
            found += self._read[file.path].certificates
            found += facts.embedded(file)[0]
        return found

    def _keys(self, name: str) -> set[str] | None:
        """Return the public halves of a name's private keys; None where they can't be known."""
        if name in self._damaged or name not in self._files:
            return None
        keys = [key for file in self._files[name] for key in self._read[file.path].keys]
        known = {key.public_key for key in keys if key.public_key}
        return None if len(known) < len({key.public_key for key in keys}) else known

    def _pair(self, pair: str) -> None:
        """Compare a leaf's key with its certificate: the first one of a file (Go's tls.X509KeyPair)."""
        keys = self._keys(f"{pair}.key")
        if pair in _ISSUED or keys is None or f"{pair}.crt" in self._damaged:
            return
        files = self._files.get(f"{pair}.crt", ())
        read = [self._read[file.path].certificates for file in files]
        halves = {each.public_key for found in read for each in found[: None if _ca(pair) else 1]}
        if halves and "" not in halves and not halves & keys:
            self._note(f"{pair}.key", f"it does not belong to {pair}.crt beside it")

    def _authorities(self) -> None:
        for pair, issued in _ISSUED.items():
            certificates, keys = self._certificates(f"{pair}.crt"), self._keys(f"{pair}.key")
            if not certificates:
                continue
            halves = {each.public_key for each in certificates}
            if "" in halves or (keys is not None and halves & keys):
                continue
            leaves = [each for name in issued for each in self._certificates(name)]
            foreign = bool(leaves) and not any(
                chain.signed_by(leaf, authority) is not False
                for leaf in leaves
                for authority in certificates
            )
            if foreign:
                self._note(
                    f"{pair}.crt",
                    "it is another authority's: it issued none of this host's certificates",
                )
            if keys is None or (foreign and keys & self._trusted):
                continue
            self._note(f"{pair}.key", f"it does not belong to {pair}.crt beside it")

    @property
    def _trusted(self) -> set[str]:
        """The authorities' public keys in kubeconfigs, which are copies of ca.crt."""
        return {
            each.public_key
            for name in names.KUBECONFIGS & set(self._files)
            for file in self._files[name]
            for each in facts.embedded(file)[1]
        }

    def _service_accounts(self) -> None:
        keys = self._keys("sa.key")
        if keys is None or "sa.pub" in self._damaged:
            return
        halves: set[str] = set()
        for file in self._files.get("sa.pub", ()):
            read = self._read[file.path]
            halves |= {*read.public_keys, *(each.public_key for each in read.certificates)}
            halves |= {each.public_key for each in read.keys if each.public_key}
        if halves and not halves & keys:
            self._note("sa.key", "sa.pub beside it is another key's half")

    def _note(self, name: str, reason: str) -> None:
        self._damaged.setdefault(name, reason)

    def _paths(self, name: str) -> str:
        return ", ".join(shown(file.path) for file in self._files[name])


def _ca(pair: str) -> bool:
    return pair.endswith("cluster-signing")


def _why(read: Contents, otherwise: str) -> str:
    return "; ".join(read.problems[:2]) or otherwise


def _of_both(read: Contents) -> str | None:
    if not read.certificates:
        return _why(read, "it holds no certificate")
    if not read.keys:
        return _why(read, "it holds no private key")
    key, certificate = read.keys[0], read.certificates[0]
    if key.public_key and certificate.public_key and key.public_key != certificate.public_key:
        return "its key does not belong to its certificate"
    return None


def _of_yaml(name: str, file: Taken) -> str | None:
    if file.parsed.problem:
        return file.parsed.problem
    documents = file.parsed.documents
    if not documents:
        plain = posixpath.splitext(file.path)[1] in ("", ".conf", ".json", ".yaml", ".yml")
        small = len(file.content.data) <= _CUT
        return "it holds no configuration" if plain and small else None
    if name in _MANIFESTS and not any(each.get("kind") == "Pod" for each in documents):
        return "it describes no pod"
    if name == names.ENCRYPTION_CONFIG and not facts.has_providers(documents):
        return "it names no provider"
    return _of_kubeconfig(file) if name in names.KUBECONFIGS else None


def _of_kubeconfig(file: Taken) -> str | None:
    has_user = False
    for document in file.parsed.documents:
        entries = kubeconfig.entries(file.path, document)
        for each in entries.embedded:
            if not (each.contents.certificates or each.contents.keys):
                return f"{each.field}: {_why(each.contents, 'it holds nothing')}"
        for pair in entries.pairs:
            if not isinstance(pair.certificate, kubeconfig.Carrier):
                continue
            if not isinstance(pair.key, kubeconfig.Carrier):
                continue
            halves = {key.public_key for key in pair.key.contents.keys}
            own = [each.public_key for each in pair.certificate.contents.certificates[:1]]
            if own and halves and None not in halves and own[0] not in halves:
                return "its user's key does not belong to its certificate"
        users = document.get("users")
        for user in users if isinstance(users, list) else ():
            own_values = user.get("user") if isinstance(user, dict) else None
            has_user = has_user or (isinstance(own_values, dict) and any(own_values.values()))
    return None if has_user else "it names no user with credentials"
