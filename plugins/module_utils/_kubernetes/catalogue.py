# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The catalogue of a cluster's objects: counts, namespaces, encryption, identity."""

from __future__ import annotations

import typing as t
from collections import Counter

from .keys import ObjectKey, normalize_prefix, parse_place
from .values import ENCRYPTED, HEAD_SIZE, encryption_prefix, object_uid, type_meta

__all__ = ["Catalogue", "Entry"]

IDENTITY = "identity"


class Entry(t.Protocol):
    """A key with its value, as an engine that reads etcd gives it."""

    key: bytes

    @property
    def value(self) -> bytes:
        """The whole value."""

    def starts(self, size: int) -> bytes:
        """Return the first `size` bytes of the value."""


class _Bytes:
    """An Entry over plain bytes."""

    def __init__(self, key: bytes, value: bytes) -> None:
        self.key = key
        self.value = value

    def starts(self, size: int) -> bytes:
        return self.value[:size]


class _Place:
    """All objects of one resource in one namespace."""

    __slots__ = ("count", "encrypted", "key", "names")

    def __init__(self, key: ObjectKey) -> None:
        self.key = key
        self.count = 0
        self.encrypted: Counter[str] = Counter()
        self.names: list[bytes] = []


class Catalogue:
    """Collects every live key once, then answers.

    :param prefix: the API server's `--etcd-prefix`.
    :param keep_names: keep each object's name for `objects`; else memory grows with the number of
        resources and namespaces, not with that of objects.
    """

    def __init__(self, prefix: str = "/registry", *, keep_names: bool = False) -> None:
        self.kube_system_uid: str | None = None
        self.other_key_count = 0
        self._prefix = normalize_prefix(prefix)
        self._kube_system = self._prefix + b"namespaces/kube-system"
        self._namespace_directory = self._prefix + b"namespaces"
        self._keep_names = keep_names
        self._places: dict[bytes, _Place] = {}
        self._groups: dict[str, str] = {}
        self._namespaces: list[bytes] = []

    def add(self, key: bytes, value: bytes) -> None:
        """Count one live key."""
        self.visit(_Bytes(key, bytes(value)))

    def visit(self, entry: Entry) -> None:
        """Count one live key; reads no more of its value than it needs."""
        key = entry.key
        directory, _slash, name = key.rpartition(b"/")
        place = self._places.get(directory)
        if place is None:
            parsed = parse_place(directory, self._prefix)
            if parsed is None or not name:
                self.other_key_count += 1
                return
            place = self._places[directory] = _Place(parsed)
        place.count += 1
        if entry.starts(8) == ENCRYPTED:
            provider, key_name = encryption_prefix(entry.starts(HEAD_SIZE)) or ("unknown", "")
            place.encrypted[f"{provider}/{key_name}"] += 1
        elif place.key.group is None and place.key.resource not in self._groups:
            self._learn_group(place.key.resource, entry)
        if self._keep_names:
            place.names.append(name)
        if directory == self._namespace_directory:
            self._namespaces.append(name)
            if key == self._kube_system:
                self.kube_system_uid = object_uid(entry.value)

    def _learn_group(self, resource: str, entry: Entry) -> None:
        head = entry.starts(HEAD_SIZE)
        meta = type_meta(entry.value if head.startswith(b"{") else head)
        if meta is not None:
            group, slash, _version = meta[0].rpartition("/")
            self._groups[resource] = group if slash else ""

    def _resolved(self, key: ObjectKey) -> ObjectKey:
        return key if key.group is not None else key._replace(group=self._groups.get(key.resource))

    @property
    def object_count(self) -> int:
        """How many API objects there are."""
        return sum(place.count for place in self._places.values())

    @property
    def counts(self) -> dict[str, int]:
        """Objects per `group/resource`, or `resource` for the core group."""
        totals: Counter[str] = Counter()
        for place in self._places.values():
            totals[self._resolved(place.key).group_resource] += place.count
        return dict(sorted(totals.items()))

    @property
    def counts_by_namespace(self) -> dict[str, dict[str, int]]:
        """Objects per resource and namespace; the namespace of cluster-wide ones is empty."""
        totals: dict[str, Counter[str]] = {}
        for place in self._places.values():
            resource = self._resolved(place.key).group_resource
            totals.setdefault(resource, Counter())[place.key.namespace or ""] += place.count
        return {name: dict(sorted(each.items())) for name, each in sorted(totals.items())}

    @property
    def namespaces(self) -> list[str]:
        """The names of the namespaces."""
        return sorted(name.decode("utf-8", "backslashreplace") for name in self._namespaces)

    @property
    def secrets(self) -> dict[str, int]:
        """Secrets per `provider/key name`; `identity` counts the clear ones."""
        totals: Counter[str] = Counter()
        for place in self._places.values():
            if place.key.group == "" and place.key.resource == "secrets":
                totals.update(place.encrypted)
                clear = place.count - sum(place.encrypted.values())
                if clear:
                    totals[IDENTITY] += clear
        return dict(sorted(totals.items()))

    @property
    def encrypted(self) -> dict[str, int]:
        """Encrypted objects of every resource, Secrets too, per `provider/key name`."""
        totals: Counter[str] = Counter()
        for place in self._places.values():
            totals.update(place.encrypted)
        return dict(sorted(totals.items()))

    def objects(self) -> t.Iterator[ObjectKey]:
        """Yield all objects by resource, namespace and name; needs `keep_names`."""
        if not self._keep_names:
            raise AssertionError("this catalogue did not keep names")
        places = [(self._resolved(place.key), place.names) for place in self._places.values()]
        places.sort(key=lambda pair: (pair[0].group_resource, pair[0].namespace or ""))
        for key, names in places:
            for name in sorted(names):
                yield key._replace(name=name.decode("utf-8", "backslashreplace"))
