# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Pages and their element tables."""

from __future__ import annotations

import struct
import typing as t
from operator import add, lt

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import DatabaseInvalid

if t.TYPE_CHECKING:
    import mmap

    Source = t.Union[bytes, mmap.mmap]

__all__ = [
    "BRANCH",
    "ELEMENT_SIZE",
    "FREELIST",
    "LEAF",
    "MAX_KEY_SIZE",
    "META",
    "PAGE_HEADER_SIZE",
    "Branch",
    "Leaf",
    "Page",
    "check_key_order",
    "invalid",
    "read_page",
]

# Names as in bbolt's internal/common/page.go.
BRANCH = 0x01
LEAF = 0x02
META = 0x04
FREELIST = 0x10
_TYPE_NAMES = {BRANCH: "branch", LEAF: "leaf", META: "meta", FREELIST: "freelist"}
PAGE_HEADER_SIZE = 16
ELEMENT_SIZE = 16
_BUCKET_LEAF_FLAG = 0x01
# bbolt's bucket.go.
MAX_KEY_SIZE = 32768
_HEADER = struct.Struct("<QHHI")
_HINT = "The file is damaged: take or fetch it again, or use another one."


def invalid(page_id: int, finding: str) -> DatabaseInvalid:
    """Build the error that names the page and what was found on it."""
    return DatabaseInvalid(f"The bbolt database is invalid: page {page_id}: {finding}.", hint=_HINT)


class Page(t.NamedTuple):
    """A page's header and where its bytes lie in the buffer, overflow pages included."""

    page_id: int
    flags: int
    element_count: int
    overflow: int
    start: int
    end: int

    @property
    def type_name(self) -> str:
        """Name the page's type as bbolt's checks do."""
        return _TYPE_NAMES.get(self.flags, f"unknown<{self.flags:02x}>")


def read_page(source: Source, page_id: int, *, page_size: int, page_count: int) -> Page:
    """Read the header of page `page_id` and check that the page lies below the high-water mark."""
    if page_id >= page_count:
        raise invalid(page_id, f"out of bounds: the high-water mark is {page_count}")
    start = page_id * page_size
    stored_id, flags, count, overflow = _HEADER.unpack_from(source, start)
    if stored_id != page_id:
        raise invalid(page_id, f"its header says that it is page {stored_id}")
    if page_id + overflow >= page_count:
        raise invalid(
            page_id, f"its {overflow} overflow pages pass the high-water mark {page_count}"
        )
    return Page(page_id, flags, count, overflow, start, start + (overflow + 1) * page_size)


