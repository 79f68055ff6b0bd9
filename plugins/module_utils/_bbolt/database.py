# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A database: its meta pages, buckets and the walk over their trees."""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import DatabaseInvalid

from .page import (
    BRANCH,
    ELEMENT_SIZE,
    LEAF,
    META,
    PAGE_HEADER_SIZE,
    Branch,
    Leaf,
    Page,
    check_key_order,
    invalid,
    read_page,
)
from .sheaf import SHEAF_BYTES, Sheaf

if t.TYPE_CHECKING:
    import mmap

    Source = t.Union[bytes, mmap.mmap]

__all__ = ["NO_FREELIST", "Bucket", "Database", "Seen", "image_bytes_of"]

# bbolt internal/common/types.go and page.go: names and values as there.
MAGIC = 0xED0CDAED
VERSION = 2
NO_FREELIST = 0xFFFFFFFFFFFFFFFF
_META = struct.Struct("<IIIIQQQQQQ")
_META_SUMMED_SIZE = 56
_BUCKET = struct.Struct("<QQ")
_ELEMENT = struct.Struct("<IIII")
_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_MAX_PAGE_SIZE = 64 * 1024


class _Meta(t.NamedTuple):
    magic: int
    version: int
    page_size: int
    flags: int
    root: int
    sequence: int
    freelist: int
    page_count: int
    txid: int
    checksum: int


def _fnv64a(data: bytes) -> int:
    total = _FNV_OFFSET
    for byte in data:
        total = ((total ^ byte) * _FNV_PRIME) & 0xFFFFFFFFFFFFFFFF
    return total


def _newest_meta(source: Source) -> _Meta:
    """Return the valid meta with the highest txid, as bbolt's DB.meta and getPageSize do."""
    reasons = []
    first, reason = _read_meta(source, 0)
    reasons.append(f"meta page 0: {reason}")
    second = None
    # db.go, getPageSizeFromSecondMeta: where meta0 is bad, the page size is not known.
    offsets = [first.page_size] if first else [1024 << i for i in range(15)]
    for offset in offsets:
        second, reason = _read_meta(source, offset)
        if second is not None and second.page_size == offset:
            break
        second = None
    reasons.append(f"meta page 1: {reason if first else 'found at no page size'}")
    metas = [meta for meta in (first, second) if meta is not None]
    if not metas:
        raise DatabaseInvalid(
            f"This is not a bbolt database ({len(source)} bytes): {'; '.join(reasons)}.",
            hint="Is it an etcd snapshot, opened and unpacked? Take or fetch it again.",
        )
    return max(metas, key=lambda meta: meta.txid)


def _read_meta(source: Source, offset: int) -> tuple[_Meta | None, str]:
    data = source[offset + PAGE_HEADER_SIZE : offset + PAGE_HEADER_SIZE + _META.size]
    if len(data) < _META.size:
        return None, f"needs {_META.size} bytes, there are {len(data)}"
    meta = _Meta._make(_META.unpack(data))
    if meta.magic != MAGIC:
        return None, f"magic is {meta.magic:#010x}, expected {MAGIC:#010x}"
    if meta.version != VERSION:
        return None, f"file format version is {meta.version}, expected {VERSION}"
    checksum = _fnv64a(data[:_META_SUMMED_SIZE])
    if meta.checksum != checksum:
        return None, f"checksum is {meta.checksum:#018x}, its bytes give {checksum:#018x}"
    size = meta.page_size
    if not 1024 <= size <= _MAX_PAGE_SIZE or size & (size - 1):
        return None, f"page size is {size}"
    return meta, ""


def image_bytes_of(head: bytes) -> int:
    """Return how long an image says that it is, by its first pages.

    :raises DatabaseInvalid: no meta page is valid.
    """
    meta = _newest_meta(head)
    return meta.page_count * meta.page_size


class Seen:
    """Pages reached so far; a page reached twice is an error, so every walk ends."""

    def __init__(self, page_count: int) -> None:
        self.pages = bytearray(page_count)

    def add(self, page: Page) -> None:
        """Note `page` and its overflow pages."""
        first, last = page.page_id, page.page_id + page.overflow
        if first == last and not self.pages[first]:
            self.pages[first] = 1
            return
        if any(self.pages[first : last + 1]):
            twice = self.pages.index(1, first)
            raise invalid(twice, "multiple references")
        self.pages[first : last + 1] = b"\x01" * (page.overflow + 1)


