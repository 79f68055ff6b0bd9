# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Where the rows of the key bucket lie, what lives in them, and HashKV over them."""

from __future__ import annotations

import typing as t
from array import array
from bisect import bisect_right
from itertools import compress, repeat
from operator import add, sub

from ansible_collections.controlplane.etcd.plugins.module_utils._protobuf import WireError, varint

from .crc import Crc
from .keyvalue import (
    REWRITTEN,
    Found,
    KeyValue,
    found_at,
    message_key,
    numbers_at,
    parse_key_value,
    value_size,
)
from .rows import bad_row, main_of, mains, rows_up_to, tombstones, user_keys

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database

    from .rows import Leaves

__all__ = ["Batch", "KeyHasher", "Pages"]

# Rows of more bytes are not searched through to find how a value starts.
_LARGE = 512
# The most that stands before the value beside the key, as etcd writes a KeyValue: the key's tag and
# length, three numbers, and the value's tag and length.
_BEFORE_VALUE = 64


class Pages:
    """The leaf pages of the key bucket, to be read a second time; 16 bytes each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids = array("Q")
        self._first_rows = array("Q")
        self._together = array("I")
        self._row_count = 0
        self._inline: Leaves | None = None

    def add(self, leaf: Leaves, *, inline: bool) -> None:
        """Note leaves that have elements."""
        self._ids.extend(leaf.page_ids)
        for count in leaf.page_counts():
            self._first_rows.append(self._row_count)
            self._row_count += count
        self._together.append(len(leaf.page_ids))
        if inline:
            self._inline = leaf

    def __iter__(self) -> t.Iterator[Leaves]:
        first = 0
        for count in self._together:
            last = first + count
            yield self._inline or self._database.read_again(self._ids[first:last])
            first = last

    def name_of(self, row: int) -> bytes:
        """Return the user's key of a row that was noted."""
        index = bisect_right(self._first_rows, row) - 1
        row -= self._first_rows[index]
        if self._inline is not None:
            start, end = self._inline.value_starts[row], self._inline.ends[row]
        else:
            _key_start, start, end = self._database.element(self._ids[index], row)
        return message_key(self._database.source, start, end)


class Growth(t.NamedTuple):
    """Keys with a figure: of large values their size, of those written again and again how often.

    `history` has the rows that are no longer, or never were, a live key, with their size.
    """

    large: list[tuple[bytes, int]]
    rewritten: list[tuple[bytes, int]]
    history: list[tuple[bytes, int]]