class Leaf:
    """A leaf's elements: `keys`; `key_starts`, `value_starts`, `ends` are offsets into `source`.

    Made only by `read`, which proves that the elements lie inside the page as bbolt writes them: the
    first right behind the table, each right behind the last, so that one slice holds all of them.
    """

    __slots__ = (
        "_keys",
        "count",
        "ends",
        "flags",
        "has_buckets",
        "key_sizes",
        "key_starts",
        "page_id",
        "source",
        "value_sizes",
        "value_starts",
    )

    def __init__(self, source: Source, page_id: int, table: tuple[int, ...], start: int) -> None:
        self.source = source
        self.page_id = page_id
        self.count = len(table) // 4
        self.flags = table[0::4]
        self.has_buckets = any(self.flags)
        self.key_sizes = table[2::4]
        self.value_sizes = table[3::4]
        self.key_starts = list(
            map(add, range(start, start + ELEMENT_SIZE * self.count, ELEMENT_SIZE), table[1::4])
        )
        self.value_starts = list(map(add, self.key_starts, self.key_sizes))
        self.ends = list(map(add, self.value_starts, self.value_sizes))
        self._keys: list[bytes] | None = None

    @classmethod
    def read(cls, source: Source, page: Page) -> Leaf:
        """Decode the element table of a leaf (or inline) page."""
        start = page.start + PAGE_HEADER_SIZE
        data_start = start + ELEMENT_SIZE * page.element_count
        if data_start > page.end:
            raise invalid(
                page.page_id,
                f"{page.element_count} elements do not fit into its {page.end - page.start} bytes",
            )
        table = struct.unpack(f"<{4 * page.element_count}I", source[start:data_start])
        leaf = cls(source, page.page_id, table, start)
        if page.element_count:
            leaf._check_bounds(data_start, page.end)
        return leaf

    @property
    def keys(self) -> list[bytes]:
        """All keys, in the order of the page."""
        if self._keys is None:
            source = self.source
            self._keys = [source[a:b] for a, b in zip(self.key_starts, self.value_starts)]
        return self._keys

    @property
    def page_ids(self) -> list[int]:
        """The pages that the elements stand on."""
        return [self.page_id]

    def key(self, index: int) -> bytes:
        """Return one key."""
        return self.source[self.key_starts[index] : self.value_starts[index]]

    def value_place(self, index: int) -> tuple[Source, int, int]:
        """Return the file, and where one value starts and ends in it."""
        return self.source, self.value_starts[index], self.ends[index]

    def page_counts(self) -> list[int]:
        """Return how many elements each of the pages has."""
        return [self.count]

    def page_of(self, _index: int) -> int:
        """Return the page that an element stands on."""
        return self.page_id

    def _check_bounds(self, data_start: int, data_end: int) -> None:
        # node.go, write (internal/common/inode.go, WriteInodeToPage): without a gap. A count or a
        # size that is too small is found by the gap that it leaves.
        places = [data_start, *self.ends[:-1]]
        if self.key_starts != places:
            index = next(i for i, at in enumerate(places) if self.key_starts[i] != at)
            before = (
                f"element {index - 1}, which ends" if index else "the element table, which ends"
            )
            raise invalid(
                self.page_id,
                f"element {index} starts at byte {self.key_starts[index]}, not right behind "
                f"{before} at {places[index]}",
            )
        if self.ends[-1] > data_end:
            raise invalid(
                self.page_id,
                f"its elements take bytes {data_start} to {self.ends[-1]}; its data area ends at "
                f"{data_end}",
            )
        if max(self.key_sizes) > MAX_KEY_SIZE:
            raise invalid(
                self.page_id,
                f"a key has {max(self.key_sizes)} bytes; bbolt's longest has {MAX_KEY_SIZE}",
            )
        if self.has_buckets and max(self.flags) > _BUCKET_LEAF_FLAG:
            raise invalid(
                self.page_id, f"an element has flags {max(self.flags):#x}; bbolt knows 0x0 and 0x1"
            )


class Branch(t.NamedTuple):
    """A branch page's keys and the pages that they lead to."""

    page_id: int
    keys: list[bytes]
    children: tuple[int, ...]

    @classmethod
    def read(cls, source: Source, page: Page) -> Branch:
        """Decode the element table of a branch page."""
        start = page.start + PAGE_HEADER_SIZE
        data_start = start + ELEMENT_SIZE * page.element_count
        if data_start > page.end:
            raise invalid(
                page.page_id,
                f"{page.element_count} elements do not fit into its {page.end - page.start} bytes",
            )
        if not page.element_count:
            raise invalid(page.page_id, "a branch page without elements")
        table = struct.unpack("<" + "IIQ" * page.element_count, source[start:data_start])
        keys = []
        previous_end = data_start
        for index in range(page.element_count):
            key_start = start + ELEMENT_SIZE * index + table[3 * index]
            key_end = key_start + table[3 * index + 1]
            if key_end - key_start > MAX_KEY_SIZE:
                raise invalid(
                    page.page_id,
                    f"the key of element {index} has {key_end - key_start} bytes; bbolt's longest "
                    f"has {MAX_KEY_SIZE}",
                )
            if key_start != previous_end or key_end > page.end:
                raise invalid(
                    page.page_id,
                    f"the key of element {index} takes bytes {key_start} to {key_end}; its place is "
                    f"from {previous_end}, and at most to {page.end}",
                )
            keys.append(source[key_start:key_end])
            previous_end = key_end
        return cls(page.page_id, keys, table[2::3])


def check_key_order(page_id: int, keys: list[bytes], low: bytes | None, high: bytes | None) -> None:
    """Prove that `keys` rise strictly and lie in [low, high), as bbolt's verifyKeyOrder."""
    if not keys:
        return
    if low is not None and keys[0] < low:
        raise invalid(
            page_id, f"its first key {keys[0].hex()} is below the parent page's key {low.hex()}"
        )
    if high is not None and keys[-1] >= high:
        raise invalid(
            page_id,
            f"its last key {keys[-1].hex()} is not below the parent's next key {high.hex()}",
        )
    if not all(map(lt, keys, keys[1:])):
        index = next(i for i in range(1, len(keys)) if keys[i - 1] >= keys[i])
        raise invalid(
            page_id, f"key {index} {keys[index].hex()} is not above key {keys[index - 1].hex()}"
        )
