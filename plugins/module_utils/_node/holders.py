# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Which processes hold folders: with open files, by working there, or told to serve from them.

Some live in containers with mount namespaces of their own, so files are compared by device and
inode, as their own /proc entries lead to them, never by path.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import typing as t

__all__ = ["Holder", "holders", "is_locked"]

_SERVERS = ("etcd", "k3s", "k3s-server", "rke2")
_FLAGS = ("data-dir", "wal-dir")
_VARIABLES = ("ETCD_DATA_DIR", "ETCD_WAL_DIR")
# What a member's folder holds is some dozen files; this much is another kind of folder.
_MOST_FILES = 20_000

Inode = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Holder:
    """A process that holds a folder, and how."""

    pid: int
    program: str
    how: str

    def __str__(self) -> str:
        return f"{self.program} (pid {self.pid}, {self.how})"


def holders(folders: t.Sequence[str]) -> tuple[Holder, ...]:
    """Return the processes that hold anything in `folders`, this one left out.

    Another user's processes can be looked into by root only.
    """
    files = {inode for folder in folders for inode in _inodes(folder)}
    tops = {inode for folder in folders for inode in [_inode(folder)] if inode}
    if not files:
        return ()
    found = []
    own = os.getpid()
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        how = _how(pid, files, tops) if pid != own else None
        if how:
            found.append(Holder(pid, _program(pid), how))
    return tuple(found)


def is_locked(database: str) -> bool:
    """Tell whether somebody holds bbolt's lock on a db, in whatever PID namespace (bolt_unix.go)."""
    try:
        descriptor = os.open(database, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(descriptor)
    return False


def _how(pid: int, files: set[Inode], tops: set[Inode]) -> str | None:
    for name, words in (("cwd", "works in it"), ("root", "has its root in it")):
        if _inode(f"/proc/{pid}/{name}") in files:
            return words
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        descriptors = []
    if any(_inode(f"/proc/{pid}/fd/{number}") in files for number in descriptors):
        return "has files of it open"
    for path in _told(pid):
        base = f"/proc/{pid}/root" if path.startswith("/") else f"/proc/{pid}/cwd/"
        if _inode(base + path) in tops:
            return "is told to use it"
    return None


def _told(pid: int) -> t.Iterator[str]:
    """Yield the folders that a process' flags name; of an etcd, its environment's too."""
    argv = _strings(pid, "cmdline")
    for position, word in enumerate(argv):
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name in _FLAGS:
            yield from [value] if equals else argv[position + 1 : position + 2]
    if _program(pid) in _SERVERS:
        for entry in _strings(pid, "environ"):
            name, equals, value = entry.partition("=")
            if name in _VARIABLES:
                yield value


def _inodes(folder: str) -> t.Iterator[Inode]:
    """Yield everything in a folder, and itself; no other file system's."""
    top = _inode(folder)
    if top is None:
        return
    yield top
    seen = 0
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            inode = _inode(os.path.join(parent, name), follow=False)
            if inode:
                yield inode
        seen += len(names) + len(folders)
        if seen > _MOST_FILES:
            return


def _program(pid: int) -> str:
    try:
        path = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        path = (_strings(pid, "cmdline") or ["?"])[0]
    return os.path.basename(path.removesuffix(" (deleted)")) or "?"


def _strings(pid: int, name: str) -> list[str]:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as source:
            return [os.fsdecode(part) for part in source.read().split(b"\0") if part]
    except OSError:
        return []


def _inode(path: str, *, follow: bool = True) -> Inode | None:
    try:
        facts = os.stat(path) if follow else os.lstat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
