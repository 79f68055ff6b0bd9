# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Rotate the entries of one prefix: judge all of them, then remove what no reason keeps."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _retention, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    completeness,
    entries,
    names,
    owner,
    pins,
    proofs,
    removal,
    uses,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.lacks import Completeness
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import (
    Signers,
    TrustState,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    TrustError,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._retention import Restores

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        Manifest,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import (
        DirectoryStore,
    )

__all__ = ["Judged", "Pruned", "Wish", "prune", "snapshot_of"]

# They come and go within the hour: a calm night is no shrink.
_EVENTS = ("events", "events.k8s.io/events")


@dataclasses.dataclass(frozen=True)
class Wish:
    """Which prefix is rotated, by which policy, and who is trusted."""

    place: DirectoryStore
    prefix: names.Prefix
    signers: Signers
    policy: _retention.Policy
    depth: entries.Depth = "signature"
    max_removals: int | None = None
    released: tuple[str, ...] = ()
    lock_seconds: float = 0


@dataclasses.dataclass(frozen=True)
class Judged:
    """An entry, and what is to become of it."""

    entry: entries.Entry
    verdict: _retention.Verdict
    size_bytes: int


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What was judged, newest first, and what is gone, or would be.

    `finished` and `put_back` were hidden by a run that died; `failed` says what could not be done.
    """

    judged: tuple[Judged, ...]
    removed: tuple[str, ...]
    freed_bytes: int
    finished: tuple[str, ...]
    put_back: tuple[str, ...]
    warnings: tuple[str, ...]
    failed: tuple[tuple[str, ArchiveError], ...] = ()

    @property
    def error(self) -> ArchiveError | None:
        """What to fail with, all of them in one; None where nothing failed."""
        if len(self.failed) < 2:
            return self.failed[0][1] if self.failed else None
        first = self.failed[0][1]
        told = ", ".join(entry for entry, _error in self.failed)
        return ArchiveError(
            f"{len(self.failed)} entries could not be changed as they should: {told}. The first: "
            f"{first.message}",
            hint=first.hint,
            path=first.path,
        )


def prune(
    wish: Wish,
    *,
    now: dt.datetime,
    really: bool,
    make_removal: t.Callable[..., removal.Removal] = removal.Removal,
) -> Pruned:
    """Judge the entries of a prefix and remove the oldest first; `really` false: only judge.

    Before anything goes, the cornerstones (_retention.py) are read in full; one that is not what it
    was counts no more, and all are judged anew. What a run that died hid is judged with the others
    if it is whole. One that can't be removed does not stop the others.

    :raises OptionInvalid: what is released is no entry's ID.
    :raises RetentionRefused: nothing may be removed.
    :raises TrustError: there are entries, and none can be trusted.
    :raises ArchiveError: there is no such archive or cluster; Locked: see lock().
    """
    for entry in wish.released:
        names.entry_time(entry)
    _must_exist(wish)
    here = owner.of_process(os.getpid(), now=now)

    def holds(folder: str) -> str | None:
        if pins.pinned(folder) is not None:
            return "it is pinned"
        return uses.used_by(folder, here=here, now=now)

    failed: list[tuple[str, ArchiveError]] = []

    def all_done(step: t.Callable[[str], bool], wanted: t.Iterable[str]) -> tuple[str, ...]:
        done = []
        for entry in wanted:
            try:
                if not really or step(entry):
                    done.append(entry)
            except ArchiveError as exc:
                failed.append((entry, exc))
        return tuple(done)

    taking = make_removal(wish.place, wish.prefix, holds)
    with taking.lock(wish.lock_seconds):
        seen = _Seen(wish, taking.unfinished(), here, now)
        verdicts = seen.judge()
        in_vain = tuple(seen.in_vain(verdicts))
        judged = []
        for each in verdicts:
            found = seen.entries[each.snapshot.id]
            judged.append(Judged(found, each, taking.size_bytes(found.place)))
        hidden = [each.entry.id for each in judged if each.entry.folder]
        going = [each.entry.id for each in reversed(judged) if not each.verdict.keep]
        # With nothing left that counts, half an entry may be all there is.
        half = seen.half if any(each.snapshot.counts for each in verdicts) else []
        put_back = all_done(taking.put_back, sorted(set(hidden) - set(going)))
        finished = all_done(taking.finish, sorted({*half, *(set(hidden) & set(going))}))
        removed = all_done(taking.remove, [entry for entry in going if entry not in hidden])
    sizes = {each.entry.id: each.size_bytes for each in judged}
    return Pruned(
        judged=tuple(judged),
        removed=removed,
        freed_bytes=sum(sizes[entry] for entry in removed),
        finished=finished,
        put_back=put_back,
        warnings=(*dict.fromkeys(seen.warnings), *dict.fromkeys(in_vain), *_stray(wish)),
        failed=tuple(failed),
    )


class _Seen:
    """The entries of a prefix as they were read, and what was said of them.

    `hidden`: those whose removal was begun; the ones that are not whole any more end in `half`.
    """

    def __init__(
        self, wish: Wish, hidden: t.Sequence[str], here: owner.Owner, now: dt.datetime
    ) -> None:
        self._wish, self._here, self._now = wish, here, now
        self._read: set[str] = set()
        self.warnings: list[str] = []
        self.half: list[str] = []
        self.entries = {
            entry: self._judged(entry, wish.depth) for entry in wish.place.entries(wish.prefix)
        }
        for entry in hidden:
            found = self._judged(entry, wish.depth, folder=removal.hidden_name(entry))
            if found.trust is TrustState.TRUSTED and entry not in self.entries:
                self.entries[entry] = found
            else:
                self.half.append(entry)
        if wish.depth == "files":
            self._read.update(self.entries)
        trusted = [e for e in self.entries.values() if e.trust is TrustState.TRUSTED]
        if self.entries and not trusted:
            one = max(self.entries.values(), key=lambda entry: entry.id)
            raise TrustError(
                f"Nothing is removed: none of the {len(self.entries)} entries of {wish.prefix} can "
                f"be trusted; {one.id} is {one.trust.value}: {one.reason}",
                hint="If the signing key was changed, add the old public key to "
                "etcd_allowed_signers.",
            )
        self._snapshots = {entry.id: self._snapshot(entry) for entry in self.entries.values()}

    def judge(self) -> list[_retention.Verdict]:
        """Judge all entries, once those that must be good are known to be."""
        while True:
            verdicts = self._apply(self._wish.released)
            counted = [each.snapshot for each in verdicts if each.snapshot.counts]
            rely = {each.id for each, _reason in _retention.cornerstones(counted)}
            unread = sorted(rely - self._read)
            if not unread or all(each.keep for each in verdicts):
                return verdicts
            for entry in unread:
                self._read.add(entry)
                folder = self.entries[entry].folder
                self.entries[entry] = self._judged(entry, "files", folder=folder)
                self._snapshots[entry] = self._snapshot(self.entries[entry])

    def in_vain(self, verdicts: t.Sequence[_retention.Verdict]) -> t.Iterator[str]:
        """Say which entries were released, and nothing came of it: a mistyped ID, mostly."""
        for entry in self._wish.released:
            if self._apply([other for other in self._wish.released if other != entry]) == verdicts:
                is_none = entry not in self.entries
                why = f"no entry of {self._wish.prefix}" if is_none else "not before a shrink"
                yield f"Releasing {entry} changed nothing: it is {why}."

    def _apply(self, released: t.Collection[str]) -> list[_retention.Verdict]:
        return _retention.apply(
            self._wish.policy,
            list(self._snapshots.values()),
            now=self._now,
            max_removals=self._wish.max_removals,
            released=released,
        )

    def _judged(self, entry: str, depth: entries.Depth, *, folder: str = "") -> entries.Entry:
        wish = self._wish
        return entries.read_entry(
            wish.place, wish.prefix, entry, signers=wish.signers, depth=depth, folder=folder
        )

    def _snapshot(self, entry: entries.Entry) -> _retention.Snapshot:
        proof, refused = proofs.newest(self._wish.place, entry, self._wish.signers, now=self._now)
        made = snapshot_of(entry, proof)
        if made.counts:
            self.warnings += [f"Proof not counted: {text}" for text in refused]
        folder = self._wish.place.path(entry.prefix, entry.place)
        try:
            pinned = pins.pinned(folder)
            used_by = uses.used_by(folder, here=self._here, now=self._now)
        except OSError as exc:
            pinned = None
            used_by = f"nobody knows whom: {folder} cannot be listed ({exc.strerror})"
        return dataclasses.replace(made, pinned=pinned, used_by=used_by)


def snapshot_of(entry: entries.Entry, proof: proofs.Proof | None) -> _retention.Snapshot:
    """Return an entry as retention sees it, with the newest proof of it; who holds it is not looked at."""
    why_not, found = _why_not(entry), entry.manifest
    made = _retention.Snapshot(
        id=entry.id,
        created_at=names.entry_time(entry.id),
        counts=not why_not,
        why_not=why_not,
        restores=Restores.DATA,
    )
    if why_not or found is None:
        return made
    counted = found.kubernetes
    events = sum(counted.resources.get(name, 0) for name in _EVENTS)
    return dataclasses.replace(
        made,
        object_count=max(0, counted.object_count - events),
        key_count=max(0, found.snapshot.key_count - events),
        restores=_restores(found),
        proven_at=_time.parse_rfc3339(proof.finished_at) if proof and proof.passed else None,
    )


def _must_exist(wish: Wish) -> None:
    place, prefix = wish.place, wish.prefix
    place.must_exist()
    path = place.path(prefix).rstrip("/")
    if not os.path.isdir(path):
        there = ", ".join(map(str, place.prefixes())) or "none at all"
        raise ArchiveError(
            f"The archive on the controller has no entries of {prefix}: there is no folder {path}. "
            f"It has: {there}.",
            hint="Check etcd_cluster, etcd_archive, and that what should be mounted there is.",
            path=path,
        )


def _why_not(entry: entries.Entry) -> str:
    """Say why an entry does not count; empty if it does."""
    found = entry.manifest
    if entry.trust is not TrustState.TRUSTED or found is None:
        return f"{entry.trust.value}: {entry.reason}"
    if found.mode != "regular":
        return f"a backup of mode {found.mode} never counts"
    if not found.checks_passed:
        doubted = ", ".join(found.checks_in_doubt)
        return (
            f"not all of its checks passed: {doubted}" if doubted else "nothing of it was checked"
        )
    if found.created_at != _time.rfc3339(names.entry_time(entry.id)):
        return f"its manifest says that it was made at {found.created_at}"
    return ""


def _restores(found: Manifest) -> Restores:
    all_kits = bool(found.kit) and not found.members_without_kit
    whole = completeness.judge(found).completeness
    if whole is Completeness.COMPLETE:
        return Restores.ALL
    if whole is Completeness.SAME_HOSTS:
        return Restores.SAME_HOSTS if all_kits else Restores.SOME_HOSTS
    return Restores.KITS if all_kits else Restores.DATA


def _stray(wish: Wish) -> list[str]:
    """Say what has the name of an entry and is none: links are never followed."""
    folder = wish.place.path(wish.prefix)
    found = []
    with os.scandir(folder) as listing:
        for item in listing:
            name = item.name.lstrip(".").partition(".")[0]
            if not names.resembles_entry(name):
                continue
            if not names.is_entry(name):
                found.append(f"{item.path} names a time that does not exist: it is left alone.")
            elif item.name == name and not item.is_dir(follow_symlinks=False):
                found.append(f"{item.path} is not a folder: it is no entry, and left alone.")
    return sorted(found)
