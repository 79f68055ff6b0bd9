# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""One look at an etcd database: its summary, its HashKV and its live keys."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import SnapshotInvalid

from .crc import Crc
from .facts import Alarm, Member, read_facts
from .keyvalue import KeyValue, WireError, parse_key_value
from .rows import Live, bad_row, check_revisions, main_of, rows_up_to, tombstones, user_keys

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt import (
        Bucket,
        Database,
        Leaf,
    )

__all__ = ["ImageSummary", "read_image"]

_KEY = b"key"


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
) -> ImageSummary:
    """Read a database and compute its HashKV (etcd server/storage/mvcc/hash.go).

    :param hash_revision: hash up to here; the image's current revision if None.
    :param hash_compact_revision: what the other side had compacted; the image's own if None. It
        may be later than the image's, up to `hash_revision`.
    :param skip_compacted_tombstones: leave out a deletion at exactly the compact revision, as
        etcd 3.4.34, 3.5.16 and later do; False for older ones.
    :param visit: called for each key that exists at the last revision, in the order of the
        changes; the object is good while the database is open.
    :raises DatabaseInvalid: the file breaks bbolt's format or etcd's.
    :raises SnapshotInvalid: the revision asked for is not in the image.
    """
    buckets = dict(database.buckets())
    facts = read_facts(buckets)
    own_compact = max(facts.finished_compact_revision, facts.scheduled_compact_revision)
    compact = own_compact if hash_compact_revision is None else hash_compact_revision

    live = Live()
    revision = 0
    kept: bytearray | None = None
    bucket = buckets.get(_KEY)
    for leaf in bucket.leaves() if bucket else ():
        if not leaf.count:
            continue
        keys = leaf.keys()
        plain = check_revisions(leaf, keys)
        names = user_keys(leaf, keys)
        revision = main_of(keys[-1])
        deleted = [] if plain else tombstones(keys)
        if kept is None and hash_revision is not None and revision > hash_revision:
            split = rows_up_to(keys, hash_revision)
            live.add(names[:split], [index for index in deleted if index < split])
            kept = live.mask()
            names = names[split:]
            deleted = [index - split for index in deleted if index >= split]
        live.add(names, deleted)
    alive = live.mask()
    key_count = len(live)
    row_count = live.row_count
    del live

    current = max(revision, own_compact, 1)
    wanted = current if hash_revision is None else hash_revision
    _check_hash_range(wanted, current=current, own_compact=own_compact, compact=compact)
    hasher = _KeyHasher(
        wanted,
        compact,
        kept=alive if kept is None else kept,
        skip_compacted_tombstones=skip_compacted_tombstones,
    )
    status = Crc()
    entry_count = row_count
    lease_count = 0
    for name, each in buckets.items():
        status.update_bytes(name)
        if name == _KEY:
            _second_pass(each, status, hasher, alive, visit)
            continue
        entries = 0
        for leaf in each.leaves():
            status.update_leaf(leaf)
            entries += leaf.count
        entry_count += entries
        if name == b"lease":
            lease_count = entries
    return ImageSummary(
        revision=revision,
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


def _check_hash_range(wanted: int, *, current: int, own_compact: int, compact: int) -> None:
    if not max(own_compact, compact) <= wanted <= current:
        raise SnapshotInvalid(
            f"HashKV at revision {wanted} with compact revision {compact} cannot be had from this "
            f"image: it ends at revision {current} and is compacted up to {own_compact}.",
            hint="Take another snapshot, or compare at a revision between them.",
        )


def _second_pass(
    bucket: Bucket,
    status: Crc,
    hasher: _KeyHasher,
    alive: bytearray,
    visit: t.Callable[[KeyValue], None] | None,
) -> None:
    row = 0
    for leaf in bucket.leaves():
        if not leaf.count:
            continue
        status.update_leaf(leaf)
        hasher.add(leaf, row)
        if visit is not None:
            _visit_leaf(leaf, alive, row, visit)
        row += leaf.count


def _visit_leaf(
    leaf: Leaf, alive: bytearray, row: int, visit: t.Callable[[KeyValue], None]
) -> None:
    index = alive.find(1, row, row + leaf.count)
    while index >= 0:
        try:
            entry = parse_key_value(leaf, index - row)
        except WireError as exc:
            key = leaf.keys()[index - row]
            raise bad_row(leaf, key, f"its value is not a KeyValue: {exc}") from exc
        visit(entry)
        index = alive.find(1, index + 1, row + leaf.count)


class _KeyHasher:
    """etcd's kvHasher over whole pages: the rows that it would write, in runs."""

    def __init__(
        self, revision: int, compact: int, *, kept: bytearray, skip_compacted_tombstones: bool
    ) -> None:
        self.crc = Crc(_KEY)
        self._revision = revision
        self._compact = compact
        self._kept = kept
        # hash.go: "skip revisions that are scheduled for deletion due to compacting; don't skip if
        # there isn't one."
        self._any_kept = any(kept)
        self._skip_tombstones = skip_compacted_tombstones
        self._done = False

    def add(self, leaf: Leaf, row: int) -> None:
        """Add the rows of `leaf`, the first of which is number `row`."""
        if self._done:
            return
        source, starts = leaf.source, leaf.key_starts
        last = main_of(source[starts[-1] : starts[-1] + 8])
        first = main_of(source[starts[0] : starts[0] + 8])
        if first > self._revision:
            self._done = True
            return
        if first > self._compact and last <= self._revision:
            self.crc.update(leaf, 0, leaf.count)
            return
        keys = leaf.keys()
        upper = rows_up_to(keys, self._revision)
        lower = min(rows_up_to(keys, self._compact), upper)
        mask = bytearray(b"\x01") * upper
        if self._any_kept:
            mask[:lower] = self._kept[row : row + lower]
        if self._skip_tombstones and lower:
            at_compact = rows_up_to(keys, self._compact - 1)
            for index in tombstones(keys[at_compact:lower]):
                mask[at_compact + index] = 0
        start = mask.find(1)
        while start >= 0:
            end = mask.find(0, start)
            end = upper if end < 0 else end
            self.crc.update(leaf, start, end)
            start = mask.find(1, end)
