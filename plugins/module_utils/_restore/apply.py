# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Do what was planned: stage, swap, roll back, commit. Each step is journaled before it begins.

Killed at any step, the same state asked for again finishes it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    RestoreFailed,
    RestoreRefused,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd import etcdutl
from ansible_collections.controlplane.etcd.plugins.module_utils._node.holders import (
    holders,
    is_locked,
)

from . import pieces as moves
from .folders import Look, dress, look_of, remove, settle
from .made import check_made
from .pieces import Piece, inode, pieces_back, pieces_of
from .places import Places
from .states import State

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._node.journal import (
        Entry,
        Journal,
    )

    from .members import Membership
    from .plan import StagePlan

__all__ = ["Restore", "Source", "check_staged", "places_of", "refuse_held"]

_DATABASE = os.path.join("snap", "db")


@dataclasses.dataclass(frozen=True)
class Source:
    """What is restored, with what: `descriptor` is the clear snapshot, open."""

    tool: etcdutl.Tool
    descriptor: int
    named: str
    skip_hash_check: bool
    timeout: float


class Restore:
    """Changes one member's folders, as its journal tells."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def step(self, name: str) -> None:
        """Mark that a step is done: the place for a test to die at."""

    def stage(
        self,
        plan: StagePlan,
        source: Source,
        membership: Membership,
        *,
        owner: str,
        worn: Look,
        body: t.Mapping[str, t.Any],
    ) -> Entry:
        """Make the new folders beside the live ones; on an error nothing of them stays."""
        places = plan.places
        entry = self._journal.begin(
            places.id, owner, State.STAGING, {**body, "places": places.to_json()}
        )
        self.step("begun")
        try:
            _remove_stagings(places)
            etcdutl.restore(
                source.tool,
                f"/proc/self/fd/{source.descriptor}",
                membership.own,
                data_dir=places.staging,
                wal_dir=places.wal_staging,
                bump=plan.bump_revision,
                skip_hash_check=source.skip_hash_check,
                deadline=source.timeout,
                pass_fds=(source.descriptor,),
                named=source.named,
            )
            self.step("restored")
            made = check_made(places, membership, source.tool)
            for folder, live in _dressed(places):
                dress(folder, look_of(live) if os.path.isdir(live) else worn)
            self.step("dressed")
            for folder in places.stagings:
                settle(folder)
            self.step("settled")
        except BaseException as exc:
            _remove_stagings(places)
            self._journal.remove(entry)
            if isinstance(exc, OSError):
                raise RestoreFailed(
                    f"{places.staging} can't be made: {exc.strerror} ({exc.filename}).",
                    hint="Look at that disk, and run this as root.",
                    path=places.staging,
                ) from exc
            raise
        inodes = {path: inode(path) for path, _live in _dressed(places)}
        return self._journal.advance(entry, State.STAGED, staged=inodes, old_members=list(made))

    def swap(self, entry: Entry) -> Entry:
        """Put what is staged in the place of the live data, which stays beside it."""
        places = places_of(entry)
        refuse_held(places, places.tops, "swapped")
        if entry.state == State.STAGED:
            check_staged(entry)
            taken = pieces_of(places)
            entry = self._journal.advance(entry, State.SWAPPING, pieces=_to_json(taken))
        self.step("planned")
        found = _pieces(entry)
        if places.wal_inside:
            os.makedirs(places.wal_aside("before"), mode=0o700, exist_ok=True)
        for number, piece in enumerate(found):
            moves.aside(piece)
            self.step(f"aside {number}")
        # What opened the old folder before it was renamed is seen now; nobody can open it later.
        late = holders([path for path in places.asides("before") if os.path.isdir(path)])
        if late:
            for piece in found:
                moves.take_back(piece)
            self._journal.advance(entry, State.STAGED)
            raise _held(places, late[0], "swapped")
        for number, piece in enumerate(found):
            moves.put(piece)
            self.step(f"put {number}")
        for folder in places.stagings:  # empty now, where it is still there
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        self.step("put")
        return self._journal.advance(entry, State.SWAPPED, written=_written(places))

    def unstage(self, entry: Entry) -> Entry:
        """Take away what is staged."""
        places = places_of(entry)
        refuse_held(places, places.stagings, "rolled_back", database=places.staged)
        _remove_stagings(places)
        self.step("removed")
        return self._journal.advance(entry, State.ROLLED_BACK)

    def roll_back(self, entry: Entry) -> Entry:
        """Put the old data back; data that an etcd has written to since is kept beside it."""
        places = places_of(entry)
        refuse_held(places, (*places.tops, *places.asides("before")), "rolled_back")
        if entry.state != State.ROLLING_BACK:
            found, keep = _pieces(entry), False
            if entry.state == State.SWAPPED:
                _expect(places.live, _data_piece(places, found).new)
                found = pieces_back(places, found)
                keep = _written(places) != entry.body["written"]
            for piece in found:
                moves.check_back(piece)
            entry = self._journal.advance(
                entry, State.ROLLING_BACK, pieces=_to_json(found), keep=keep
            )
        self.step("planned")
        for number, piece in enumerate(reversed(_pieces(entry))):
            moves.take_back(piece)
            self.step(f"back {number}")
        kept = _keep(places) if entry.body["keep"] else []
        self.step("kept")
        _remove_stagings(places)
        if places.wal_inside:
            with contextlib.suppress(OSError):
                os.rmdir(places.wal_aside("before"))
        self.step("removed")
        return self._journal.advance(entry, State.ROLLED_BACK, kept=kept)

    def commit(self, entry: Entry) -> Entry:
        """Remove the old data."""
        places = places_of(entry)
        refuse_held(places, places.asides("before"), "committed", database=places.aside("before"))
        if entry.state == State.SWAPPED:
            _expect(places.live, _data_piece(places, _pieces(entry)).new)
            entry = self._journal.advance(entry, State.COMMITTING)
        self.step("planned")
        for folder in places.asides("before"):
            remove(folder)
            self.step("removed")
        return self._journal.advance(entry, State.COMMITTED)


def places_of(entry: Entry) -> Places:
    """Return the folders of a journaled restore.

    :raises RestoreRefused: the journal has none that can be read here.
    """
    try:
        return Places(**entry.body["places"])
    except (KeyError, TypeError) as exc:
        raise RestoreRefused(
            f"The journal of restore {entry.run} has no folders that can be read ({exc}).",
            hint="Another version of this collection wrote it: go on with that one.",
        ) from exc


def check_staged(entry: Entry) -> None:
    """Have what was staged lie where it was left.

    :raises RestoreRefused: it does not.
    """
    for path, number in entry.body["staged"].items():
        _expect(path, number)


def refuse_held(
    places: Places, folders: t.Sequence[str], state: str, *, database: str | None = None
) -> None:
    """Refuse to touch folders that a process holds.

    :raises RestoreRefused: names the process.
    """
    there = [path for path in folders if os.path.isdir(path)]
    found = holders(there)
    if found:
        raise _held(places, found[0], state)
    member = database or places.live
    for inner in (member, os.path.join(member, "member")):
        if is_locked(os.path.join(inner, _DATABASE)):
            raise _held(
                places, "a process that can't be seen from here, which holds its lock", state
            )


def _held(places: Places, who: object, state: str) -> RestoreRefused:
    return RestoreRefused(
        f"{places.data_dir} can't be {state} while it is held by {who}.",
        hint="Stop that etcd first (a static pod: move its manifest away and wait until its "
        "process is gone), and leave the folder.",
        path=places.data_dir,
    )


def _dressed(places: Places) -> t.Iterator[tuple[str, str]]:
    yield places.staged, places.live
    if places.wal_dir and places.wal_staging:
        yield places.wal_staging, places.wal_dir


def _remove_stagings(places: Places) -> None:
    for folder in places.stagings:
        remove(folder)
        # What etcd's tool makes a WAL folder in, first (wal.go, Create).
        remove(f"{folder}.tmp")


def _keep(places: Places) -> list[str]:
    kept = []
    pairs = [(places.staged, places.aside("undone"))]
    if places.wal_dir and places.wal_staging:
        pairs.append((places.wal_staging, places.wal_aside("undone")))
    for source, target in pairs:
        if os.path.isdir(source) and not os.path.lexists(target):
            os.rename(source, target)
        if os.path.isdir(target):
            kept.append(target)
    return kept


def _written(places: Places) -> list[int]:
    """Return what changes as soon as an etcd has run on the live data."""
    member = places.live if places.inside else os.path.join(places.live, "member")
    try:
        facts = os.stat(os.path.join(member, _DATABASE))
    except OSError:
        return []
    return [facts.st_mtime_ns, facts.st_size, facts.st_ino]


def _expect(path: str, number: int | None) -> None:
    if inode(path) != number:
        raise RestoreRefused(
            f"{path} is not what this restore left there (inode {inode(path)}, it left {number}): "
            "somebody else has changed it.",
            hint="Look at what lies there and beside it; put back what was moved, and run this "
            "again.",
            path=path,
        )


def _data_piece(places: Places, found: t.Sequence[Piece]) -> Piece:
    return next(each for each in found if each.live == places.live)


def _to_json(found: t.Sequence[Piece]) -> list[dict[str, t.Any]]:
    return [dataclasses.asdict(each) for each in found]


def _pieces(entry: Entry) -> tuple[Piece, ...]:
    return tuple(Piece(**each) for each in entry.body["pieces"])
