# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What modules tell of proofs: of an entry, and of a cluster's newest that passed."""

from __future__ import annotations

import datetime as dt
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import names, proofs

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.entries import Entry
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import Store
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import Signers

__all__ = ["Proven", "told_newest"]


class Proven:
    """The proofs of an archive, as JSON; without signers nothing proves anything."""

    def __init__(self, place: Store, signers: Signers | None, *, now: dt.datetime) -> None:
        self._place, self._signers, self._now = place, signers, now
        self._refused: list[str] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was not counted, each said once."""
        return tuple(f"Proof not counted: {text}" for text in dict.fromkeys(self._refused))

    def told(self, entry: Entry) -> dict[str, t.Any] | None:
        """Return what the newest drill of an entry found; None if there was none that counts."""
        if self._signers is None:
            return None
        proof, refused = proofs.newest(self._place, entry, self._signers, now=self._now)
        self._refused += refused
        if proof is None:
            return None
        return {
            "verdict": proof.verdict,
            "finished_at": proof.finished_at,
            "rto_seconds": proof.rto_seconds,
            "node": proof.node,
            "reason": proof.reason,
        }

    def newest(self, prefixes: t.Sequence[names.Prefix]) -> list[dict[str, t.Any]]:
        """Return for each prefix its newest proof that passed and holds."""
        if self._signers is None:
            return []
        found = []
        for prefix in prefixes:
            proof, refused = proofs.newest_passed(self._place, prefix, self._signers, now=self._now)
            self._refused += refused
            found.append(
                {
                    "etcd_cluster": prefix.cluster,
                    "etcd_instance": prefix.instance,
                    **(told_newest(proof) or dict.fromkeys(_NEWEST)),
                }
            )
        return found


_NEWEST = ("entry", "finished_at", "rto_seconds", "node")


def told_newest(proof: proofs.Proof | None) -> dict[str, t.Any] | None:
    """Return the proof that passed last as JSON."""
    return {name: getattr(proof, name) for name in _NEWEST} if proof else None
