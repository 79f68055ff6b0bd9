# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Leaf pages that follow each other in a tree, decoded as one: a page at a time costs too much."""

from __future__ import annotations

import struct
import typing as t
from bisect import bisect_right
from itertools import accumulate, islice
from operator import add, lt

from .page import ELEMENT_SIZE, MAX_KEY_SIZE, PAGE_HEADER_SIZE

if t.TYPE_CHECKING:
    from .page import Page, Source

__all__ = ["SHEAF_BYTES", "Sheaf"]

# Pages are gathered up to this size; a larger page stands alone, and is not copied.
SHEAF_BYTES = 256 << 10
# Position, key size and value size of a leaf's element: what its table ends with.
_LAST = struct.Struct("<III")


class Sheaf:
    """Leaf pages as bbolt writes them, with their keys and values in one run of bytes, `source`.

    It has what a Leaf has; offsets are into `source`. Made only by `read`, which takes nothing that
    is out of the ordinary: no empty page, no gap, no nested bucket, nothing out of bounds.
    """

    __slots__ = (
        "_file",
        "_firsts",
        "_keys",
        "_shifts",
        "count",
        "ends",
        "key_sizes",
        "key_starts",
        "page_ids",
        "source",
        "value_sizes",
        "value_starts",
    )

    flags: tuple[int, ...] = ()
    has_buckets = False

    def __init__(
        self,
        file: Source,
        runs: list[bytes],
        places: tuple[list[int], list[int], list[int]],
        sizes: tuple[tuple[int, ...], tuple[int, ...]],
        key_starts: list[int],
        ends: list[int],
    ) -> None:
        self.source = b"".join(runs)
        self._file = file
        self.page_ids, self._firsts, self._shifts = places
        self.key_sizes, self.value_sizes = sizes
        self.key_starts = key_starts
        self.count = len(key_starts)
        self.value_starts = list(map(add, key_starts, self.key_sizes))
        self.ends = ends
        self._keys: list[bytes] | None = None

    @classmethod
    def read(cls, source: Source, pages: list[Page]) -> Sheaf | None:
        """Decode pages; None where one of them has to be looked at by itself."""
        tables: list[bytes] = []
        runs: list[bytes] = []
        page_ids: list[int] = []
        firsts: list[int] = []
        shifts: list[int] = []
        # Where each element of the tables would be if they stood right before their runs.
        origins: list[int] = []
        size = 0
        for page_id, _flags, count, _overflow, start, end in pages:
            table_start = start + PAGE_HEADER_SIZE
            data_start = table_start + ELEMENT_SIZE * count
            if not count or data_start > end:
                return None
            # node.go, write: data stands right behind the table, each key and value behind the last.
            run_size = sum(_LAST.unpack_from(source, data_start - _LAST.size)) - ELEMENT_SIZE
            if not 0 <= run_size <= end - data_start:
                return None
            page_ids.append(page_id)
            firsts.append(len(origins))
            shifts.append(data_start - size)
            origins += range(size - ELEMENT_SIZE * count, size, ELEMENT_SIZE)
            tables.append(source[table_start:data_start])
            runs.append(source[data_start : data_start + run_size])
            size += run_size
        table = struct.unpack(f"<{4 * len(origins)}I", b"".join(tables))
        key_sizes, value_sizes = table[2::4], table[3::4]
        ends = list(accumulate(map(add, key_sizes, value_sizes)))
        key_starts = [0, *ends[:-1]]
        if any(table[::4]) or ends[-1] != size or max(key_sizes) > MAX_KEY_SIZE:
            return None
        if list(map(add, table[1::4], origins)) != key_starts:
            return None
        places = (page_ids, firsts, shifts)
        return cls(source, runs, places, (key_sizes, value_sizes), key_starts, ends)

    @property
    def keys(self) -> list[bytes]:
        """All keys, in order."""
        if self._keys is None:
            source = self.source
            self._keys = [source[a:b] for a, b in zip(self.key_starts, self.value_starts)]
        return self._keys

    def page_of(self, index: int) -> int:
        """Return the page that element `index` stands on."""
        return self.page_ids[bisect_right(self._firsts, index) - 1]

    def key(self, index: int) -> bytes:
        """Return one key."""
        return self.source[self.key_starts[index] : self.value_starts[index]]

    def value_place(self, index: int) -> tuple[Source, int, int]:
        """Return the file, and where one value starts and ends in it."""
        shift = self._shifts[bisect_right(self._firsts, index) - 1]
        return self._file, self.value_starts[index] + shift, self.ends[index] + shift

    def page_counts(self) -> list[int]:
        """Return how many elements each page has."""
        firsts = self._firsts
        return [b - a for a, b in zip(firsts, [*firsts[1:], self.count])]

    def in_order(self, bounds: list[tuple[bytes | None, bytes | None]]) -> bool:
        """Tell whether keys rise strictly and each page's lie in its [low, high)."""
        keys = self.keys
        if not all(map(lt, keys, islice(keys, 1, None))):
            return False
        first = 0
        for (low, high), count in zip(bounds, self.page_counts()):
            last = first + count - 1
            if (low is not None and keys[first] < low) or (high is not None and keys[last] >= high):
                return False
            first += count
        return True
