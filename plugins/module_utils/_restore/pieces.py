# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Renames that take old data out and put new data in its place, and back; told by inode.

A rename is done or not. So after a kill, or a boot, what lies where tells what is left to do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import RestoreRefused

from .places import is_ours

if t.TYPE_CHECKING:
    from .places import Places

__all__ = ["Piece", "aside", "check_back", "inode", "pieces_back", "pieces_of", "put", "take_back"]

_LEFT_ALONE = ("lost+found",)


@dataclasses.dataclass(frozen=True)
class Piece:
    """One name that changes hands.

    :param live: where the member has it.
    :param staged: where the new one is made.
    :param before: where the old one goes.
    :param old: the old one's inode, None where there is none.
    :param new: the new one's inode, None where there is none.
    """

    live: str
    staged: str
    before: str
    old: int | None
    new: int | None


def inode(path: str) -> int | None:
    """Return a path's inode, of a link its own; None if nothing is there."""
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None


def pieces_of(places: Places) -> tuple[Piece, ...]:
    """Return what changes hands, as it lies there now: nothing of it is swapped yet."""
    data = Piece(
        places.live,
        places.staged,
        places.aside("before"),
        inode(places.live),
        inode(places.staged),
    )
    return (*_wal_pieces(places), data)


def _wal_pieces(places: Places) -> t.Iterator[Piece]:
    if not places.wal_dir or not places.wal_staging:
        return
    live, staged, before = places.wal_dir, places.wal_staging, places.wal_aside("before")
    if not places.wal_inside:
        yield Piece(live, staged, before, inode(live), inode(staged))
        return
    for name in sorted({*_names(live), *_names(staged)}):
        here, there = os.path.join(live, name), os.path.join(staged, name)
        yield Piece(here, there, os.path.join(before, name), inode(here), inode(there))


def pieces_back(places: Places, pieces: t.Sequence[Piece]) -> tuple[Piece, ...]:
    """Return the pieces of a finished swap as an etcd that ran since has left them.

    In a WAL folder that is a mount point, each file is a piece, and etcd makes new ones.
    """
    if not (places.wal_dir and places.wal_inside and places.wal_staging):
        return tuple(pieces)
    live, staged, before = places.wal_dir, places.wal_staging, places.wal_aside("before")
    found = []
    for name in sorted({*_names(live), *_names(before)}):
        here, old = os.path.join(live, name), os.path.join(before, name)
        found.append(Piece(here, os.path.join(staged, name), old, inode(old), inode(here)))
    return (*found, *(each for each in pieces if each.live == places.live))


def _names(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [name for name in names if not is_ours(name) and name not in _LEFT_ALONE]


def aside(piece: Piece) -> bool:
    """Move the old one out of the way; tell whether that had to be done."""
    here = inode(piece.live)
    if here is None or here == piece.new:
        return False
    if here != piece.old:
        _expect_empty(piece)
        return False
    if inode(piece.before) is not None:
        raise _unknown(piece.before, piece)
    _rename(piece.live, piece.before)
    return True


def put(piece: Piece) -> bool:
    """Put the new one in its place, which is free; tell whether that had to be done."""
    if piece.new is None or inode(piece.live) == piece.new:
        return False
    if inode(piece.staged) != piece.new:
        raise _unknown(piece.staged, piece)
    _expect_empty(piece)
    _rename(piece.staged, piece.live)
    return True


def check_back(piece: Piece) -> None:
    """Have nothing in the way of `take_back`.

    :raises RestoreRefused: something that this restore doesn't know lies there.
    """
    here = inode(piece.live)
    if here in (None, piece.old, piece.new):
        return
    if not os.path.isdir(piece.live) or os.listdir(piece.live):
        raise _unknown(piece.live, piece)


def take_back(piece: Piece) -> bool:
    """Put the old one back, and the new one where it was made; tell whether that had to be done."""
    done = False
    here = inode(piece.live)
    if here is not None and here == piece.old:
        return False
    if here is not None and here == piece.new:
        if inode(piece.staged) is not None:
            raise _unknown(piece.staged, piece)
        os.makedirs(os.path.dirname(piece.staged), mode=0o700, exist_ok=True)
        _rename(piece.live, piece.staged)
        done = True
    if piece.old is None:
        return done
    if inode(piece.before) != piece.old:
        raise _unknown(piece.before, piece)
    _expect_empty(piece)
    _rename(piece.before, piece.live)
    return True


def _expect_empty(piece: Piece) -> None:
    """Take an empty folder away: a kubelet makes one for a volume that is not there."""
    if inode(piece.live) is None:
        return
    try:
        os.rmdir(piece.live)
    except OSError as exc:
        raise _unknown(piece.live, piece) from exc


def _rename(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except OSError as exc:
        raise RestoreRefused(
            f"{source} can't be renamed to {target}: {exc.strerror}.",
            hint="Mend that, and run this state again, or rolled_back: it goes on from here.",
            path=source,
        ) from exc
    for folder in sorted({os.path.dirname(source), os.path.dirname(target)}):
        with contextlib.suppress(FileNotFoundError):
            _files.fsync_directory(folder)


def _unknown(path: str, piece: Piece) -> RestoreRefused:
    return RestoreRefused(
        f"{path} is not what this restore left there (inode {inode(path)}; the old data has "
        f"{piece.old}, the new data {piece.new}): somebody else has changed it.",
        hint=f"Look at {piece.live}, {piece.before} and {piece.staged}, by ls -lid; put back what "
        "was moved, and run this again.",
        path=path,
    )
