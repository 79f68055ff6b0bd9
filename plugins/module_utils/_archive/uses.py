# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Entries that somebody reads right now: a file with its owner inside, so that none is rotated away.

A process that is seen here to live holds its entry for as long as it lives; one that can't be seen
from here (another machine, another container) for a day, as a part of an entry.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import re
import secrets
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import names, owner
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import ArchiveError

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import (
        DirectoryStore,
    )

__all__ = ["in_use", "used_by"]

_NAME = re.compile(r"\.use-[0-9a-f]{8}\.json")
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def in_use(
    place: DirectoryStore, prefix: names.Prefix, entry: str, *, user: owner.Owner
) -> t.Iterator[bool]:
    """Hold an entry in the `with` block for the process `user`; gives whether others can see it.

    Others can't where this user may only read the archive: then nobody is kept from rotating.

    :raises ArchiveError: the entry is not there (any more).
    """
    folder = place.path(prefix, entry)
    names.entry_time(entry)
    mark = os.path.join(folder, f".use-{secrets.token_hex(4)}.json")
    told = True
    try:
        _files.atomic_write(mark, user.to_json())
    except OSError as exc:
        if exc.errno not in (*_READ_ONLY, errno.ENOENT):
            raise ArchiveError(
                f"Entry {entry} cannot be marked as in use: {mark}: {exc.strerror}.",
                hint="Free space on the archive's file system, or mend its folder.",
                path=mark,
            ) from exc
        told = False
    try:
        # Whoever takes an entry away looks for marks after the renaming, and puts it back.
        if not os.path.isdir(folder) or (told and not os.path.exists(mark)):
            raise ArchiveError(
                f"Entry {entry} is not in the archive (any more): there is no folder {folder}.",
                hint="It may have been rotated away just now; etcd_archive_info lists what there is.",
                path=folder,
            )
        yield told
    finally:
        with contextlib.suppress(OSError):
            os.unlink(mark)


def used_by(folder: str, *, here: owner.Owner, now: dt.datetime) -> str | None:
    """Say which processes hold the entry in `folder`; None if none does (any more)."""
    found = []
    for name in sorted(os.listdir(folder)):
        if not _NAME.fullmatch(name):
            continue
        try:
            with _files.open_regular(os.path.join(folder, name)) as source:
                user = owner.from_json(source.read(1 << 16))
                written_at = dt.datetime.fromtimestamp(
                    os.fstat(source.fileno()).st_mtime, dt.timezone.utc
                )
        except FileNotFoundError:  # let go just now
            continue
        except OSError as exc:
            found.append(f"{name}, which cannot be read ({exc.strerror})")
            continue
        if user and not user.is_over(here=here, now=now, written_at=written_at):
            found.append(f"process {user.pid} on {user.host} since {user.started_at}")
    return "; ".join(found) or None
