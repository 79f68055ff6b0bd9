# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""One look at an etcd database: its summary, its HashKV and its live keys."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from functools import partial

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.check import Proof
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    DatabaseInvalid,
    SnapshotInvalid,
)

from .crc import Crc
from .facts import Alarm, Member, read_facts
from .hashing import Batch, KeyHasher, Pages
from .rows import Live, check_revisions, main_of, rows_up_to, tombstones, user_keys

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import (
        Bucket,
        Database,
    )

    from .keyvalue import KeyValue

__all__ = ["ImageSummary", "read_image"]

_KEY = b"key"
# server/storage/mvcc/kvstore.go, NewStore: made at a member's first start.
_ALWAYS = (_KEY, b"meta")


@dataclass(frozen=True)
class ImageSummary:
    """What an image holds.

    `revision`, `total_size_bytes`, `status_hash` are those of `snapshot status`; its totalKey is
    `entry_count` up to etcd 3.5 and `key_count` from 3.6. `current_revision` is what a server
    started on the image answers with: a compaction mark counts, and 1 is the least.
    `compact_revision` is the higher of finished and scheduled, -1 for none.
    """

    revision: int
    current_revision: int
    compact_revision: int
    consistent_index: int
    term: int | None
    storage_version: str | None
    cluster_version: str | None
    hash_kv: int
    hash_revision: int
    hash_compact_revision: int
    status_hash: int
    key_count: int
    entry_count: int
    total_size_bytes: int
    members: tuple[Member, ...]
    lease_count: int
    alarms: tuple[Alarm, ...]
    auth_enabled: bool


def read_image(
    database: Database,
    *,
    hash_revision: int | None = None,
    hash_compact_revision: int | None = None,
    skip_compacted_tombstones: bool = True,
    visit: t.Callable[[KeyValue], None] | None = None,
    visit_batch: t.Callable[[Batch], None] | None = None,
) -> ImageSummary:
    """Prove a database's structure, read it and compute its HashKV (etcd, mvcc/hash.go).

    :param hash_revision: hash up to here; the image's current revision if None, or 0 as in etcd.
    :param hash_compact_revision: what the other side had compacted; the image's own if None. It
        may be later than the image's, up to `hash_revision`.
    :param skip_compacted_tombstones: leave out a deletion at exactly the compact revision, as
        etcd 3.4.34, 3.5.16 and later do; False for older ones.
    :param visit: called for each key that exists at the last revision, in the order of the
        changes, before the structure is proven to the end; the object is good while the database
        is open.
    :param visit_batch: the same, much faster: called with the live keys of some pages at a time.
    :raises DatabaseInvalid: the file breaks bbolt's format (as `_bbolt.check` finds it) or etcd's.
    :raises SnapshotInvalid: the revision asked for is not in the image.
    """
    if visit is not None:
        if visit_batch is not None:
            raise AssertionError("either visit or visit_batch")
        visit_batch = partial(_visit_each, visit)
    hash_revision = hash_revision or None
    proof = Proof(database)
    buckets = dict(proof.buckets())
    _check_buckets(buckets)
    facts = read_facts(buckets)
    own_compact = max(facts.finished_compact_revision, facts.scheduled_compact_revision)
    compact = own_compact if hash_compact_revision is None else hash_compact_revision
    rows = _Rows(database, hash_revision)
    rows.read(proof, buckets[_KEY])

    current = max(rows.revision, own_compact, 1)
    wanted = current if hash_revision is None else hash_revision
    _check_hash_range(wanted, current=current, own_compact=own_compact, compact=compact)
    key_count = rows.live.count(1)
    hasher = KeyHasher(
        wanted,
        compact,
        kept=rows.kept,
        skip_compacted_tombstones=skip_compacted_tombstones,
    )
    status = Crc()
    entry_count = 0
    lease_count = 0
    for name, bucket in buckets.items():
        status.update_bytes(name)
        if name == _KEY:
            entry_count += rows.row_count
            rows.visit(status, hasher, visit_batch)
            continue
        entries = 0
        for leaf in proof.leaves(bucket):
            status.update_leaf(leaf)
            entries += leaf.count
        entry_count += entries
        if name == b"lease":
            lease_count = entries
    proof.finish()
    return ImageSummary(
        revision=rows.revision,
        current_revision=current,
        compact_revision=own_compact,
        consistent_index=facts.consistent_index,
        term=facts.term,
        storage_version=facts.storage_version,
        cluster_version=facts.cluster_version,
        hash_kv=hasher.crc.value,
        hash_revision=wanted,
        hash_compact_revision=compact,
        status_hash=status.value,
        key_count=key_count,
        entry_count=entry_count,
        total_size_bytes=database.size_bytes,
        members=facts.members,
        lease_count=lease_count,
        alarms=facts.alarms,
        auth_enabled=facts.auth_enabled,
    )


def _check_buckets(buckets: t.Mapping[bytes, Bucket]) -> None:
    missing = [name.decode() for name in _ALWAYS if name not in buckets]
    if missing:
        found = ", ".join(ascii(name[:32])[1:] for name in list(buckets)[:12]) or "none"
        raise DatabaseInvalid(
            f"This bbolt database is not etcd's: it has no bucket {' and no bucket '.join(missing)}; "
            f"its buckets are {found}.",
            hint="Is it another program's file? If it was etcd's, it is damaged: use another one.",
        )


def _check_hash_range(wanted: int, *, current: int, own_compact: int, compact: int) -> None:
    if not max(own_compact, compact, 0) <= wanted <= current:
        raise SnapshotInvalid(
            f"HashKV at revision {wanted} with compact revision {compact} cannot be had from this "
            f"image: it ends at revision {current} and is compacted up to {own_compact}.",
            hint="Take another snapshot, or compare at a revision between them.",
        )


def _visit_each(visit: t.Callable[[KeyValue], None], batch: Batch) -> None:
    for entry in batch.entries():
        visit(entry)


class _Rows:
    """The key bucket, read twice: who is alive, then what they hold."""

    def __init__(self, database: Database, hash_revision: int | None) -> None:
        self.revision = 0
        self.row_count = 0
        self.live = bytearray()
        self.kept = bytearray()
        self._pages = Pages(database)
        self._hash_revision = hash_revision

    def read(self, proof: Proof, bucket: Bucket) -> None:
        """Find the live keys, and those that were alive at the revision to hash."""
        live, wanted = Live(), self._hash_revision
        bound: int | None = None
        inline = bucket.inline is not None
        for leaf in proof.leaves(bucket):
            if not leaf.count:
                continue
            plain = check_revisions(leaf)
            self.revision = main_of(leaf.key(leaf.count - 1))
            if bound is None and wanted is not None and self.revision > wanted:
                bound = live.row_count + rows_up_to(leaf.keys, wanted)
            live.add(user_keys(leaf), [] if plain else tombstones(leaf.keys))
            self._pages.add(leaf, inline=inline)
        self.row_count = live.row_count
        self.live, self.kept = live.settle(self._pages.name_of, bound)

    def visit(
        self, status: Crc, hasher: KeyHasher, visit_batch: t.Callable[[Batch], None] | None
    ) -> None:
        """Hash every page and show its live keys."""
        row = 0
        for leaf in self._pages:
            status.update_leaf(leaf)
            hasher.add(leaf, row)
            if visit_batch is not None:
                visit_batch(Batch(leaf, self.live[row : row + leaf.count]))
            row += leaf.count
