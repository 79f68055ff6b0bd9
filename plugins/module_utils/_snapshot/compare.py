# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""How two snapshots differ: objects added, removed and changed."""

from __future__ import annotations

import typing as t
import zlib

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.hashing import Batch

__all__ = ["Difference", "Older"]


class Older:
    """What the older snapshot holds: for each key its revision and a checksum of its value."""

    def __init__(self) -> None:
        self.found: dict[bytes, int] = {}

    def visit_batch(self, batch: Batch) -> None:
        """Take the live keys of one page."""
        self.found.update(_marks(batch))


class Difference:
    """Compares the newer snapshot's keys, page by page, with what the older one holds.

    A key is changed where its revision or its value differs: after a restore, the same revision
    may stand for another change.
    """

    def __init__(self, older: Older, listed: t.Callable[[str, bytes], None]) -> None:
        self._left = older.found
        self._listed = listed

    def visit_batch(self, batch: Batch) -> None:
        """Take the live keys of one page."""
        for key, mark in _marks(batch):
            before = self._left.pop(key, None)
            if before is None:
                self._listed("added", key)
            elif before != mark:
                self._listed("changed", key)

    def finish(self) -> None:
        """Note what only the older one holds."""
        for key in sorted(self._left):
            self._listed("removed", key)


def _marks(batch: Batch) -> t.Iterator[tuple[bytes, int]]:
    for entry in batch.entries():
        yield entry.key, entry.mod_revision << 32 | zlib.crc32(entry.value)
