# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The structural check of a whole database."""

from __future__ import annotations

import struct
import typing as t

from .database import NO_FREELIST, Seen
from .page import FREELIST, PAGE_HEADER_SIZE, Leaf, invalid

if t.TYPE_CHECKING:
    from .database import Bucket, Database
    from .sheaf import Sheaf

__all__ = ["Proof", "check"]

# page.go: a freelist of 65535 pages and more keeps its length in its first element.
_COUNT_IN_FIRST = 0xFFFF
# etcd has eleven; a bound on what a hostile file can make this process remember.
_MAX_BUCKETS = 1000


def check(database: Database) -> None:
    """Prove what bbolt's Tx.Check proves; the first finding is raised.

    No page is reached twice or lies past the high-water mark, every tree page has the right type,
    the root holds buckets only, keys rise and stay between their parent's; where the freelist is stored, every page is reached
    or free, and none is both.
    :raises DatabaseInvalid: with the page and the finding.
    """
    proof = Proof(database)
    proof.buckets()
    proof.finish()


class Proof:
    """The structural check, for a caller that reads the leaves on the way.

    `buckets` comes first; it and `leaves` prove what they yield, and `finish` proves the rest. Only
    after `finish` the whole is proven.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen = Seen(database.page_count)
        self._seen.pages[0:2] = b"\x01\x01"
        self._freed = _read_freelist(database, self._seen)
        self._waiting: list[Bucket] = []
        self._bucket_count = 0

    def buckets(self) -> list[tuple[bytes, Bucket]]:
        """Walk the root bucket and return the top-level buckets in order."""
        found: list[tuple[bytes, Bucket]] = []
        for leaf in self._database.root.leaves(self._seen):
            if not all(leaf.flags):
                # tx.go: a transaction makes buckets there, and has no way to put anything else.
                index = leaf.flags.index(0)
                raise invalid(
                    leaf.page_id,
                    f"element {index} of the root, {leaf.key(index)[:64]!r}, is no bucket",
                )
            self._extend(found, leaf)
        self._waiting = [bucket for _name, bucket in found]
        return found

    def leaves(self, bucket: Bucket) -> t.Iterator[Leaf | Sheaf]:
        """Yield the leaves of a bucket that `buckets` returned, to be read to the end."""
        self._waiting.remove(bucket)
        nested: list[tuple[bytes, Bucket]] = []
        for leaf in bucket.sheaves(self._seen):
            if isinstance(leaf, Leaf) and leaf.has_buckets:
                self._extend(nested, leaf)
            yield leaf
        self._waiting.extend(each for _name, each in nested)

    def _extend(self, found: list[tuple[bytes, Bucket]], leaf: Leaf) -> None:
        """Add the buckets on `leaf`, within reason."""
        for pair in self._database.nested(leaf):
            self._bucket_count += 1
            if self._bucket_count > _MAX_BUCKETS:
                raise invalid(
                    leaf.page_id, f"there are more than {_MAX_BUCKETS} buckets up to this page"
                )
            found.append(pair)

    def finish(self) -> None:
        """Prove what was not walked yet, and account for every page."""
        while self._waiting:
            for _leaf in self.leaves(self._waiting[-1]):
                pass
        if self._freed is None:
            return
        for page_id, (reached, free) in enumerate(zip(self._seen.pages, self._freed)):
            if reached and free:
                raise invalid(page_id, "reachable freed")
            if not reached and not free:
                raise invalid(page_id, "unreachable unfreed")


def _read_freelist(database: Database, seen: Seen) -> bytearray | None:
    """Return one byte a page, 1 for the free ones; None where the freelist is not stored."""
    if database.freelist == NO_FREELIST:
        return None
    page = database.page(database.freelist)
    if page.flags != FREELIST:
        raise invalid(page.page_id, f"invalid type {page.type_name}, expected freelist")
    seen.add(page)
    start, count = page.start + PAGE_HEADER_SIZE, page.element_count
    if count == _COUNT_IN_FIRST:
        (count,) = struct.unpack("<Q", database.source[start : start + 8])
        start += 8
    if count * 8 > page.end - start:
        raise invalid(
            page.page_id, f"its {count} free pages do not fit into {page.end - start} bytes"
        )
    freed = bytearray(database.page_count)
    for (page_id,) in struct.iter_unpack("<Q", database.source[start : start + 8 * count]):
        if page_id >= database.page_count:
            raise invalid(
                page.page_id,
                f"it frees page {page_id}; the high-water mark is {database.page_count}",
            )
        if freed[page_id]:
            raise invalid(page_id, "already freed")
        freed[page_id] = 1
    return freed
