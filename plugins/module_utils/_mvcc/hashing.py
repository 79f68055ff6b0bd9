# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Where the rows of the key bucket lie, and HashKV over them."""

from __future__ import annotations

import typing as t
from array import array
from bisect import bisect_right
from itertools import accumulate
from operator import add

from .crc import Crc
from .keyvalue import KeyValue, WireError, parse_key_value
from .rows import bad_row, main_of, rows_up_to, tombstones

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt import Database, Leaf

__all__ = ["Batch", "KeyHasher", "Pages"]

# A larger run of bytes is read in pieces.
_MAX_RUN = 1 << 20


class Pages:
    """The leaf pages of the key bucket, at 28 bytes each: enough to hash most without decoding."""

    def __init__(self) -> None:
        self._ids = array("Q")
        self._starts = array("Q")
        self._ends = array("Q")
        self._counts = array("I")
        self.inline: Leaf | None = None

    def add(self, leaf: Leaf, *, inline: bool) -> None:
        """Note a leaf that has elements; a start of 0 marks one that can't be read in one run."""
        start, end = leaf.key_starts[0], leaf.ends[-1]
        whole = leaf.packed and not leaf.has_buckets and end - start <= _MAX_RUN
        self._ids.append(leaf.page_id)
        self._starts.append(start if whole else 0)
        self._ends.append(end)
        self._counts.append(leaf.count)
        if inline:
            self.inline = leaf

    def __iter__(self) -> t.Iterator[tuple[int, int, int, int]]:
        return zip(self._ids, self._starts, self._ends, self._counts)

    def read(self, database: Database, page_id: int) -> Leaf:
        """Decode one of the pages again."""
        return self.inline if self.inline is not None else database.leaf(page_id)


class Batch:
    """The live keys of one leaf page."""

    __slots__ = ("_page_id", "_pages", "_rows", "_run", "_run_start", "_source", "keys")

    def __init__(
        self,
        rows: list[bytes | None],
        source: tuple[Pages, Database, int],
        *,
        run: bytes | None,
        run_start: int,
    ) -> None:
        self.keys: list[bytes] = [key for key in rows if key is not None]
        self._rows = rows
        self._pages, self._source, self._page_id = source
        self._run = run
        self._run_start = run_start

    def entries(self) -> t.Iterator[KeyValue]:
        """Yield all live keys of the page."""
        leaf = self._pages.read(self._source, self._page_id)
        for row, key in enumerate(self._rows):
            if key is not None:
                yield self._entry(row, leaf.value_starts[row], leaf.ends[row])

    def find(self, marker: bytes) -> t.Iterator[KeyValue]:
        """Yield the live keys that may have `marker` in their value: all that do, and few more."""
        if self._run is None or self._pages.inline is not None:
            yield from self.entries()
            return
        at = self._run.find(marker)
        if at < 0:
            return
        key_sizes, value_sizes = self._source.element_sizes(self._page_id, len(self._rows))
        ends = list(accumulate(map(add, key_sizes, value_sizes)))
        while at >= 0:
            row = bisect_right(ends, at)
            end = ends[row]
            if self._rows[row] is not None:
                last = self._run_start + end
                yield self._entry(row, last - value_sizes[row], last)
            at = self._run.find(marker, end)

    def _entry(self, row: int, start: int, end: int) -> KeyValue:
        try:
            return parse_key_value(self._source.source, start, end)
        except WireError as exc:
            leaf = self._pages.read(self._source, self._page_id)
            raise bad_row(leaf, leaf.keys[row], f"its value is not a KeyValue: {exc}") from exc


class KeyHasher:
    """etcd's kvHasher (server/storage/mvcc/hash.go), over runs of rows instead of one by one."""

    def __init__(
        self, revision: int, compact: int, *, kept: bytearray, skip_compacted_tombstones: bool
    ) -> None:
        self.crc = Crc(b"key")
        self._revision = revision
        self._compact = compact
        self._kept = kept
        # hash.go: "skip revisions that are scheduled for deletion due to compacting; don't skip if
        # there isn't one."
        self._any_kept = 1 in kept
        self._skip_tombstones = skip_compacted_tombstones

    def add(
        self, run: bytes | None, last: int, row: int, count: int, read: t.Callable[[], Leaf]
    ) -> None:
        """Add a page: `count` rows from number `row`, none of a main revision above `last`."""
        if run is not None:
            first = main_of(run)
            if first > self._revision:
                return
            if last <= self._revision:
                if first > self._compact:
                    self.crc.update_bytes(run)
                    return
                if last <= self._compact and self._any_kept:
                    kept = self._kept.count(1, row, row + count)
                    # A kept row is never a tombstone, so hash.go's rule about those is moot.
                    if kept == count:
                        self.crc.update_bytes(run)
                    if kept in (0, count):
                        return
        self._add_rows(read(), row)

    def _add_rows(self, leaf: Leaf, row: int) -> None:
        keys = leaf.keys
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
