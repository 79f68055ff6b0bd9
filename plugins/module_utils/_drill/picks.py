# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What an API drill must know of a snapshot's content: a Secret for each key, the service range."""

from __future__ import annotations

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.keys import (
    ObjectKey,
    normalize_prefix,
    parse_key,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.values import (
    ENCRYPTED,
    HEAD_SIZE,
    encryption_prefix,
    message_text,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
        Batch,
    )

__all__ = ["DEFAULT_SERVICE_RANGE", "Picks"]

# kubernetes, pkg/kubeapiserver/options: DefaultServiceIPCIDR is 10.0.0.0/24; kubeadm's is this.
DEFAULT_SERVICE_RANGE = "10.96.0.0/12"


class Picks:
    """Looks at each live key of an image as it passes; keeps one key a provider and key name."""

    def __init__(self, prefix: str = "/registry") -> None:
        self._prefix = normalize_prefix(prefix)
        self._secrets = self._prefix + b"secrets/"
        self._keys: dict[str, bytes] = {}
        # pkg/registry/core/service/allocator/storage (until 1.33 and beyond); ServiceCIDR from 1.31.
        self._of_ranges = {
            self._prefix + b"ranges/serviceips": (2, 2),
            self._prefix + b"servicecidrs/kubernetes": (2, 2, 1),
        }
        self._ranges: dict[bytes, str] = {}

    def visit_batch(self, batch: Batch) -> None:
        """Take the live keys of some pages."""
        for entry in batch.find(ENCRYPTED):
            found = encryption_prefix(entry.starts(HEAD_SIZE))
            if found is None:
                continue
            name = "/".join(found)
            known = self._keys.get(name)
            if known is None or (
                entry.key.startswith(self._secrets) and not known.startswith(self._secrets)
            ):
                self._keys[name] = entry.key
        if not self._of_ranges.keys().isdisjoint(batch.keys):
            for entry in batch.entries():
                fields = self._of_ranges.get(entry.key)
                if fields:
                    self._ranges[entry.key] = message_text(entry.value, *fields) or ""

    @property
    def by_key(self) -> dict[str, ObjectKey | None]:
        """An object for each `provider/key name`, a Secret if there is one."""
        return {name: parse_key(key, self._prefix) for name, key in sorted(self._keys.items())}

    @property
    def service_range(self) -> str:
        """The addresses of Services, as the cluster keeps them; kubeadm's default if it has none."""
        found = (self._ranges.get(key) for key in self._of_ranges)
        return next((each for each in found if each), DEFAULT_SERVICE_RANGE)
