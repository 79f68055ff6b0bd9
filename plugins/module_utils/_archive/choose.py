# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Which entry to go back to: the newest usable one, one by its ID, the oldest without a proof."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    entries,
    listing,
    manifest,
    names,
    proofs,
    store,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import TrustState
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    OptionInvalid,
    TrustError,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import Signers

__all__ = ["LATEST", "UNPROVEN", "Choice", "Wanted", "choose", "trusted"]

LATEST = "latest"
UNPROVEN = "unproven"
_LISTS = "etcd_archive_info tells what there is, and what is wrong with it."


@dataclasses.dataclass(frozen=True)
class Wanted:
    """An entry's ID, `latest` (the newest usable one, started before a time), or `unproven`."""

    id: str = LATEST
    before: dt.datetime | None = None


@dataclasses.dataclass(frozen=True)
class Choice:
    """The entry that is wanted, and which newer ones can't be it, and why."""

    entry: entries.Entry
    passed_over: tuple[str, ...] = ()


def choose(
    place: store.DirectoryStore,
    prefix: names.Prefix,
    signers: Signers,
    wanted: Wanted,
    *,
    now: dt.datetime,
) -> Choice:
    """Return the wanted entry, whose manifest can be trusted; its files were not read yet.

    `unproven` is the oldest usable entry that no trusted proof is about, passed or failed; where
    each has one, the entry whose newest proof is the oldest.

    :raises OptionInvalid: `id` is no ID, or a time is given that it has no use for.
    :raises ArchiveError: there is no such entry.
    :raises TrustError: there is one, and signature, manifest or place don't hold.
    """
    place.must_exist()
    if wanted.before is not None and wanted.id != LATEST:
        raise OptionInvalid(
            f"Option before cannot be combined with id {wanted.id}.",
            hint=f"Only {LATEST} is looked up before a time.",
        )
    if wanted.id == LATEST:
        return _latest(place, prefix, signers, wanted.before)
    if wanted.id == UNPROVEN:
        return _unproven(place, prefix, signers, now)
    names.entry_time(wanted.id)
    if wanted.id not in place.entries(prefix):
        raise ArchiveError(
            f"Archive {place.location} has no entry {wanted.id} of {prefix}.",
            hint=_LISTS,
            path=place.path(prefix, wanted.id),
        )
    found = entries.read_entry(place, prefix, wanted.id, signers=signers, depth="signature")
    if not found.manifest_trusted:
        raise _refused(place, found)
    return Choice(found)


def trusted(
    place: store.DirectoryStore, entry: entries.Entry, signers: Signers, *, only: t.Collection[str]
) -> bytes:
    """Look at the entry again, and at every byte of the files `only`; return its manifest's bytes.

    :raises TrustError: signature, manifest, place, a size or a sha256 does not hold.
    """
    found = entries.read_entry(
        place, entry.prefix, entry.id, signers=signers, depth="files", only=only
    )
    if found.trust is not TrustState.TRUSTED:
        raise _refused(place, found)
    name = f"{entry.id}/{store.MANIFEST}"
    data = place.read(entry.prefix, name) or b""
    state, reason = signers.check(data, place.read(entry.prefix, f"{entry.id}/{store.SIGNATURE}"))
    same = state is TrustState.TRUSTED and manifest.from_json(data, name) == entry.manifest
    if not same or found.manifest != entry.manifest:
        raise TrustError(
            f"Entry {entry.id} of {entry.prefix} in {place.location} was changed while it was read"
            + (f" ({state.value}: {reason})." if reason else "."),
            hint="Find out who writes there; nothing of it was used.",
            path=place.path(entry.prefix, entry.id),
        )
    return data


def _refused(place: store.DirectoryStore, entry: entries.Entry) -> TrustError:
    return TrustError(
        f"Entry {entry.id} of {entry.prefix} in {place.location} is {entry.trust.value}: "
        f"{entry.reason}",
        hint="Nothing of it was used. Choose another entry, and find out what happened to this one.",
        path=place.path(entry.prefix, entry.id),
    )


def _latest(
    place: store.DirectoryStore, prefix: names.Prefix, signers: Signers, before: dt.datetime | None
) -> Choice:
    passed_over: list[str] = []
    damaged: entries.Entry | None = None
    for name in reversed(place.entries(prefix)):
        if before is not None and names.entry_time(name) >= before:
            continue
        found = entries.read_entry(place, prefix, name, signers=signers, depth="signature")
        if listing.is_usable(found):
            return Choice(found, tuple(passed_over))
        passed_over.append(f"{name} ({_why_not(found)})")
        if damaged is None and found.manifest_trusted and found.trust is not TrustState.TRUSTED:
            damaged = found
    if damaged is not None:  # its reader says what is wrong with it, and can name it
        return Choice(damaged)
    raise _none(place, prefix, passed_over, before)


def _unproven(
    place: store.DirectoryStore, prefix: names.Prefix, signers: Signers, now: dt.datetime
) -> Choice:
    passed_over: list[str] = []
    proven: list[tuple[str, entries.Entry]] = []
    for name in place.entries(prefix):
        found = entries.read_entry(place, prefix, name, signers=signers, depth="signature")
        if not listing.is_usable(found):
            passed_over.append(f"{name} ({_why_not(found)})")
            continue
        proof, _refused_proofs = proofs.newest(place, found, signers, now=now)
        if proof is None:
            return Choice(found, tuple(passed_over))
        proven.append((proof.finished_at, found))
    if not proven:
        raise _none(place, prefix, passed_over, None)
    return Choice(min(proven, key=lambda item: item[0])[1], tuple(passed_over))


def _why_not(entry: entries.Entry) -> str:
    found = entry.manifest
    if entry.trust is not TrustState.TRUSTED or found is None:
        return f"{entry.trust.value}: {entry.reason}".rstrip(".")
    return "a check of its backup failed" if not found.checks_passed else f"mode {found.mode}"


def _none(
    place: store.DirectoryStore,
    prefix: names.Prefix,
    passed_over: list[str],
    before: dt.datetime | None,
) -> ArchiveError:
    when = f" from before {before.isoformat()}" if before else ""
    what = f": {'; '.join(passed_over[:3])}" if passed_over else ""
    return ArchiveError(
        f"Archive {place.location} has no usable entry of {prefix}{when}{what}.",
        hint=_LISTS,
        path=place.location,
    )
