# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Read a host's files without being led astray: links resolved by hand, only plain files opened."""

from __future__ import annotations

import dataclasses
import errno
import os
import posixpath
import stat
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _text
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import KitError

__all__ = ["LIMIT_BYTES", "Content", "HostTree", "Meta", "Resolved", "shown"]

LIMIT_BYTES = 16 << 20
_MAX_LINKS = 40  # what the kernel follows (path_resolution(7))
_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class Meta:
    """What tar keeps of a file, folder or link."""

    mode: int
    uid: int
    gid: int
    mtime: int


@dataclasses.dataclass(frozen=True)
class Resolved:
    """Where a path leads: `path` is free of links; None where its last link leads nowhere."""

    path: str | None
    links: tuple[str, ...]
    """Every link on the way, itself named by a path free of links."""
    is_file: bool = False
    is_folder: bool = False


@dataclasses.dataclass(frozen=True)
class Content:
    """A file as it was at one moment."""

    data: bytes = dataclasses.field(repr=False)
    meta: Meta


def shown(path: str) -> str:
    """Return a path as messages can show it: one line of valid UTF-8."""
    raw = path.encode("utf-8", "surrogateescape")
    return _text.printable(raw.decode("utf-8", "backslashreplace"))


class HostTree:
    """A host's file tree, its root `/` or a recorded tree's folder; all paths are the host's own."""

    def __init__(self, root: str = "/", *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._root = root.rstrip("/")
        self._limit = limit_bytes

    def inside(self, path: str) -> str:
        """Return the host's own path of one that leads through the tree's root."""
        if self._root and (path == self._root or path.startswith(self._root + "/")):
            return path[len(self._root) :] or "/"
        return path

    def resolve(self, path: str) -> Resolved | None:
        """Follow every link of an absolute path; None: there is no such thing.

        :raises KitError: a loop of links, or a folder that may not be searched.
        """
        pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        here = "/"
        links: list[str] = []
        facts = None
        while pending:
            name = pending.pop()
            if name == "..":
                here = posixpath.dirname(here)
                continue
            step = posixpath.join(here, name)
            try:
                facts = os.lstat(self._root + step)
                target = os.readlink(self._root + step) if stat.S_ISLNK(facts.st_mode) else None
            except (FileNotFoundError, NotADirectoryError):
                return Resolved(None, tuple(links)) if links else None
            except OSError as exc:
                raise _refused(step, exc) from exc
            if target is None:
                here = step
                continue
            if len(links) == _MAX_LINKS:
                raise KitError(
                    f"Path {shown(path)} runs through more than {_MAX_LINKS} links: a loop.",
                    path=shown(path),
                )
            links.append(step)
            if target.startswith("/"):
                here = "/"
            pending += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        try:
            facts = os.lstat(self._root + here)
        except OSError as exc:
            raise _refused(here, exc) from exc
        return Resolved(
            here,
            tuple(dict.fromkeys(links)),
            stat.S_ISREG(facts.st_mode),
            stat.S_ISDIR(facts.st_mode),
        )

    def read(self, path: str) -> Content:
        """Return a plain file that has no link in its path, as it was at one moment.

        :raises KitError: it can't be read, is no plain file, is too large, or keeps changing.
        """
        for _turn in range(_ATTEMPTS):
            content = self._read_once(path)
            if content is not None:
                return content
        raise KitError(
            f"File {shown(path)} changed while it was read, {_ATTEMPTS} times.",
            hint="Run it again once nothing writes to it.",
            path=shown(path),
        )

    def _read_once(self, path: str) -> Content | None:
        descriptor = self._open(path)
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise KitError(
                    f"{shown(path)} is no plain file: {_kind(before.st_mode)}.", path=shown(path)
                )
            if before.st_size > self._limit:
                raise KitError(
                    f"File {shown(path)} has {before.st_size} bytes, more than the {self._limit} "
                    "that a kit takes of one file.",
                    hint="Move it away, or name it in exclude.",
                    path=shown(path),
                )
            data = bytearray()
            while len(data) <= self._limit:
                piece = os.read(descriptor, 1 << 20)
                if not piece:
                    break
                data += piece
            after = os.fstat(descriptor)
        except OSError as exc:
            raise _refused(path, exc) from exc
        finally:
            os.close(descriptor)
        same = (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
        if not same or len(data) != after.st_size:
            return None
        return Content(bytes(data), _meta(after))

    def _open(self, path: str) -> int:
        """Open the last part of a path with no link anywhere in it, and no waiting for a FIFO."""
        folder = os.open(self._root or "/", os.O_PATH | os.O_DIRECTORY)
        parts = path.strip("/").split("/")
        try:
            for part in parts[:-1]:
                below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = below
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(parts[-1], flags, dir_fd=folder)
        except OSError as exc:
            raise _refused(path, exc) from exc
        finally:
            os.close(folder)

    def link(self, path: str) -> tuple[str, Meta]:
        """Return where a link points, and what tar keeps of it."""
        try:
            return os.readlink(self._root + path), _meta(os.lstat(self._root + path))
        except OSError as exc:
            raise _refused(path, exc) from exc

    def folder(self, path: str) -> Meta:
        """Return what tar keeps of a folder."""
        try:
            return _meta(os.lstat(self._root + path))
        except OSError as exc:
            raise _refused(path, exc) from exc

    def entries(self, path: str) -> list[str]:
        """Return the names in a folder, sorted by their bytes.

        :raises KitError: it can't be listed.
        """
        try:
            return sorted(os.listdir(self._root + path), key=os.fsencode)
        except OSError as exc:
            raise _refused(path, exc) from exc


def _meta(facts: os.stat_result) -> Meta:
    return Meta(stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid, int(facts.st_mtime))


def _kind(mode: int) -> str:
    kinds: tuple[tuple[t.Callable[[int], bool], str], ...] = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
    )
    return next((name for test, name in kinds if test(mode)), "a special file")


def _refused(path: str, exc: OSError) -> KitError:
    if exc.errno == errno.ELOOP:
        reason = "it became a link while it was looked at"
    elif exc.errno == errno.ENXIO:
        reason = "it is a socket or a FIFO"
    else:
        reason = exc.strerror or str(exc.errno)
    hint = "Run the task with become." if exc.errno in (errno.EACCES, errno.EPERM) else ""
    return KitError(
        f"Cannot read {shown(path)} on this host: {reason}.", hint=hint, path=shown(path)
    )
