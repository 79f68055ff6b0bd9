# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a kubeconfig carries, and which files it points to (client-go tools/clientcmd/api/v1)."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import posixpath
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _yaml

from . import reading
from .model import Carrier, Contents

__all__ = ["Entries", "EntryPair", "Reference", "entries", "parse"]

_AUTHORITY = "certificate-authority"
_CERTIFICATE = "client-certificate"
_KEY = "client-key"
_KINDS = {_AUTHORITY: "authority", _CERTIFICATE: "certificate", _KEY: "key"}


@dataclasses.dataclass(frozen=True)
class Reference:
    """A field that names a file."""

    field: str
    path: str
    """A relative one is joined to the kubeconfig's folder, as clientcmd does."""
    kind: str
    """`authority`, `certificate` or `key`."""


@dataclasses.dataclass(frozen=True)
class EntryPair:
    """A user's certificate and key, with the authorities of the clusters it is used with."""

    user: str
    certificate: Carrier | Reference | None
    key: Carrier | Reference | None
    authorities: tuple[Carrier | Reference, ...]


@dataclasses.dataclass(frozen=True)
class Entries:
    """All of a kubeconfig."""

    embedded: tuple[Carrier, ...] = ()
    references: tuple[Reference, ...] = ()
    pairs: tuple[EntryPair, ...] = ()
    problem: str | None = None
    """Why it could not be read, in words that quote nothing of it."""


@dataclasses.dataclass(frozen=True)
class _File:
    """The kubeconfig itself, for what lies in it."""

    path: str
    name: str | None
    mode: int
    uid: int
    gid: int

    def carrier(self, field: str, contents: Contents) -> Carrier:
        return Carrier(
            path=self.path,
            name=self.name,
            contents=contents,
            mode=self.mode,
            uid=self.uid,
            gid=self.gid,
            field=field,
        )


def parse(
    path: str,
    data: bytes,
    *,
    name: str | None = None,
    mode: int = 0o600,
    uid: int = 0,
    gid: int = 0,
) -> Entries:
    """Return what a kubeconfig's bytes carry; never raises over what they hold."""
    try:
        documents = _yaml.load(data.decode("utf-8"))
    except _yaml.NotYaml as exc:
        return Entries(problem=exc.message)
    except UnicodeDecodeError:
        return Entries(problem="it is no text in UTF-8")
    if len(documents) > 1:
        return Entries(problem="it holds several YAML documents, so no YAML of a kubeconfig")
    document = documents[0] if documents else None
    if not isinstance(document, dict):
        found = "empty" if document is None else "not a mapping"
        return Entries(problem=f"it is {found}, so no kubeconfig")
    return entries(path, document, name=name, mode=mode, uid=uid, gid=gid)


def entries(
    path: str,
    document: t.Mapping[str, t.Any],
    *,
    name: str | None = None,
    mode: int = 0o600,
    uid: int = 0,
    gid: int = 0,
) -> Entries:
    """Return what a kubeconfig's document carries; owner and mode are its file's."""
    file = _File(path, name, mode, uid, gid)
    clusters = {
        label: _material(file, f"clusters[{label}]", body, _AUTHORITY)
        for label, body in _named(document, "clusters", "cluster")
    }
    users = {
        label: (
            _material(file, f"users[{label}]", body, _CERTIFICATE),
            _material(file, f"users[{label}]", body, _KEY),
        )
        for label, body in _named(document, "users", "user")
    }
    used = _contexts(document)
    pairs = []
    for label, (certificate, key) in users.items():
        if certificate is None and key is None:
            continue
        own = [each for each in used.get(label, ()) if each in clusters] or list(clusters)
        authorities = (clusters[each] for each in own)
        pairs.append(
            EntryPair(label, certificate, key, tuple(each for each in authorities if each))
        )
    every = [*clusters.values(), *(each for both in users.values() for each in both)]
    return Entries(
        embedded=tuple(each for each in every if isinstance(each, Carrier)),
        references=tuple(each for each in every if isinstance(each, Reference)),
        pairs=tuple(pairs),
    )


def _material(
    file: _File, entry: str, body: t.Mapping[str, t.Any], key: str
) -> Carrier | Reference | None:
    """Return one field; data wins over a file (clientcmd's client_config.go)."""
    data = body.get(f"{key}-data")
    field = f"{entry}.{key}-data"
    if data:
        if not isinstance(data, str):
            return file.carrier(field, reading.unreadable("it is not a text in base64"))
        try:
            plain = base64.b64decode("".join(data.split()), validate=True)
        except (binascii.Error, ValueError):
            return file.carrier(field, reading.unreadable("its base64 is damaged"))
        return file.carrier(field, reading.read(plain))
    named = body.get(key)
    if isinstance(named, str) and named and "\0" not in named:
        whole = posixpath.normpath(posixpath.join(posixpath.dirname(file.path), named))
        return Reference(f"{entry}.{key}", whole, _KINDS[key])
    return None


def _named(
    document: t.Mapping[str, t.Any], section: str, key: str
) -> t.Iterator[tuple[str, t.Mapping[str, t.Any]]]:
    listed = document.get(section)
    for index, entry in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(entry, dict) and isinstance(entry.get(key), dict):
            label = entry.get("name")
            yield label if isinstance(label, str) and label else str(index), entry[key]


def _contexts(document: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """Return user -> the clusters that a context joins it with."""
    found: dict[str, list[str]] = {}
    for _label, context in _named(document, "contexts", "context"):
        user, cluster = context.get("user"), context.get("cluster")
        if isinstance(user, str) and isinstance(cluster, str):
            found.setdefault(user, []).append(cluster)
    return found
