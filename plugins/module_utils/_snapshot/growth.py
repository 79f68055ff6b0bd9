# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Why a database has its size: its largest values, and what is written again and again."""

from __future__ import annotations

import heapq
import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.hashing import Batch

__all__ = ["Growth"]

_ROW = 1 << 48
# A bound on memory: some MiB.
_MOST_HISTORY = 20_000


class _Top:
    """The `limit` keys with the highest figures above `least`."""

    def __init__(self, limit: int, *, least: int = 0) -> None:
        self._heap: list[tuple[int, bytes]] = []
        self._limit = limit
        self.least = least

    def add(self, figure: int, key: bytes) -> None:
        """Take a key whose figure is above `least`."""
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, (figure, key))
        elif self._heap:
            heapq.heapreplace(self._heap, (figure, key))
        if len(self._heap) == self._limit > 0:
            self.least = self._heap[0][0]

    def sorted(self) -> list[tuple[int, bytes]]:
        """Return figures and keys, the highest first."""
        return sorted(self._heap, key=lambda pair: (-pair[0], pair[1]))


class Growth:
    """Why a database has its size: the largest values, and what is written again and again."""

    def __init__(self, limit: int) -> None:
        self.largest = _Top(limit)
        self.versions = _Top(limit, least=1)
        self.history_rows = 0
        self.history_bytes = 0
        # Number of rows << 48 | their bytes: one entry a key.
        self._history: dict[bytes, int] = {}

    def visit_batch(self, batch: Batch) -> None:
        """Take one page."""
        largest, versions, history = self.largest, self.versions, self._history
        found = batch.growth(largest.least)
        for key, size in found.large:
            if size > largest.least:
                largest.add(size, key)
        for key, version in found.rewritten:
            if version > versions.least:
                versions.add(version, key)
        for key, size in found.history:
            history[key] = history.get(key, 0) + _ROW + size
            self.history_bytes += size
        self.history_rows += len(found.history)
        if len(history) > _MOST_HISTORY:
            self._history = dict(self._ranked()[: _MOST_HISTORY // 2])

    def history(self) -> t.Iterator[tuple[bytes, int, int]]:
        """Yield key, number and size of past revisions, the largest sizes first.

        Where very many keys have some, those with little are forgotten on the way, so that what is
        told of a key may be less than there is.
        """
        for key, figure in self._ranked():
            yield key, *divmod(figure, _ROW)

    def _ranked(self) -> list[tuple[bytes, int]]:
        return sorted(self._history.items(), key=lambda pair: (-(pair[1] % _ROW), pair[0]))
