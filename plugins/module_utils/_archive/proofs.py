# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Proofs that an entry can be restored, or that it can't: what a drill signed beside it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    entries,
    manifest,
    names,
    owner,
    schemas,
    uses,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import (
    Signers,
    Signing,
    TrustState,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.version import (
    COLLECTION_VERSION,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EtcdToolError,
    TrustError,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import (
        DirectoryStore,
        Store,
    )

__all__ = ["FOLDER", "Proof", "Written", "newest", "newest_passed", "write"]

FOLDER = "drills"
# A clock that is a little ahead is one thing; a proof of next year would never grow old.
_AHEAD = dt.timedelta(hours=1)
# So many drills of one entry that end in one second: nobody's.
_TRIES = 60


@dataclasses.dataclass(frozen=True)
class Proof:
    """What a drill found of the entry and image that it names."""

    entry: str
    sha256: str
    verdict: str
    finished_at: str
    reason: str = ""
    node: str | None = None
    rto_seconds: int | None = None

    @property
    def passed(self) -> bool:
        """Whether the entry was restored and held what its manifest says."""
        return self.verdict == "passed"


@dataclasses.dataclass(frozen=True)
class Written:
    """A proof as it lies in the archive."""

    path: str
    document: t.Mapping[str, t.Any]


def newest(
    place: Store, entry: entries.Entry, signers: Signers, *, now: dt.datetime
) -> tuple[Proof | None, list[str]]:
    """Return the newest proof of an entry that can be trusted, and which newer ones do not count.

    Trusted is what an allowed signer signed of this very entry and image, and what lies under the
    time that it says, which is not in the future: nobody knows when such a drill was. A failed drill
    takes the place of an earlier one that passed.
    """
    refused: list[str] = []
    if entry.manifest is None:
        return None, []
    folder = f"{entry.place}/{FOLDER}"
    try:
        listed = place.records(entry.prefix, folder)
    except EtcdToolError as exc:
        return None, [str(exc)]
    for name in sorted((name for name in listed if name.endswith(".json")), reverse=True):
        where = f"{place.location}/{entry.prefix}/{folder}/{name}"
        try:
            data = place.read(entry.prefix, f"{folder}/{name}") or b""
            signature = place.read(entry.prefix, f"{folder}/{name}.sig")
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
        elif _file_name(proof.finished_at) != name:
            refused.append(f"{where} is a proof of {proof.finished_at}, put under another time.")
        elif _time.parse_rfc3339(proof.finished_at) > now + _AHEAD:
            refused.append(
                f"{where} is a proof of {proof.finished_at}: seen from this controller's clock that "
                "is in the future."
            )
        else:
            return proof, refused
    return None, refused


def newest_passed(
    place: Store, prefix: names.Prefix, signers: Signers, *, now: dt.datetime
) -> tuple[Proof | None, list[str]]:
    """Return the newest proof of a cluster that still holds, and what was not counted before it.

    It holds if it passed, no later drill of that entry failed, and the entry is trusted. Only as
    many entries are read as that takes: those with the newest proofs first.
    """
    refused: list[str] = []
    times: list[tuple[str, str]] = []
    for entry in place.entries(prefix):
        try:
            listed = place.records(prefix, f"{entry}/{FOLDER}")
        except EtcdToolError as exc:
            refused.append(str(exc))
            continue
        found = [name for name in listed if name.endswith(".json")]
        if found:
            times.append((max(found), entry))
    best: Proof | None = None
    for name, entry in sorted(times, reverse=True):
        if best and name <= _file_name(best.finished_at):
            break
        judged = entries.read_entry(place, prefix, entry, signers=signers, depth="signature")
        proof, odd = newest(place, judged, signers, now=now)
        refused += odd
        if proof is None or not proof.passed:
            continue
        if judged.trust is not TrustState.TRUSTED:
            refused.append(
                f"Entry {entry} was proven, and is {judged.trust.value}: {judged.reason}"
            )
        elif best is None or proof.finished_at > best.finished_at:
            best = proof
    return best, refused


def write(
    place: DirectoryStore,
    prefix: names.Prefix,
    found: t.Mapping[str, t.Any],
    *,
    signing: Signing,
    signers: Signers,
    now: dt.datetime,
) -> Written:
    """Sign what a drill found and keep it beside the entry that it names; return both.

    The signature comes first, so that a proof without one is never there. Nothing is written over.

    :raises TrustError: the entry is not the one that was drilled, or can't be trusted, or the key
        can't sign, or what it signs would not count; ArchiveError: the entry is gone, or can't be
        written to; ManifestInvalid: `found` is no proof.
    """
    entry = str(found.get("entry"))
    names.entry_time(entry)
    # Held, so that a rotation does not take the entry away under the proof.
    with uses.in_use(place, prefix, entry, user=owner.of_process(os.getpid(), now=now)):
        _must_be_of(
            entries.read_entry(place, prefix, entry, signers=signers, depth="signature"), found
        )
        for second in range(_TRIES):
            finished_at = _time.rfc3339(now + dt.timedelta(seconds=second))
            name = f"{entry}/{FOLDER}/{_file_name(finished_at)}"
            if place.read(prefix, name) is None and place.read(prefix, f"{name}.sig") is None:
                break
        document = {
            **found,
            "schema": schemas.PROOF,
            "must_understand": [],
            "collection_version": COLLECTION_VERSION,
            "etcd_cluster": prefix.cluster,
            "etcd_instance": prefix.instance,
            "finished_at": finished_at,
        }
        path = place.path(prefix, name)
        data = schemas.dump(document, schemas.PROOF_V1, path)
        signature = signing.sign(data)
        state, reason = signers.check(data, signature)
        if state is not TrustState.TRUSTED:
            raise TrustError(
                f"The proof of entry {entry} would not count: {reason}",
                hint=f"Add the public half of {signing.path} to etcd_allowed_signers.",
                path=signing.path,
            )
        # Whoever is first with the signature has the name; another one fails here.
        place.put_record(prefix, f"{name}.sig", signature)
        place.put_record(prefix, name, data)
    return Written(path, document)


def _must_be_of(entry: entries.Entry, found: t.Mapping[str, t.Any]) -> None:
    """Refuse what was found of another entry or image, or of one that nobody vouches for.

    A failed drill may be one of an entry whose files are damaged; its manifest is trusted then.
    """
    passed = found.get("verdict") == "passed"
    good = {TrustState.TRUSTED} if passed else {TrustState.TRUSTED, *_FILES_BROKEN}
    if entry.manifest is None or entry.trust not in good:
        raise TrustError(
            f"No proof is kept beside entry {entry.id} of {entry.prefix}: it is {entry.trust.value}: "
            f"{entry.reason}",
            hint="Choose an entry that is trusted; etcd_archive_info lists them.",
        )
    if found.get("sha256") != entry.manifest.snapshot.sha256:
        raise TrustError(
            f"No proof is kept beside entry {entry.id} of {entry.prefix}: what was drilled has image "
            f"sha256 {found.get('sha256')}; the manifest says {entry.manifest.snapshot.sha256}.",
            hint="Drill it again; if it stays, somebody changes archive or node meanwhile.",
        )


_FILES_BROKEN = (TrustState.DAMAGED, TrustState.INCOMPLETE)


def _file_name(finished_at: str) -> str:
    """Return the name of a proof of this time: 20261124T030000Z.json."""
    return f"{finished_at.replace('-', '').replace(':', '')}.json"
