# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the running etcd says of itself and gives, against what the manifest says of the backup."""

from __future__ import annotations

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.client import Client
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.keyspace import (
    ALL,
    Keyspace,
    Page,
    Span,
    below,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
    Catalogue,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.keys import (
    normalize_prefix,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.verify import (
    counts_compacted_tombstones,
)

if t.TYPE_CHECKING:
    from .model import Course, Held, Running

__all__ = ["compare"]

# etcd reads the values of a page even where it returns keys alone, and a value is up to 1.5 MiB:
# this many of them fit into the memory that it has.
_KEYS_A_PAGE = 500
_SECRETS_A_PAGE = 100
_HASH_SECONDS = 1800.0
_NAMED = 8


def compare(running: Running, course: Course) -> None:
    """Hold revisions, hashes and objects against the manifest.

    :raises EndpointError: etcd does not answer.
    """
    snapshot = running.manifest.snapshot
    endpoint = running.connection.endpoints[0]
    with Client(running.connection, endpoint) as client:
        course.compare("revision", expected=snapshot.revision, found=client.status().revision)
        _compare_hashes(client, running, course)
        keys = Keyspace(client, revision=running.revision)
        course.compare("key_count", expected=snapshot.key_count, found=keys.count())
        catalogue = _catalogue(keys, running.held)
    told = running.manifest.kubernetes
    _compare_counts("objects", told.resources, catalogue.counts, course)
    _compare_counts("secrets", told.secrets, catalogue.secrets, course)


def _compare_hashes(client: Client, running: Running, course: Course) -> None:
    """Compare HashKV at the newest revision with the image's, and at the members' with theirs."""
    snapshot, summary = running.manifest.snapshot, running.held.summary
    newest = client.hash_kv(running.revision, timeout=_HASH_SECONDS)
    course.compare(
        "compact_revision",
        expected=_compacted(snapshot.compact_revision),
        found=_compacted(newest.compact_revision),
    )
    course.compare(
        "hash_kv_newest",
        expected=f"{summary.hash_kv:08x}",
        found=newest.hash_hex,
        detail=f"at revision {running.revision}, as computed from the image",
    )
    if snapshot.hash_kv is None or snapshot.hash_revision is None:
        course.skip("hash_kv", "the manifest holds no HashKV of the members")
        return
    at = f"at revision {snapshot.hash_revision}, as the backup had it"
    obstacle = _obstacle(running, newest.compact_revision)
    if obstacle:
        course.not_comparable("hash_kv", expected=snapshot.hash_kv, found=None, detail=obstacle)
        return
    found = newest
    if snapshot.hash_revision != running.revision:
        found = client.hash_kv(snapshot.hash_revision, timeout=_HASH_SECONDS)
    course.compare("hash_kv", expected=snapshot.hash_kv, found=found.hash_hex, detail=at)


def _obstacle(running: Running, compacted: int) -> str | None:
    """Say why the running etcd's hash can't be that of the manifest, even of the same data."""
    snapshot = running.manifest.snapshot
    if snapshot.hash_revision is None or snapshot.hash_revision > running.revision:
        return "it is of a later revision than the snapshot's newest"
    if _compacted(snapshot.hash_compact_revision) != _compacted(compacted):
        return (
            f"it is of data compacted to {_compacted(snapshot.hash_compact_revision)}; this "
            f"snapshot is compacted to {_compacted(compacted)}"
        )
    then, now = running.manifest.etcd.server_version, running.etcd_version
    if counts_compacted_tombstones(then) != counts_compacted_tombstones(now):
        return f"etcd {then} and {now} hash deletions in different ways"
    return None


def _compacted(revision: int | None) -> int:
    return max(revision or 0, 0)


def _compare_counts(
    name: str, expected: t.Mapping[str, int], found: t.Mapping[str, int], course: Course
) -> None:
    wrong = [
        f"{each}: {found.get(each, 0)} instead of {expected.get(each, 0)}"
        for each in sorted({*expected, *found})
        if expected.get(each, 0) != found.get(each, 0)
    ]
    course.compare(name, expected=sum(expected.values()), found=sum(found.values()))
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        course.differ(name, ", ".join(wrong[:_NAMED]) + more)


class _Served:
    """A live key of the running etcd; its value is asked for only if somebody wants it."""

    def __init__(self, key: bytes, value: bytes | None, keys: Keyspace) -> None:
        self.key = key
        self._value = value
        self._keys = keys

    @property
    def value(self) -> bytes:
        """The whole value."""
        if self._value is None:
            self._value = self._keys.get(self.key) or b""
        return self._value

    def starts(self, size: int) -> bytes:
        """Return the first `size` bytes of the value."""
        return self.value[:size]


class _Batch:
    """A page of keys, as the catalogue takes them."""

    def __init__(self, page: Page, keys: Keyspace, *, valued: bool) -> None:
        self.keys = page.keys
        self._values = page.values
        self._valued = valued
        self._keyspace = keys

    def entries(self) -> t.Iterator[_Served]:
        """Yield all keys of the page."""
        for key, value in zip(self.keys, self._values):
            yield _Served(key, value if self._valued else None, self._keyspace)

    def find(self, marker: bytes) -> t.Iterator[_Served]:
        """Yield the keys whose value starts with `marker`; none where values were not read."""
        for key, value in zip(self.keys, self._values):
            if value.startswith(marker):
                yield _Served(key, value, self._keyspace)


def _catalogue(keys: Keyspace, held: Held) -> Catalogue:
    """Count the objects that etcd serves; of Secrets, how each is encrypted, too."""
    found = Catalogue(held.etcd_prefix)
    secrets = below(normalize_prefix(held.etcd_prefix) + b"secrets/")
    before, behind = Span(ALL.start, secrets.start), Span(secrets.end, ALL.end)
    for span, valued in ((before, False), (secrets, True), (behind, False)):
        limit = _SECRETS_A_PAGE if valued else _KEYS_A_PAGE
        for part in span.split(held.fences):
            for page in keys.pages(part, limit=limit, keys_only=not valued):
                found.visit_batch(_Batch(page, keys, valued=valued))
    return found
