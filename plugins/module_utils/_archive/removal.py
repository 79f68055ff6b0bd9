# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Entries taken away: renamed out of sight first, then deleted; what a killed run left is finished.

Nothing is followed out of the prefix: an entry that is a link is refused, a link inside one goes
without what it leads to (shutil.rmtree).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import names
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import ArchiveError, Locked
from ansible_collections.controlplane.etcd.plugins.module_utils._node.locks import lock_within

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import (
        DirectoryStore,
    )

__all__ = ["Removal", "hidden_name"]

_SUFFIX = ".removed"
# Some network file systems lock no folders; then the renaming alone decides who removes an entry.
_NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)

Holds = t.Callable[[str], t.Optional[str]]


def hidden_name(entry: str) -> str:
    """Return the name of an entry whose removal was begun."""
    names.entry_time(entry)
    return f".{entry}{_SUFFIX}"


class Removal:
    """Takes entries of one prefix away, and knows which were not taken away to the end.

    `holds` says why the entry in a folder must stay (somebody pinned it, or reads it); None if not.
    """

    def __init__(self, place: DirectoryStore, prefix: names.Prefix, holds: Holds) -> None:
        self._place = place
        self._prefix = prefix
        self._holds = holds
        self.folder = place.path(prefix).rstrip("/")

    @contextlib.contextmanager
    def lock(self, wait_seconds: float) -> t.Iterator[None]:
        """Be the only one in the `with` block that removes entries of this prefix.

        :raises Locked: another run still does after `wait_seconds`.
        """
        with self._changing(self.folder, "lock"):
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._acquire(descriptor, wait_seconds)
            yield
        finally:
            os.close(descriptor)

    def unfinished(self) -> list[str]:
        """List the IDs of entries that a run began to remove, and did not to the end."""
        with self._changing(self.folder, "list"), os.scandir(self.folder) as listing:
            found = [
                item.name[1 : -len(_SUFFIX)]
                for item in listing
                if item.name.startswith(".")
                and item.name.endswith(_SUFFIX)
                and item.is_dir(follow_symlinks=False)
            ]
        return sorted(name for name in found if names.is_entry(name))

    def finish(self, entry: str) -> bool:
        """Delete what is left of an entry; tell whether it is gone, or back since it is held."""
        hidden = self._hidden(entry)
        with self._changing(hidden, "remove"):
            if self._holds(hidden):
                self._unhide(entry)
                return False
            self.step("unheld")
            shutil.rmtree(hidden)
            self.step("deleted")
            _files.fsync_directory(self.folder)
        return True

    def remove(self, entry: str) -> bool:
        """Remove an entry; tell whether it is gone, or still there since it is held.

        :raises ArchiveError: it can't be; it has its name then, or is finished by the next run.
        """
        path, hidden = self._place.path(self._prefix, entry), self._hidden(entry)
        with self._changing(path, "remove"):
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise ArchiveError(
                    f"{path} is not a folder: it is left alone.",
                    hint="Look at it: nothing of this collection puts links into an archive.",
                    path=path,
                )
            if self._holds(path):
                return False
            self._refuse_what_would_stay(path)
            self.step("looked")
            os.rename(path, hidden)
            self.step("renamed")
            _files.fsync_directory(self.folder)
            self.step("synced")
        # Whoever marked it as in use before the renaming gets it back; after it nobody can.
        return self.finish(entry)

    def put_back(self, entry: str) -> bool:
        """Give a hidden entry its name back."""
        with self._changing(self._hidden(entry), "put back"):
            self._unhide(entry)
        return True

    def size_bytes(self, name: str) -> int:
        """Return the bytes of the files under an entry's name, as far as they can be seen."""
        total = 0
        for folder, _folders, files in os.walk(self._place.path(self._prefix, name)):
            for file in files:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(folder, file)).st_size
        return total

    def step(self, name: str) -> None:
        """Mark that a step is done: the place for a test to die at."""

    def _hidden(self, entry: str) -> str:
        return self._place.path(self._prefix, hidden_name(entry))

    def _unhide(self, entry: str) -> None:
        os.rename(self._hidden(entry), self._place.path(self._prefix, entry))
        _files.fsync_directory(self.folder)

    def _refuse_what_would_stay(self, path: str) -> None:
        # Renaming takes rights on the prefix alone; half an entry would be left out of sight.
        for folder, _folders, _names in os.walk(path):
            if not os.access(folder, os.W_OK | os.X_OK):
                read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
                why = errno.EROFS if read_only else errno.EACCES
                raise OSError(why, os.strerror(why), folder)

    def _acquire(self, descriptor: int, wait_seconds: float) -> None:
        try:
            locked = lock_within(descriptor, wait_seconds)
        except OSError as exc:
            if exc.errno in _NO_LOCKS:
                return
            raise
        if not locked:
            raise Locked(
                f"Another run is removing entries of {self.folder}; waited {wait_seconds:g} s.",
                hint="Wait for it, or raise lock_timeout.",
                path=self.folder,
            )

    @contextlib.contextmanager
    def _changing(self, path: str, verb: str) -> t.Iterator[None]:
        try:
            yield
        except OSError as exc:
            where = exc.filename if isinstance(exc.filename, str) else path
            raise ArchiveError(
                f"The archive on the controller cannot {verb} {path}: {exc.strerror or exc}"
                + (f" ({where})." if where != path else "."),
                hint="Check that it is mounted writable and whose its files are. What was begun is "
                "finished by the next run.",
                path=path,
            ) from exc
