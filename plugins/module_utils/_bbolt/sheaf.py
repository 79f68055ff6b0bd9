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
        sizes: tuple[list[int], list[int]],
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
        runs: list[bytes] = []
        firsts: list[int] = []
        shifts: list[int] = []
        key_sizes: list[int] = []
        value_sizes: list[int] = []
        key_starts: list[int] = []
        size = 0
        for page in pages:
            count = page.element_count
            start = page.start + PAGE_HEADER_SIZE
            data_start = start + ELEMENT_SIZE * count
            if not count or data_start > page.end:
                return None
            table = struct.unpack_from(f"<{4 * count}I", source, start)
            # node.go, write: data stands right behind the table, each key and value behind the last.
            run_size = table[-3] + table[-2] + table[-1] - ELEMENT_SIZE
            if any(table[::4]) or data_start + run_size > page.end:
                return None
            firsts.append(len(key_starts))
            shifts.append(data_start - size)
            first = size - ELEMENT_SIZE * count
            key_starts += map(add, table[1::4], range(first, size, ELEMENT_SIZE))
            key_sizes += table[2::4]
            value_sizes += table[3::4]
            runs.append(source[data_start : data_start + run_size])
            size += run_size
        ends = list(accumulate(map(add, key_sizes, value_sizes)))
        if key_starts != [0, *ends[:-1]] or ends[-1] != size or max(key_sizes) > MAX_KEY_SIZE:
            return None
        places = ([page.page_id for page in pages], firsts, shifts)
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