class Bucket:
    """One bucket; `root` is its tree's root page, 0 for a bucket inline in its parent's page."""

    def __init__(
        self, database: Database, *, root: int, sequence: int, inline: Page | None = None
    ) -> None:
        self._database = database
        self.root = root
        self.sequence = sequence
        self.inline = inline

    def leaves(self, seen: Seen | None = None) -> t.Iterator[Leaf]:
        """Yield the bucket's leaf pages in key order, each proven in form and order."""
        if self.inline is not None:
            leaf = Leaf.read(self._database.source, self.inline)
            check_key_order(leaf.page_id, leaf.keys, None, None)
            yield leaf
            return
        yield from self._database.walk(self.root, seen or Seen(self._database.page_count))

    def sheaves(self, seen: Seen) -> t.Iterator[Leaf | Sheaf]:
        """Yield what `leaves` yields, many pages at a time where they are as bbolt writes them."""
        if self.inline is not None:
            yield from self.leaves(seen)
        else:
            yield from self._database.walk_sheaves(self.root, seen)

    def entries(self) -> t.Iterator[tuple[bytes, bytes]]:
        """Yield every key and value in order; a nested bucket's value is its header."""
        source = self._database.source
        for leaf in self.leaves():
            for key_start, value_start, end in zip(leaf.key_starts, leaf.value_starts, leaf.ends):
                yield source[key_start:value_start], source[value_start:end]

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`; meant for small buckets, which it reads from their start."""
        return next((value for name, value in self.entries() if name == key), None)

    def buckets(self, seen: Seen | None = None) -> t.Iterator[tuple[bytes, Bucket]]:
        """Yield the names of nested buckets and the buckets, in order."""
        for leaf in self.leaves(seen):
            if leaf.has_buckets:
                yield from self._database.nested(leaf)


class Database:
    """A bbolt file in a buffer: bytes, or a read-only mmap, that nobody changes meanwhile.

    The buffer may be longer than the image (a snapshot's 32 bytes of sha256, a preallocated file).
    :raises DatabaseInvalid: no meta page is valid, or the image is longer than the buffer.
    """

    def __init__(self, source: bytes | mmap.mmap) -> None:
        self.source = source
        meta = _newest_meta(source)
        self.page_size = meta.page_size
        self.page_count = meta.page_count
        self.meta_txid = meta.txid
        self.freelist = meta.freelist
        self.size_bytes = meta.page_count * meta.page_size
        self.root = Bucket(self, root=meta.root, sequence=meta.sequence)
        if self.size_bytes > len(source):
            raise DatabaseInvalid(
                f"The bbolt database is truncated: its meta page {meta.txid % 2} counts "
                f"{meta.page_count} pages of {meta.page_size} bytes, which are {self.size_bytes} "
                f"bytes, but there are {len(source)}.",
                hint="Take or fetch it again, or use another one.",
            )
        if meta.page_count < 3 or not 2 <= meta.root < meta.page_count:
            raise invalid(
                meta.txid % 2,
                f"the root bucket's page is {meta.root} of {meta.page_count} pages",
            )

    def page(self, page_id: int) -> Page:
        """Read one page's header."""
        return read_page(self.source, page_id, page_size=self.page_size, page_count=self.page_count)

    def bucket(self, name: bytes) -> Bucket | None:
        """Return the top-level bucket `name`."""
        return next((bucket for key, bucket in self.buckets() if key == name), None)

    def buckets(self) -> t.Iterator[tuple[bytes, Bucket]]:
        """Yield the top-level buckets in order."""
        return self.root.buckets()

    def nested(self, leaf: Leaf) -> t.Iterator[tuple[bytes, Bucket]]:
        """Yield the buckets that lie on `leaf`."""
        for index, flag in enumerate(leaf.flags):
            if not flag:
                continue
            start, end = leaf.value_starts[index], leaf.ends[index]
            if end - start < _BUCKET.size:
                raise invalid(
                    leaf.page_id,
                    f"the bucket in element {index} has a header of {end - start} bytes, expected "
                    f"{_BUCKET.size} or more",
                )
            name = self.source[leaf.key_starts[index] : start]
            root, sequence = _BUCKET.unpack(self.source[start : start + _BUCKET.size])
            inline = None if root else self._inline_page(leaf, start + _BUCKET.size, end)
            yield name, Bucket(self, root=root, sequence=sequence, inline=inline)

    def _inline_page(self, leaf: Leaf, start: int, end: int) -> Page:
        header = self.source[start : start + PAGE_HEADER_SIZE]
        if end - start < PAGE_HEADER_SIZE:
            raise invalid(
                leaf.page_id,
                f"an inline bucket has {end - start} bytes, expected {PAGE_HEADER_SIZE} or more",
            )
        flags, count = struct.unpack_from("<HH", header, 8)
        if flags != LEAF:
            raise invalid(leaf.page_id, f"an inline bucket has page flags {flags:#x}, expected 0x2")
        return Page(leaf.page_id, flags, count, 0, start, end)

    def walk(self, root: int, seen: Seen) -> t.Iterator[Leaf]:
        """Yield the leaves below page `root` in order, proving what bbolt's Tx.Check proves."""
        for page, low, high in self._leaf_pages(root, seen):
            yield self._proven(page, low, high)

    def walk_sheaves(self, root: int, seen: Seen) -> t.Iterator[Leaf | Sheaf]:
        """Walk as `walk` does, with as many leaves at a time as their bytes allow."""
        pages: list[tuple[Page, bytes | None, bytes | None]] = []
        size = 0
        for found in self._leaf_pages(root, seen):
            page_bytes = found[0].end - found[0].start
            if size + page_bytes > SHEAF_BYTES and pages:
                yield from self._gather(pages)
                pages, size = [], 0
            pages.append(found)
            size += page_bytes
        if pages:
            yield from self._gather(pages)

    def _gather(
        self, found: list[tuple[Page, bytes | None, bytes | None]]
    ) -> t.Iterator[Leaf | Sheaf]:
        """Yield one sheaf of pages, or leaf by leaf where one is unusual, or wrong."""
        if found[0][0].end - found[0][0].start <= SHEAF_BYTES:
            sheaf = Sheaf.read(self.source, [page for page, _low, _high in found])
            if sheaf is not None and sheaf.in_order([(low, high) for _page, low, high in found]):
                yield sheaf
                return
        for page, low, high in found:
            yield self._proven(page, low, high)

    def read_again(self, page_ids: t.Sequence[int]) -> Leaf | Sheaf:
        """Read leaves that `walk_sheaves` has yielded before, as one or as it gave that one."""
        pages = [self.page(page_id) for page_id in page_ids]
        if len(pages) > 1 or pages[0].end - pages[0].start <= SHEAF_BYTES:
            sheaf = Sheaf.read(self.source, pages)
            if sheaf is not None:
                return sheaf
        return Leaf.read(self.source, pages[0])

    def element(self, page_id: int, index: int) -> tuple[int, int, int]:
        """Return where key and value of a leaf's element start and end; the page was proven."""
        at = page_id * self.page_size + PAGE_HEADER_SIZE + ELEMENT_SIZE * index
        _flags, offset, key_size, value_size = _ELEMENT.unpack_from(self.source, at)
        at += offset
        return at, at + key_size, at + key_size + value_size

    def _proven(self, page: Page, low: bytes | None, high: bytes | None) -> Leaf:
        leaf = Leaf.read(self.source, page)
        check_key_order(page.page_id, leaf.keys, low, high)
        return leaf

    def _leaf_pages(
        self, root: int, seen: Seen
    ) -> t.Iterator[tuple[Page, bytes | None, bytes | None]]:
        """Yield the leaf pages below page `root` in order, and between which keys theirs must lie."""
        # The branches above, from the root down: what is left of their children, and how many
        # children it and those above it have.
        path: list[tuple[t.Iterator[tuple[int, bytes | None, bytes | None]], int]]
        path = [(iter([(root, None, None)]), 1)]
        while path:
            for page_id, low, high in path[-1][0]:
                page = self.page(page_id)
                if page_id < 2 or page.flags not in (BRANCH, LEAF):
                    kind = "meta" if page_id < 2 or page.flags == META else page.type_name
                    raise invalid(page_id, f"invalid type {kind} in a bucket's tree")
                seen.add(page)
                if page.flags == BRANCH:
                    branch = Branch.read(self.source, page)
                    check_key_order(page_id, branch.keys, low, high)
                    count = path[-1][1] + page.element_count
                    if count > self.page_count:
                        # Each of them would have to be a page of its own.
                        raise invalid(
                            page_id,
                            f"it and the branches above it have {count} children, more than the "
                            f"{self.page_count} pages that there are",
                        )
                    children = zip(branch.children, branch.keys, [*branch.keys[1:], high])
                    path.append((children, count))
                    break
                yield page, low, high
            else:
                path.pop()
