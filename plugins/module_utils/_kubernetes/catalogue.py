# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The catalogue of a cluster's objects: counts, namespaces, encryption, identity."""

from __future__ import annotations

import typing as t
from collections import Counter
from itertools import compress, filterfalse

from ansible_collections.controlplane.etcd.plugins.module_utils._text import shown

from .keys import ObjectKey, normalize_prefix, parse_place
from .values import ENCRYPTED, HEAD_SIZE, encryption_prefix, object_uid, type_meta

__all__ = ["IDENTITY", "Batch", "Catalogue", "Entry"]

IDENTITY = "identity"


class Head(t.Protocol):
    """A live key with the start of its value."""

    @property
    def key(self) -> bytes:
        """The key."""

    def starts(self, size: int) -> bytes:
        """Return the first `size` bytes of the value."""


class Entry(Head, t.Protocol):
    """A live key with its value, as an engine that reads etcd gives it."""

    @property
    def value(self) -> bytes:
        """The whole value."""


class Batch(t.Protocol):
    """Some live keys."""

    keys: list[bytes]

    def entries(self) -> t.Iterator[Entry]:
        """Yield them with their values."""

    def find(self, marker: bytes) -> t.Iterator[Head]:
        """Yield at least those whose value starts with `marker`."""


class _Plain:
    """An entry over plain bytes."""

    def __init__(self, key: bytes, value: bytes) -> None:
        self.key = key
        self.value = value

    def starts(self, size: int) -> bytes:
        return self.value[:size]


class _One:
    """A batch of one entry."""

    def __init__(self, entry: Entry) -> None:
        self.keys = [entry.key]
        self._entry = entry

    def entries(self) -> t.Iterator[Entry]:
        yield self._entry

    def find(self, marker: bytes) -> t.Iterator[Entry]:
        if self._entry.starts(len(marker)) == marker:
            yield self._entry


def _directory(key: bytes) -> bytes:
    return key.rpartition(b"/")[0]


def _directories(keys: list[bytes]) -> list[bytes]:
    try:
        return [key[: key.rindex(b"/")] for key in keys]
    except ValueError:  # one has no slash
        return list(map(_directory, keys))


class _Place(t.NamedTuple):
    """All objects of one resource in one namespace."""

    key: ObjectKey
    total: int
    encrypted: dict[str, int]
    names: list[bytes]


class _Totals(t.NamedTuple):
    """What all places add up to, by resource."""

    counts: Counter[str]
    by_namespace: dict[str, Counter[str]]
    encrypted: dict[str, Counter[str]]
    clear_secrets: int


