# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Entries that somebody reads right now: a file with its owner inside, so that none is rotated away.

A process that is seen here to live holds its entry for as long as it lives; one that can't be seen
from here (another machine, another container) for a day, as a part of an entry. A delivery holds
its entry for the run that made it, until what is done with it is done: nobody else reads it then.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import re
import secrets
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import names, owner
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    OptionInvalid,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import (
        DirectoryStore,
    )

__all__ = ["hold", "in_use", "let_go", "used_by"]

_NAME = re.compile(r"\.use-[0-9a-f]{8}\.json")
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def in_use(
    place: DirectoryStore, prefix: names.Prefix, entry: str, *, user: owner.Owner
) -> t.Iterator[bool]:
    """Hold an entry in the `with` block for the process `user`; gives whether others can see it.

    Others can't where this user may only read the archive: then nobody is kept from rotating. Marks
    that the dead left in the entry are removed.

    :raises ArchiveError: the entry is not there (any more).
    """
    names.entry_time(entry)
    folder = place.path(prefix, entry)
    mark = os.path.join(folder, f".use-{secrets.token_hex(4)}.json")
    told = _write(mark, entry, user)
    try:
        # Whoever takes an entry away looks for marks after the renaming, and puts it back.
        if not os.path.isdir(folder) or (told and not os.path.exists(mark)):
            raise ArchiveError(
                f"Entry {entry} is not in the archive (any more): there is no folder {folder}.",
                hint="It may have been rotated away just now; etcd_archive_info lists what there is.",
                path=folder,
            )
        _sweep(folder, user)
        yield told
    finally:
        with contextlib.suppress(OSError):
            os.unlink(mark)


def hold(
    place: DirectoryStore, prefix: names.Prefix, entry: str, delivery: str, *, user: owner.Owner
) -> None:
    """Hold an entry that is in use for its `delivery`, too, until let_go() or the end of `user`.

    :raises OptionInvalid: that is no delivery of this entry.
    :raises ArchiveError: it cannot be marked.
    """
    found = names.DELIVERY.fullmatch(os.path.basename(delivery))
    if found is None or found["entry"] != entry:
        raise OptionInvalid(f"{delivery!r} is not called as a delivery of entry {entry} is.")
    _write(_mark(place, prefix, found), entry, user)


def let_go(place: DirectoryStore, prefix: names.Prefix, delivery: str) -> None:
    """Hold an entry no longer for its `delivery`, if it still was."""
    found = names.DELIVERY.fullmatch(os.path.basename(delivery))
    if found is not None:
        with contextlib.suppress(OSError):
            os.unlink(_mark(place, prefix, found))


def _mark(place: DirectoryStore, prefix: names.Prefix, delivery: re.Match[str]) -> str:
    return os.path.join(place.path(prefix, delivery["entry"]), f".use-{delivery['random']}.json")


def _write(mark: str, entry: str, user: owner.Owner) -> bool:
    """Tell whether the mark is there: in a folder that is, and that this user may write to."""
    try:
        _files.atomic_write(mark, user.to_json())
    except OSError as exc:
        if exc.errno not in (*_READ_ONLY, errno.ENOENT):
            raise ArchiveError(
                f"Entry {entry} cannot be marked as in use: {mark}: {exc.strerror}.",
                hint="Free space on the archive's file system, or mend its folder.",
                path=mark,
            ) from exc
        return False
    return True


def _sweep(folder: str, here: owner.Owner) -> None:
    now = _time.parse_rfc3339(here.started_at)
    for name in os.listdir(folder):
        if _NAME.fullmatch(name):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                user, written_at = _read(path)
                if user and user.is_over(here=here, now=now, written_at=written_at):
                    os.unlink(path)


def _read(path: str) -> tuple[owner.Owner | None, dt.datetime]:
    """Return whose mark it is, and when it was written."""
    with _files.open_regular(path) as source:
        written = os.fstat(source.fileno()).st_mtime
        user = owner.from_json(source.read(1 << 16))
    return user, dt.datetime.fromtimestamp(written, dt.timezone.utc)


def used_by(folder: str, *, here: owner.Owner, now: dt.datetime) -> str | None:
    """Say which processes hold the entry in `folder`; None if none does (any more)."""
    found = []
    for name in sorted(os.listdir(folder)):
        if not _NAME.fullmatch(name):
            continue
        try:
            user, written_at = _read(os.path.join(folder, name))
        except FileNotFoundError:  # let go just now
            continue
        except OSError as exc:
            found.append(f"{name}, which cannot be read ({exc.strerror})")
            continue
        if user and not user.is_over(here=here, now=now, written_at=written_at):
            found.append(f"process {user.pid} on {user.host} since {user.started_at}")
    return "; ".join(found) or None
