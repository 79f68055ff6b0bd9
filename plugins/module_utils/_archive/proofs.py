# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Proofs that an entry can be restored: what a drill signed beside it."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import manifest, schemas
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import (
    Signers,
    TrustState,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import EtcdToolError

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.entries import Entry
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import Store

__all__ = ["FOLDER", "Proof", "newest"]

FOLDER = "drills"


@dataclasses.dataclass(frozen=True)
class Proof:
    """What a drill found of the entry and image that it names."""

    entry: str
    sha256: str
    verdict: str
    finished_at: str

    @property
    def passed(self) -> bool:
        """Whether the entry was restored and held what its manifest says."""
        return self.verdict == "passed"


def newest(place: Store, entry: Entry, signers: Signers) -> tuple[Proof | None, list[str]]:
    """Return the newest proof of an entry that can be trusted, and which others are not counted.

    Trusted is what an allowed signer signed of this very entry and image; a failed drill takes the
    place of an earlier one that passed.
    """
    found: list[Proof] = []
    refused: list[str] = []
    if entry.manifest is None:
        return None, []
    folder = f"{entry.id}/{FOLDER}"
    try:
        listed = place.records(entry.prefix, folder)
    except EtcdToolError as exc:
        return None, [str(exc)]
    for name in (name for name in listed if name.endswith(".json")):
        path = f"{folder}/{name}"
        where = f"{place.location}/{entry.prefix}/{path}"
        try:
            data = place.read(entry.prefix, path) or b""
            signature = place.read(entry.prefix, f"{path}.sig")
            state, reason = signers.check(data, signature)
            if state is not TrustState.TRUSTED:
                refused.append(f"{where} ({state.value}): {reason}")
                continue
            document = schemas.load(data, schemas.PROOF_V1, where)
        except EtcdToolError as exc:
            refused.append(str(exc))
            continue
        proof = manifest.read_fields(Proof, document)
        if (proof.entry, proof.sha256) != (entry.id, entry.manifest.snapshot.sha256):
            refused.append(f"{where} is a proof of entry {proof.entry}, or of another image of it.")
            continue
        found.append(proof)
    # Of two at the same second, the failed one.
    best = max(found, key=lambda proof: (proof.finished_at, not proof.passed), default=None)
    return best, refused