class Catalogue:
    """Collects every live key once, then answers.

    :param prefix: the API server's `--etcd-prefix`.
    :param keep_names: keep each object's name for `objects`; else memory grows with the number of
        resources and namespaces, not with that of objects.
    """

    def __init__(self, prefix: str = "/registry", *, keep_names: bool = False) -> None:
        self.kube_system_uid: str | None = None
        self._prefix = normalize_prefix(prefix)
        self._kube_system = self._prefix + b"namespaces/kube-system"
        self._namespace_directory = self._prefix + b"namespaces"
        self._keep_names = keep_names
        self._counts: Counter[bytes] = Counter()
        self._encrypted: Counter[tuple[bytes, tuple[str, str]]] = Counter()
        self._names: dict[bytes, list[bytes]] = {}
        self._namespaces: list[bytes] = []
        self._groups: dict[str, str] = {}
        self.learnt_late = False
        """Whether `find` gave a resource without its group, and would give it with it now."""
        # Directories of resources that no table knows, until one of their values told the group.
        self._unknown: dict[bytes, str] = {}
        # Resources that had no group at the end of a batch.
        self._unnamed: set[str] = set()
        self._added_up: _Totals | None = None

    def add(self, key: bytes, value: bytes) -> None:
        """Count one live key."""
        self.visit(_Plain(key, bytes(value)))

    def visit(self, entry: Entry) -> None:
        """Count one live key; `visit_batch` is much faster for many."""
        self.visit_batch(_One(entry))

    def visit_batch(self, batch: Batch) -> None:
        """Count live keys; reads no more of their values than it needs."""
        directories = _directories(batch.keys)
        new = set(filterfalse(self._counts.__contains__, directories))
        self._counts.update(directories)
        self._added_up = None
        for entry in batch.find(ENCRYPTED):
            encrypted = encryption_prefix(entry.starts(HEAD_SIZE))
            if encrypted is not None:
                self._encrypted[_directory(entry.key), encrypted] += 1
        for directory in new:
            parsed = parse_place(directory, self._prefix)
            if parsed is not None and parsed.group is None:
                self._unknown[directory] = parsed.resource
        if self._unknown and not self._unknown.keys().isdisjoint(directories):
            self._learn_groups(batch)
            unknown = {self._unknown[each] for each in new if each in self._unknown}
            self._unnamed |= unknown - self._groups.keys()
        if self._namespace_directory in directories:
            self._note_namespaces(batch, directories)
        if self._keep_names:
            for directory, key in zip(directories, batch.keys):
                self._names.setdefault(directory, []).append(key[len(directory) + 1 :])

    def _note_namespaces(self, batch: Batch, directories: list[bytes]) -> None:
        is_one = map(self._namespace_directory.__eq__, directories)
        found = list(compress(batch.keys, is_one))
        self._namespaces += [key[len(self._namespace_directory) + 1 :] for key in found]
        if self._kube_system in found:
            for entry in batch.entries():
                if entry.key == self._kube_system:
                    self.kube_system_uid = object_uid(entry.value)

    def _learn_groups(self, batch: Batch) -> None:
        for entry in batch.entries():
            directory = _directory(entry.key)
            if directory not in self._unknown:
                continue
            head = entry.starts(HEAD_SIZE)
            meta = type_meta(entry.value if head.startswith(b"{") else head)
            if meta is not None:
                group, slash, _version = meta[0].rpartition("/")
                resource = self._unknown.pop(directory)
                if self._groups.setdefault(resource, group if slash else ""):
                    self.learnt_late |= resource in self._unnamed

    def _places(self) -> t.Iterator[_Place]:
        encrypted: dict[bytes, dict[str, int]] = {}
        for (directory, (provider, key_name)), count in self._encrypted.items():
            encrypted.setdefault(directory, {})[f"{provider}/{key_name}"] = count
        for directory, count in self._counts.items():
            key = parse_place(directory, self._prefix)
            if key is not None:
                yield _Place(
                    self._resolved(key),
                    count,
                    encrypted.get(directory, {}),
                    self._names.get(directory, []),
                )

    def _totals(self) -> _Totals:
        """Go through the places, which may be many, once for all that asks."""
        if self._added_up is None:
            counts: Counter[str] = Counter()
            by_namespace: dict[str, Counter[str]] = {}
            encrypted: dict[str, Counter[str]] = {}
            clear_secrets = 0
            for place in self._places():
                name = place.key.group_resource
                counts[name] += place.total
                by_namespace.setdefault(name, Counter())[place.key.namespace or ""] += place.total
                if place.encrypted:
                    encrypted.setdefault(name, Counter()).update(place.encrypted)
                if place.key.group == "" and place.key.resource == "secrets":
                    clear_secrets += place.total - sum(place.encrypted.values())
            self._added_up = _Totals(counts, by_namespace, encrypted, clear_secrets)
        return self._added_up

    @property
    def other_key_count(self) -> int:
        """Keys that hold no API object: outside the prefix, or the API server's bookkeeping."""
        return sum(self._counts.values()) - self.object_count

    def main_root(self) -> tuple[str, int]:
        """Return the first part of the path that most keys have, and how many have it."""
        found: Counter[bytes] = Counter()
        for directory, count in self._counts.items():
            found[b"/".join(directory.split(b"/", 2)[: 1 + directory.startswith(b"/")])] += count
        ((root, count),) = found.most_common(1) or [(b"", 0)]
        return shown(root), count

    def find(self, key: bytes) -> ObjectKey | None:
        """Return where the object of a key belongs, with what was learned so far; no name.

        None if it holds no object.
        """
        directory, slash, name = key.rpartition(b"/")
        place = parse_place(directory, self._prefix) if slash and name else None
        return self._resolved(place) if place else None

    def _resolved(self, key: ObjectKey) -> ObjectKey:
        return key if key.group is not None else key._replace(group=self._groups.get(key.resource))

    @property
    def object_count(self) -> int:
        """How many API objects there are."""
        return sum(self._totals().counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Objects per `group/resource`, or `resource` for the core group."""
        return dict(sorted(self._totals().counts.items()))

    @property
    def counts_by_namespace(self) -> dict[str, dict[str, int]]:
        """Objects per resource and namespace; the namespace of cluster-wide ones is empty."""
        found = sorted(self._totals().by_namespace.items())
        return {name: dict(sorted(each.items())) for name, each in found}

    @property
    def namespaces(self) -> list[str]:
        """The names of the namespaces."""
        return sorted(name.decode("utf-8", "backslashreplace") for name in self._namespaces)

    @property
    def secrets(self) -> dict[str, int]:
        """Secrets per `provider/key name`; `identity` counts the clear ones."""
        found = self._totals()
        totals = dict(found.encrypted.get("secrets", {}))
        if found.clear_secrets:
            totals[IDENTITY] = found.clear_secrets
        return dict(sorted(totals.items()))

    @property
    def encrypted(self) -> dict[str, int]:
        """Encrypted objects of every resource, Secrets too, per `provider/key name`."""
        totals: Counter[str] = Counter()
        for each in self._totals().encrypted.values():
            totals.update(each)
        return dict(sorted(totals.items()))

    @property
    def encrypted_by_resource(self) -> dict[str, dict[str, int]]:
        """Encrypted objects per resource and `provider/key name`; only resources that have some."""
        found = sorted(self._totals().encrypted.items())
        return {name: dict(sorted(each.items())) for name, each in found}

    def objects(self) -> t.Iterator[ObjectKey]:
        """Yield all objects by resource, namespace and name; needs `keep_names`."""
        if not self._keep_names:
            raise AssertionError("this catalogue did not keep names")
        places = sorted(
            self._places(), key=lambda place: (place.key.group_resource, place.key.namespace or "")
        )
        for place in places:
            for name in sorted(place.names):
                yield place.key._replace(name=name.decode("utf-8", "backslashreplace"))
