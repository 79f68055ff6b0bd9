# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The key bucket: one row a change, by revision."""

from __future__ import annotations

import struct
import typing as t
from array import array
from bisect import bisect_left
from itertools import compress
from operator import itemgetter, ne, sub

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import DatabaseInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._protobuf import WireError

from .keyvalue import message_key

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.page import Leaf, Source
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.sheaf import Sheaf

    Leaves = t.Union[Leaf, Sheaf]

__all__ = [
    "Live",
    "bad_row",
    "check_revisions",
    "main_of",
    "mains",
    "rows_up_to",
    "tombstones",
    "user_keys",
]

# etcd server/storage/mvcc/revision.go.
_REVISION_SIZE = 17
_MARKED_SIZE = 18
_TOMBSTONE = ord("t")
_SEPARATOR = ord("_")
_MAIN = struct.Struct(">Q9x")
_KEY_TAG = 0x0A
_LOT_ROWS = 32768


def bad_row(leaf: Leaves, index: int, finding: str) -> DatabaseInvalid:
    """Build the error that names the page and the row of the key bucket."""
    key = leaf.keys[index]
    return DatabaseInvalid(
        f"The etcd database is invalid: page {leaf.page_of(index)}, bucket key, "
        f"revision {key[:18].hex()}: {finding}.",
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


def check_revisions(leaf: Leaves) -> bool:
    """Prove that all keys are revisions; tell whether none of them is longer than a plain one."""
    keys = leaf.keys
    if not set(leaf.key_sizes) <= {_REVISION_SIZE, _MARKED_SIZE}:
        index = next(i for i, key in enumerate(keys) if len(key) not in (_REVISION_SIZE, 18))
        raise bad_row(leaf, index, f"has {len(keys[index])} bytes, expected {_REVISION_SIZE} or 18")
    plain = max(leaf.key_sizes) == _REVISION_SIZE
    joined = _joined(keys, plain=plain)
    if joined[8::_REVISION_SIZE].count(_SEPARATOR) != len(keys):
        index = next(i for i, key in enumerate(keys) if key[8] != _SEPARATOR)
        found = keys[index][8]
        raise bad_row(leaf, index, f"has {found:#04x} between its numbers, expected 0x5f")
    # Keys are in order, so that the last one has the highest main; Go reads int64.
    if keys[-1][0] >= 0x80 or max(joined[9::_REVISION_SIZE]) >= 0x80:
        index = next(i for i, key in enumerate(keys) if key[0] >= 0x80 or key[9] >= 0x80)
        raise bad_row(leaf, index, "is negative")
    return plain


def mains(leaf: Leaves) -> list[int]:
    """Return the main revision of each row."""
    joined = _joined(leaf.keys, plain=max(leaf.key_sizes) == _REVISION_SIZE)
    return [main for (main,) in _MAIN.iter_unpack(joined)]


def _joined(keys: list[bytes], *, plain: bool) -> bytes:
    """Return the first 17 bytes of all keys."""
    return b"".join(keys if plain else [key[:_REVISION_SIZE] for key in keys])


def user_keys(leaf: Leaves) -> list[bytes]:
    """Return the user's key of each row."""
    source, starts = leaf.source, leaf.value_starts
    if leaf.count > 1 and min(leaf.value_sizes) >= 2:
        tags, lengths = _heads(source, starts)
        if (
            tags.count(_KEY_TAG) == leaf.count
            and lengths.isascii()
            and max(map(sub, lengths, leaf.value_sizes)) <= -2
        ):
            return [source[at + 2 : at + 2 + size] for at, size in zip(starts, lengths)]
    found = []
    for index, (start, end) in enumerate(zip(starts, leaf.ends)):
        try:
            found.append(message_key(source, start, end))
        except WireError as exc:
            raise bad_row(leaf, index, f"its value is not a KeyValue: {exc}") from exc
    return found


def _heads(source: Source, starts: list[int]) -> tuple[bytes, bytes]:
    """Return the first byte of each value, and the second."""
    if isinstance(source, bytes):
        pick = itemgetter(*starts)
        return bytes(pick(source)), bytes(pick(memoryview(source)[1:]))
    heads = b"".join([source[at : at + 2] for at in starts])
    return heads[::2], heads[1::2]


class Live:
    """Which rows hold a key that exists; rows are numbered by revision, and take 13 bytes each.

    Rows are grouped by a hash of their key; inside a group the keys themselves decide, so that
    two that share a hash are told apart.
    """

    def __init__(self, digest: t.Callable[[bytes], int] = hash) -> None:
        self._digest = digest
        self._hashes = array("q")
        self._live = bytearray()

    @property
    def row_count(self) -> int:
        """How many rows were added."""
        return len(self._live)

    def add(self, names: list[bytes], deleted: list[int]) -> None:
        """Take rows in order; `deleted` are the indexes of tombstones among them."""
        first = len(self._live)
        self._hashes.extend(map(self._digest, names))
        self._live += b"\x01" * len(names)
        for index in deleted:
            self._live[first + index] = 0

    def settle(
        self, name_of: t.Callable[[int], bytes], bound: int | None = None
    ) -> tuple[bytearray, bytearray]:
        """Return one byte a row, 1 where its key exists: at the end, and after `bound` rows.

        :param name_of: returns the key of a row again.
        """
        live = self._live
        kept = live if bound is None else live[:bound]
        for rows in self._lots():
            for group in self._groups(rows):
                newest: dict[bytes, int] = {}
                for row in group:
                    name = name_of(row)
                    older = newest.get(name)
                    if older is not None:
                        live[older] = 0
                        if row < len(kept):
                            kept[older] = 0
                    newest[name] = row
        self._hashes = array("q")
        return live, kept

    def _lots(self) -> t.Iterator[array[int]]:
        """Yield all rows in lots of some thousands; those of one hash are in one lot, in order."""
        mask = (1 << (self.row_count // _LOT_ROWS).bit_length()) - 1
        code = "I" if self.row_count <= 0xFFFFFFFF else "Q"
        lots = [array(code) for _turn in range(mask + 1)]
        put = [lot.append for lot in lots]
        for row, number in enumerate(self._hashes):
            put[number & mask](row)
        put.clear()
        while lots:
            yield lots.pop()

    def _groups(self, rows: array[int]) -> t.Iterable[list[int]]:
        """Return the rows of each hash that more than one has, in order."""
        hashes = list(map(self._hashes.__getitem__, rows))
        newest = dict(zip(hashes, rows))
        groups: dict[int, list[int]] = {}
        if len(newest) < len(rows):
            is_older = map(ne, map(newest.__getitem__, hashes), rows)
            for row in compress(rows, is_older):
                groups.setdefault(self._hashes[row], []).append(row)
            for number, group in groups.items():
                group.append(newest[number])
        return groups.values()
