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
from .keyvalue import REWRITTEN, KeyValue, WireError, message_key, parse_key_value, varint
from .rows import bad_row, main_of, rows_up_to, tombstones, user_keys

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.page import Leaf

    from .keyvalue import Source

__all__ = ["Batch", "KeyHasher", "Page", "Pages"]

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

    def __len__(self) -> int:
        return len(self._ids)


class Page:
    """One of the pages: `run` holds its keys and values, None where they don't lie in one run."""

    __slots__ = ("_database", "_inline", "count", "page_id", "run", "start")

    def __init__(
        self, database: Database, inline: Leaf | None, place: tuple[int, int, int, int]
    ) -> None:
        self.page_id, self.start, end, self.count = place
        self.run = database.source[self.start : end] if self.start else None
        self._database = database
        self._inline = inline

    @property
    def source(self) -> Source:
        """What the page is read from."""
        return self._database.source

    def read(self) -> Leaf:
        """Decode the page again."""
        return self._inline if self._inline is not None else self._database.leaf(self.page_id)

    def value_sizes(self) -> tuple[int, ...]:
        """Return the sizes of the values."""
        if self._inline is not None:
            return self._inline.value_sizes
        return self._database.element_sizes(self.page_id, self.count)[1]

    def ends(self) -> list[int]:
        """Return where each row ends inside the run."""
        if self._inline is not None:
            return [end - self.start for end in self._inline.ends]
        sizes = self._database.element_sizes(self.page_id, self.count)
        return list(accumulate(map(add, *sizes)))


class Growth(t.NamedTuple):
    """Keys with a figure: of large values their size, of those written again and again how often.

    `history` has the rows that are no longer, or never were, a live key, with their size.
    """

    large: list[tuple[bytes, int]]
    rewritten: list[tuple[bytes, int]]
    history: list[tuple[bytes, int]]


class Batch:
    """The live keys of one leaf page."""

    __slots__ = ("_page", "_rows", "keys")

    def __init__(self, page: Page, rows: list[bytes | None]) -> None:
        self.keys: list[bytes] = [key for key in rows if key is not None]
        self._page = page
        self._rows = rows

    def mod_revisions(self) -> list[int]:
        """Return the revision that wrote each of `keys`: it stands in its row's own key."""
        run = self._page.run
        if run is None:
            rows = [main_of(key) for key in self._page.read().keys]
        else:
            starts = [0, *self._page.ends()]
            rows = [main_of(run[at : at + 8]) for at in starts[:-1]]
        return [main for main, key in zip(rows, self._rows) if key is not None]

    def growth(self, least: int) -> Growth:
        """Return what makes the database large on this page; values up to `least` bytes are small."""
        page = self._page
        if page.run is None:
            return self._growth_by_rows(least)
        large, history, heads = [], [], []
        sizes = page.value_sizes()
        for row, (key, end, size) in enumerate(zip(self._rows, page.ends(), sizes)):
            if key is None:
                history.append((message_key(page.run, end - size, end), size))
                continue
            head = end - size + len(key) + (2 if len(key) < 0x80 else 3)
            heads.append(head)
            if end - head > least:
                large.append((row, page.start + end - size, page.start + end))
        found = [REWRITTEN.match(page.run, head) for head in heads]
        return Growth(
            large=[
                pair
                for pair in (_value_size(self._entry(*place)) for place in large)
                if pair[1] > least
            ],
            rewritten=[(key, varint(m[1])[0]) for key, m in zip(self.keys, found) if m],
            history=history,
        )

    def _growth_by_rows(self, least: int) -> Growth:
        leaf, entries = self._page.read(), list(self.entries())
        names = user_keys(leaf, leaf.keys)
        return Growth(
            large=[pair for pair in map(_value_size, entries) if pair[1] > least],
            rewritten=[(entry.key, entry.version) for entry in entries if entry.version > 1],
            history=[
                (name, size)
                for name, live, size in zip(names, self._rows, leaf.value_sizes)
                if live is None
            ],
        )

    def entries(self) -> t.Iterator[KeyValue]:
        """Yield all live keys of the page."""
        leaf = self._page.read()
        for row, key in enumerate(self._rows):
            if key is not None:
                yield self._entry(row, leaf.value_starts[row], leaf.ends[row])

    def find(self, marker: bytes) -> t.Iterator[KeyValue]:
        """Yield the live keys that may have `marker` in their value: all that do, and few more."""
        page = self._page
        if page.run is None:
            yield from self.entries()
            return
        at = page.run.find(marker)
        if at < 0:
            return
        ends, value_sizes = page.ends(), page.value_sizes()
        while at >= 0:
            row = bisect_right(ends, at)
            if self._rows[row] is not None:
                last = page.start + ends[row]
                yield self._entry(row, last - value_sizes[row], last)
            at = page.run.find(marker, ends[row])

    def _entry(self, row: int, start: int, end: int) -> KeyValue:
        try:
            return parse_key_value(self._page.source, start, end)
        except WireError as exc:
            leaf = self._page.read()
            raise bad_row(leaf, leaf.keys[row], f"its value is not a KeyValue: {exc}") from exc


def _value_size(entry: KeyValue) -> tuple[bytes, int]:
    return entry.key, entry.value_end - entry.value_start


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

    def add(self, page: Page, row: int, *, last: int) -> None:
        """Add a page whose first row is number `row`; none has a main revision above `last`."""
        run = page.run
        if run is not None:
            first = main_of(run)
            if first > self._revision:
                return
            if last <= self._revision:
                if first > self._compact:
                    self.crc.update_bytes(run)
                    return
                if last <= self._compact and self._any_kept:
                    self._add_kept(page, run, row)
                    return
        self._add_rows(page.read(), row)

    def _add_kept(self, page: Page, run: bytes, row: int) -> None:
        """Add the kept ones of rows that are all compacted.

        A kept row is never a tombstone, so hash.go's rule about those is moot here.
        """
        stop = row + page.count
        kept = self._kept.count(1, row, stop)
        if kept == page.count:
            self.crc.update_bytes(run)
        elif kept:
            ends = [0, *page.ends()]
            start = self._kept.find(1, row, stop)
            while start >= 0:
                end = self._kept.find(0, start, stop)
                end = stop if end < 0 else end
                self.crc.update_bytes(run[ends[start - row] : ends[end - row]])
                start = self._kept.find(1, end, stop)

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