class Batch:
    """The live keys of some pages that follow each other."""

    __slots__ = ("_leaf", "_live", "_names", "keys")

    def __init__(self, leaf: Leaves, live: bytearray) -> None:
        self._leaf = leaf
        self._live = live
        self._names = user_keys(leaf)
        self.keys: list[bytes] = list(compress(self._names, live))

    def mod_revisions(self) -> list[int]:
        """Return the revision that wrote each of `keys`: it stands in its row's own key."""
        return list(compress(mains(self._leaf), self._live))

    def growth(self, least: int) -> Growth:
        """Return what makes the database large here; values up to `least` bytes are small."""
        leaf, names, live = self._leaf, self._names, self._live
        # A value, and some bytes before it.
        rests = list(map(sub, leaf.value_sizes, map(len, names)))
        large: list[int] = []
        if max(rests) > least:
            large = [row for row, size in enumerate(rests) if size > least and live[row]]
        sizes = ((names[row], self._size(row)) for row in large)
        dead = () if len(self.keys) == len(names) else zip(names, live, leaf.value_sizes)
        return Growth(
            large=[pair for pair in sizes if pair[1] > least],
            rewritten=list(self._rewritten()),
            history=[(name, size) for name, alive, size in dead if not alive],
        )

    def _size(self, row: int) -> int:
        """Return the size of a row's value."""
        leaf, key_size = self._leaf, len(self._names[row])
        start, end = leaf.value_starts[row], leaf.ends[row]
        size = value_size(leaf.source, start, end, key_size=key_size)
        if size is None:
            entry = self._entry(row)
            size = entry.value_end - entry.value_start
        return size

    def _rewritten(self) -> t.Iterator[tuple[bytes, int]]:
        """Yield the live keys that were written more than once, and how often."""
        leaf, match, ends = self._leaf, REWRITTEN.match, self._leaf.ends
        for row in range(leaf.count) if self._is_large else self._with_numbers():
            if self._live[row]:
                name = self._names[row]
                head = numbers_at(leaf.value_starts[row], key_size=len(name))
                found = match(leaf.source, head, ends[row])
                if found:
                    yield name, varint(found[1])[0]

    def _with_numbers(self) -> t.Iterator[int]:
        """Yield the rows that hold somewhere what the numbers of a rewritten key look like."""
        source, search, ends = self._leaf.source, REWRITTEN.search, self._leaf.ends
        found = search(source, self._leaf.key_starts[0], ends[-1])
        while found:
            row = bisect_right(ends, found.start())
            yield row
            found = search(source, ends[row], ends[-1])

    @property
    def _is_large(self) -> bool:
        """Tell whether rows have so many bytes that these had better not be searched through."""
        leaf = self._leaf
        return leaf.ends[-1] - leaf.key_starts[0] > _LARGE * leaf.count

    def entries(self) -> t.Iterator[KeyValue]:
        """Yield all live keys of the pages."""
        return map(self._entry, compress(range(self._leaf.count), self._live))

    def find(self, marker: bytes) -> t.Iterator[Found | KeyValue]:
        """Yield the live keys that may have `marker` in their value: all that do, and few more."""
        leaf = self._leaf
        for row, at in self._beside_large(marker) if self._is_large else self._among_small(marker):
            if self._live[row]:
                start, end = leaf.value_starts[row], leaf.ends[row]
                key = self._names[row]
                found = found_at(leaf.source, start, end, key=key, value_start=at)
                yield found or self._entry(row)

    def _among_small(self, marker: bytes) -> t.Iterator[tuple[int, int]]:
        """Yield the rows that hold `marker`, and where they do first."""
        find, ends = self._leaf.source.find, self._leaf.ends
        at = find(marker, self._leaf.key_starts[0], ends[-1])
        while at >= 0:
            row = bisect_right(ends, at)
            yield row, at
            at = find(marker, ends[row], ends[-1])

    def _beside_large(self, marker: bytes) -> t.Iterator[tuple[int, int]]:
        """Yield the rows whose value may start with `marker`, without reading large values."""
        leaf, window = self._leaf, _BEFORE_VALUE + len(marker)
        starts = list(map(add, leaf.value_starts, map(len, self._names)))
        limits = [start + window for start in starts]
        found = map(leaf.source.find, repeat(marker), starts, map(min, limits, leaf.ends))
        yield from ((row, at) for row, at in enumerate(found) if at >= 0)

    def _entry(self, row: int) -> KeyValue:
        leaf = self._leaf
        try:
            return parse_key_value(*leaf.value_place(row))
        except WireError as exc:
            raise bad_row(leaf, row, f"its value is not a KeyValue: {exc}") from exc


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

    def add(self, leaf: Leaves, row: int) -> None:
        """Add leaves whose first row is number `row`."""
        first, last = (main_of(leaf.key(index)) for index in (0, leaf.count - 1))
        if first > self._revision:
            return
        if last <= self._revision and first > self._compact:
            self.crc.update(leaf, 0, leaf.count)
        elif last <= self._compact and self._any_kept:
            # A kept row is never a tombstone, so hash.go's rule about those is moot here.
            self._add_masked(leaf, self._kept[row : row + leaf.count])
        else:
            self._add_masked(leaf, self._mask(leaf.keys, row))

    def _mask(self, keys: list[bytes], row: int) -> bytearray:
        """Return 1 for each row that counts."""
        upper = rows_up_to(keys, self._revision)
        lower = min(rows_up_to(keys, self._compact), upper)
        mask = bytearray(b"\x01") * upper
        if self._any_kept:
            mask[:lower] = self._kept[row : row + lower]
        if self._skip_tombstones and lower:
            at_compact = rows_up_to(keys, self._compact - 1)
            for index in tombstones(keys[at_compact:lower]):
                mask[at_compact + index] = 0
        return mask

    def _add_masked(self, leaf: Leaves, mask: bytearray) -> None:
        start = mask.find(1)
        while start >= 0:
            end = mask.find(0, start)
            end = len(mask) if end < 0 else end
            self.crc.update(leaf, start, end)
            start = mask.find(1, end)
