# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Which key belongs to which certificate, and which authorities it should chain to."""

from __future__ import annotations

import posixpath
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import Flags
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import kubeconfig, table
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Carrier,
    Certificate,
    Pair,
)

from .look import Looked

__all__ = ["pairs"]

# Flags that name a certificate, and the flag of its key.
_FLAGS = {
    "etcd": {
        "cert-file": "key-file",
        "peer-cert-file": "peer-key-file",
        "client-cert-file": "client-key-file",
        "peer-client-cert-file": "peer-client-key-file",
    },
    "kube-apiserver": {
        "tls-cert-file": "tls-private-key-file",
        "kubelet-client-certificate": "kubelet-client-key",
        "etcd-certfile": "etcd-keyfile",
        "proxy-client-cert-file": "proxy-client-key-file",
    },
    "kube-controller-manager": {
        "tls-cert-file": "tls-private-key-file",
        "cluster-signing-cert-file": "cluster-signing-key-file",
    },
    "kube-scheduler": {"tls-cert-file": "tls-private-key-file"},
}
_KUBELET = ("tlsCertFile", "tlsPrivateKeyFile")


class _Paired:
    """The carriers of a host by what finds them."""

    def __init__(self, looked: Looked) -> None:
        self.files = {each.path: each for each in looked.carriers if each.field is None}
        self.at = looked.file_at
        # One that can't be read is there all the same.
        self.places = {**{each.path: each for each in looked.unread}, **self.files}
        self.by_name: dict[str, list[Carrier]] = {}
        for each in self.places.values():
            if each.name:
                self.by_name.setdefault(each.name, []).append(each)
        self.keys: dict[str, Carrier] = {}
        for each in looked.carriers:
            for key in each.contents.keys:
                if key.public_key:
                    self.keys.setdefault(key.public_key, each)
        self.by_flags = dict(self._flag_pairs(looked))

    def _flag_pairs(self, looked: Looked) -> t.Iterator[tuple[str, Carrier]]:
        def named(certificate: str | None, key: str | None) -> t.Iterator[tuple[str, Carrier]]:
            first, second = self.at(certificate), self.at(key)
            if first and second:
                yield first.path, second

        host = looked.host
        for pod in host.pods if host else ():
            for certificate, key in _FLAGS.get(pod.component, {}).items():
                yield from named(pod.host_file(certificate), pod.host_file(key))
        if host and host.layout:
            flags: Flags = host.layout.flags
            for certificate, key in _FLAGS["etcd"].items():
                yield from named(flags.get(certificate), flags.get(key))
        for user in looked.users:
            certificate_file, key_file = user.pair.certificate, user.pair.key
            if isinstance(certificate_file, kubeconfig.Reference) and key_file:
                yield from named(certificate_file.path, key_file.path)
        for file in looked.files:
            for document in file.parsed.documents:
                if document.get("kind") == "KubeletConfiguration":
                    yield from named(*(_text(document.get(key)) for key in _KUBELET))

    def key_of(self, carrier: Carrier, role: table.Role | None) -> Carrier | None:
        """Return the place of a certificate file's key: what its program is told comes first."""
        if carrier.path in self.by_flags:
            return self.by_flags[carrier.path]
        if carrier.contents.keys:
            return carrier
        for path in _beside(carrier.path):
            if path in self.places:
                return self.places[path]
        leaf = carrier.contents.certificates[0]
        if role is None or role.is_ca:  # there may be more of that name: it takes its own
            return self.keys.get(leaf.public_key)
        named = self.by_name.get(table.key_name(role.name) or "")
        return named[0] if named else None

    def authorities(self, role: table.Role | None) -> tuple[Certificate, ...]:
        """Return the authorities that a role's certificate should chain to, of this host."""
        if role is None or role.ca is None:
            return ()
        wanted = [role.ca]
        if role.name == "etcd/peer" and "etcd/peer-ca.crt" in self.by_name:
            wanted = ["etcd/peer-ca"]
        elif role.ca == "ca":
            wanted.append("client-ca")  # k3s and rke2 sign what clients show by another one
        found = [
            certificate
            for name in wanted
            for carrier in self.by_name.get(f"{name}.crt", ())
            for certificate in carrier.contents.certificates
        ]
        return tuple(found)


def pairs(looked: Looked) -> tuple[Pair, ...]:
    """Return every carrier of certificates with its key and its authorities.

    A kubeconfig's copy of an authority that a file of the host holds is left out.
    """
    paired = _Paired(looked)
    users = {_where(user.pair.certificate): user for user in looked.users if user.pair.certificate}
    in_files = {
        each.fingerprint for file in paired.files.values() for each in file.contents.certificates
    }
    found = []
    for carrier in looked.carriers:
        certificates = carrier.contents.certificates
        if not certificates:
            continue
        user = users.get((carrier.path, carrier.field))
        if carrier.field is not None and user is None:
            if all(each.fingerprint in in_files for each in certificates):
                continue
            found.append(Pair(carrier, None, (), None))
            continue
        role = table.role_of(carrier.name or (user.name if user else None))
        if user is not None and carrier.field is not None:
            key = looked.carried(user.pair.key)
            authorities = paired.authorities(role) or _certificates(user.pair.authorities, looked)
        else:
            key = paired.key_of(carrier, role)
            authorities = paired.authorities(role)
        found.append(Pair(carrier, key, authorities, role.name if role else None))
    return tuple(found)


def _where(place: Carrier | kubeconfig.Reference | None) -> tuple[str, str | None]:
    if isinstance(place, Carrier):
        return place.path, place.field
    return (place.path if place else ""), None


def _certificates(
    places: t.Iterable[Carrier | kubeconfig.Reference], looked: Looked
) -> tuple[Certificate, ...]:
    carriers = map(looked.carried, places)
    return tuple(each for carrier in carriers if carrier for each in carrier.contents.certificates)


def _beside(path: str) -> t.Iterator[str]:
    """Give the names that a certificate's key has in its folder."""
    stem, ending = posixpath.splitext(path)
    yield f"{stem}.key"
    yield f"{stem}-key{ending}"  # kubespray, cfssl
    yield f"{stem}-key.pem"
    folder, name = posixpath.split(stem)
    if name.startswith("cert"):
        yield posixpath.join(folder, f"key{name[4:]}{ending}")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
