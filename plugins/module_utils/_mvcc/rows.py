# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The key bucket: one row a change, by revision."""

from __future__ import annotations

import struct
import typing as t
from bisect import bisect_left
from itertools import count
from operator import add

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import DatabaseInvalid

from .keyvalue import WireError, key_of

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.page import Leaf

__all__ = ["Live", "bad_row", "main_of", "rows_up_to"]

# etcd server/storage/mvcc/revision.go.
_REVISION_SIZE = 17
_MARKED_SIZE = 18
_TOMBSTONE = ord("t")
_SEPARATOR = ord("_")


def bad_row(leaf: Leaf, key: bytes, finding: str) -> DatabaseInvalid:
    """Build the error that names the page and the row of the key bucket."""
    return DatabaseInvalid(
        f"The etcd database is invalid: page {leaf.page_id}, bucket key, revision {key[:18].hex()}: "
        f"{finding}.",
        hint="The file is damaged: take or fetch it again, or use another one.",
    )


def main_of(key: bytes) -> int:
    """Return the main revision of a row's key."""
    return int.from_bytes(key[:8], "big")


def rows_up_to(keys: list[bytes], revision: int) -> int:
    """Return how many of a page's rows have a main revision of at most `revision`."""
    if revision < 0:
        return 0
    return bisect_left(keys, struct.pack(">Q", min(revision + 1, (1 << 64) - 1)))


def tombstones(keys: list[bytes]) -> list[int]:
    """Return the indexes of rows that delete their key (revision.go, isTombstone)."""
    return [
        index
        for index, key in enumerate(keys)
        if len(key) == _MARKED_SIZE and key[_MARKED_SIZE - 1] == _TOMBSTONE
    ]


def check_revisions(leaf: Leaf, keys: list[bytes]) -> bool:
    """Prove that all keys are revisions; tell whether none of them is longer than a plain one."""
    if not set(leaf.key_sizes) <= {_REVISION_SIZE, _MARKED_SIZE}:
        key = next(key for key in keys if len(key) not in (_REVISION_SIZE, _MARKED_SIZE))
        raise bad_row(leaf, key, f"has {len(key)} bytes, expected {_REVISION_SIZE} or 18")
    plain = max(leaf.key_sizes) == _REVISION_SIZE
    joined = b"".join(keys) if plain else b"".join(key[:_REVISION_SIZE] for key in keys)
    if joined[8::_REVISION_SIZE].count(_SEPARATOR) != len(keys):
        key = next(key for key in keys if key[8] != _SEPARATOR)
        raise bad_row(leaf, key, f"has {key[8]:#04x} between its numbers, expected 0x5f")
    # Keys are in order, so that the last one has the highest main; Go reads int64.
    if keys[-1][0] >= 0x80 or max(joined[9::_REVISION_SIZE]) >= 0x80:
        key = next(key for key in keys if key[0] >= 0x80 or key[9] >= 0x80)
        raise bad_row(leaf, key, "is negative")
    return plain


def user_keys(leaf: Leaf, keys: list[bytes]) -> list[bytes]:
    """Return the user's key of each row."""
    source, starts = leaf.source, leaf.value_starts
    if min(leaf.value_sizes) >= 2:
        get = source.__getitem__
        lengths = list(map(get, [at + 1 for at in starts]))
        if (
            bytes(map(get, starts)).count(0x0A) == leaf.count
            and max(lengths) < 0x80
            and max(map(int.__sub__, lengths, leaf.value_sizes)) <= -2
        ):
            firsts = [at + 2 for at in starts]
            return [source[a:b] for a, b in zip(firsts, map(add, firsts, lengths))]
    found = []
    for key, start, end in zip(keys, starts, leaf.ends):
        try:
            found.append(key_of(source[start:end]))
        except WireError as exc:
            raise bad_row(leaf, key, f"its value is not a KeyValue: {exc}") from exc
    return found


class Live:
    """Which row holds each key that exists; rows are numbered in the order of revisions."""

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}
        self.row_count = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, names: list[bytes], deleted: list[int]) -> None:
        """Apply rows in order; `deleted` are the indexes of tombstones among them."""
        rows = self._rows
        first = self.row_count
        start = 0
        for index in deleted:
            rows.update(zip(names[start:index], count(first + start)))
            rows.pop(names[index], None)
            start = index + 1
        rows.update(zip(names[start:] if start else names, count(first + start)))
        self.row_count += len(names)

    def mask(self) -> bytearray:
        """Return one byte a row so far: 1 where it holds a key that exists."""
        mask = bytearray(self.row_count)
        for row in self._rows.values():
            mask[row] = 1
        return mask

    def by_row(self) -> list[bytes | None]:
        """Return each row's key where it exists, and give the rest of the memory back."""
        found: list[bytes | None] = [None] * self.row_count
        for name, row in self._rows.items():
            found[row] = name
        self._rows = {}
        return found
