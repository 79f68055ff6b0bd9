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
    entries,
    names,
    owner,
    pins,
    proofs,
    removal,
    uses,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import (
    Signers,
    TrustState,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    EtcdToolError,
    TrustError,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        Manifest,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import (
        DirectoryStore,
    )

__all__ = ["Judged", "Pruned", "Wish", "prune"]

_BEGINNING = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
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
    """What was judged, newest first, and what is gone, or would be."""

    judged: tuple[Judged, ...]
    removed: tuple[str, ...]
    freed_bytes: int
    finished: tuple[str, ...]
    warnings: tuple[str, ...]


def prune(
    wish: Wish,
    *,
    now: dt.datetime,
    really: bool,
    make_removal: t.Callable[..., removal.Removal] = removal.Removal,
) -> Pruned:
    """Judge the entries of a prefix and remove the oldest first; `really` false: only judge.

    Before anything goes, the newest entry that counts, the newest complete and the newest proven one
    are read in full; one that is not what it was counts no more, and all are judged anew.

    :raises OptionInvalid: what is released is no entry's ID.
    :raises RetentionRefused: nothing may be removed.
    :raises TrustError: there are entries, and none can be trusted.
    :raises ArchiveError: there is no such archive, cluster, or right to remove; Locked: see lock().
    """
    for entry in wish.released:
        names.entry_time(entry)
    _must_exist(wish)
    here = owner.of_process(os.getpid(), now=now)

    def holds(folder: str) -> str | None:
        if pins.pinned(folder) is not None:
            return "it is pinned"
        return uses.used_by(folder, here=here, now=now)

    taking = make_removal(wish.place, wish.prefix, holds)
    with taking.lock(wish.lock_seconds):
        seen = _Seen(wish, here, now)
        verdicts = seen.judge()
        in_vain = tuple(seen.in_vain(verdicts))
        judged = tuple(
            Judged(seen.entries[each.snapshot.id], each, taking.size_bytes(each.snapshot.id))
            for each in verdicts
        )
        wanted = [each.verdict.snapshot.id for each in reversed(judged) if not each.verdict.keep]
        # With nothing left that counts, what was hidden may be all there is.
        left = taking.unfinished() if any(each.snapshot.counts for each in verdicts) else []
        if really:
            left = [entry for entry in left if taking.finish(entry)]
            wanted = [entry for entry in wanted if taking.remove(entry)]
    sizes = {each.entry.id: each.size_bytes for each in judged}
    return Pruned(
        judged=judged,
        removed=tuple(wanted),
        freed_bytes=sum(sizes[entry] for entry in wanted),
        finished=tuple(left),
        warnings=(*dict.fromkeys(seen.warnings), *dict.fromkeys(in_vain), *_stray(wish)),
    )


class _Seen:
    """The entries of a prefix as they were read, and what was said of them."""

    def __init__(self, wish: Wish, here: owner.Owner, now: dt.datetime) -> None:
        self._wish, self._here, self._now = wish, here, now
        self._read: set[str] = set()
        self.warnings: list[str] = []
        self.entries = {
            entry: self._judged(entry, wish.depth) for entry in wish.place.entries(wish.prefix)
        }
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
            rely = [
                *counted[:1],
                *[each for each in counted if each.complete][:1],
                *[each for each in counted if each.proven][:1],
            ]
            unread = sorted({each.id for each in rely} - self._read)
            if not unread or all(each.keep for each in verdicts):
                return verdicts
            for entry in unread:
                self._read.add(entry)
                self.entries[entry] = self._judged(entry, "files")
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

    def _judged(self, entry: str, depth: entries.Depth) -> entries.Entry:
        wish = self._wish
        try:
            return entries.read_entry(
                wish.place, wish.prefix, entry, signers=wish.signers, depth=depth
            )
        except ArchiveError as exc:  # one that this user may not read is no reason to stop
            return entries.Entry(entry, wish.prefix, TrustState.DAMAGED, exc.message, None)

    def _snapshot(self, entry: entries.Entry) -> _retention.Snapshot:
        why_not = _why_not(entry)
        proven = False
        if not why_not:
            proof, refused = proofs.newest(self._wish.place, entry, self._wish.signers)
            proven = proof is not None and proof.passed
            self.warnings += [f"Proof not counted: {text}" for text in refused]
        folder = self._wish.place.path(entry.prefix, entry.id)
        pinned, used_by = None, None
        try:
            pinned = pins.pinned(folder)
            used_by = uses.used_by(folder, here=self._here, now=self._now)
        except OSError as exc:
            used_by = f"nobody knows whom: {folder} cannot be listed ({exc.strerror})"
        return _retention.Snapshot(
            id=entry.id,
            created_at=_created_at(entry.id),
            object_count=_objects(entry.manifest) if entry.manifest else 0,
            counts=not why_not,
            why_not=why_not,
            complete=_is_complete(entry.manifest),
            proven=proven,
            pinned=pinned,
            used_by=used_by,
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
        failed = [check.name for check in found.checks if check.result in ("failed", "different")]
        return f"not all of its checks passed: {', '.join(failed)}"
    if found.created_at != _time.rfc3339(_created_at(entry.id)):
        return f"its manifest says that it was made at {found.created_at}"
    return ""


def _created_at(entry: str) -> dt.datetime:
    try:
        return names.entry_time(entry)
    except EtcdToolError:  # the 13th month
        return _BEGINNING


def _is_complete(found: Manifest | None) -> bool:
    return found is not None and bool(found.kit) and not found.members_without_kit


def _objects(found: Manifest) -> int:
    """Return what a shrink is told by: objects without events, keys where it's not Kubernetes."""
    counted = found.kubernetes.object_count
    if not counted:
        return found.snapshot.key_count
    return max(0, counted - sum(found.kubernetes.resources.get(name, 0) for name in _EVENTS))


def _stray(wish: Wish) -> list[str]:
    """Say what has the name of an entry and is none: links are never followed."""
    folder = wish.place.path(wish.prefix)
    with os.scandir(folder) as listing:
        return sorted(
            f"{item.path} is not a folder: it is no entry, and left alone."
            for item in listing
            if names.is_entry(item.name) and not item.is_dir(follow_symlinks=False)
        )
