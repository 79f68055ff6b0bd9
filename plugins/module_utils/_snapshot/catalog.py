# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""catalog.json: which objects a snapshot holds, written while they pass by."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
    Catalogue,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.hashing import Batch

__all__ = ["SCHEMA", "CatalogWriter"]

SCHEMA = "controlplane.etcd/catalog/v1"
_BATCH = 8192
_quote = json.encoder.encode_basestring_ascii


class CatalogWriter:
    """Counts every live key and writes a line for it; memory doesn't grow with their number.

    One line an object, `[etcd_key, mod_revision]`, inside one JSON document.
    """

    def __init__(self, target: t.BinaryIO, *, prefix: str) -> None:
        self.counts = Catalogue(prefix)
        self._target = target
        self._lines: list[str] = []
        self._separator = ""
        head = json.dumps({"schema": SCHEMA, "prefix": prefix}, sort_keys=True)[:-1]
        self._put(f'{head}, "columns": ["etcd_key", "mod_revision"], "objects": [\n')

    def visit_batch(self, batch: Batch) -> None:
        """Take the live keys of one page."""
        self.counts.visit_batch(batch)
        for key, revision in zip(batch.keys, batch.mod_revisions()):
            text = _quote(key.decode("utf-8", "backslashreplace"))
            self._lines.append(f"[{text},{revision}]")
        if len(self._lines) >= _BATCH:
            self._flush()

    def finish(self, *, revision: int) -> None:
        """Write the counts behind the objects."""
        self._flush()
        tail = {
            "namespaces": self.counts.namespaces,
            "resources": self.counts.counts,
            "resources_by_namespace": self.counts.counts_by_namespace,
            "revision": revision,
            "secrets": self.counts.secrets,
        }
        self._put("\n], " + json.dumps(tail, sort_keys=True)[1:] + "\n")

    def _flush(self) -> None:
        if self._lines:
            self._put(self._separator + ",\n".join(self._lines))
            self._separator = ",\n"
            self._lines.clear()

    def _put(self, text: str) -> None:
        view = memoryview(text.encode("utf-8"))
        while view:
            view = view[self._target.write(view) :]
