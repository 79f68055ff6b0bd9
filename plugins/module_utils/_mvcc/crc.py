# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""CRC32C (Castagnoli) over the keys and values of leaf pages, in as few calls as possible."""

from __future__ import annotations

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import DependencyMissing

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.page import Leaf
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.sheaf import Sheaf

__all__ = ["Crc", "status_hash"]

_CHUNK = 1 << 20


class Crc:
    """A running CRC32C."""

    def __init__(self, start: bytes = b"") -> None:
        library = _deps.load("google_crc32c")
        if library.implementation != "c":
            raise DependencyMissing(
                "Python library google-crc32c has no compiled part here; its Python one takes "
                "minutes for a snapshot.",
                hint="Install google-crc32c from its wheel for this platform.",
            )
        self._extend = library.extend
        self.value: int = self._extend(0, start)

    def update(self, leaf: Leaf | Sheaf, first: int, last: int) -> None:
        """Add the keys and values of elements `first` to `last` - 1."""
        if first < last:
            self._update_span(leaf, leaf.key_starts[first], leaf.ends[last - 1])

    def update_leaf(self, leaf: Leaf | Sheaf) -> None:
        """Add a whole page as bbolt's Bucket.ForEach shows it: nested buckets have no value."""
        if not leaf.has_buckets:
            self.update(leaf, 0, leaf.count)
            return
        for index, flag in enumerate(leaf.flags):
            end = leaf.value_starts[index] if flag else leaf.ends[index]
            self._update_span(leaf, leaf.key_starts[index], end)

    def update_bytes(self, data: bytes) -> None:
        """Add `data`."""
        self.value = self._extend(self.value, data)

    def _update_span(self, leaf: Leaf | Sheaf, start: int, end: int) -> None:
        for at in range(start, end, _CHUNK):
            self.value = self._extend(self.value, leaf.source[at : min(at + _CHUNK, end)])


def status_hash(database: Database) -> int:
    """Return the hash of etcdutl's and etcdctl's `snapshot status` (etcdutl/snapshot, Status)."""
    crc = Crc()
    for name, bucket in database.buckets():
        crc.update_bytes(name)
        for leaf in bucket.leaves():
            crc.update_leaf(leaf)
    return crc.value
