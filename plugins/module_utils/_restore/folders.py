# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A member's folders on this host: what they are, and making new ones look like them."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import stat
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import RestoreRefused
from ansible_collections.controlplane.etcd.plugins.module_utils._node import space

__all__ = ["Folder", "Look", "dress", "look", "look_of", "remove", "settle"]

_LABEL = "security.selinux"
_NONE = (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOENT, errno.EPERM, errno.ENOSYS)


@dataclasses.dataclass(frozen=True)
class Look:
    """Owner, mode and SELinux labels of a folder and of what lies in it."""

    uid: int
    gid: int
    mode: int
    label: bytes | None = None
    folder_label: bytes | None = None
    file_label: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Folder:
    """One folder of a member, or where there will be one.

    :param path: with its links resolved.
    :param entries: what is in it, None where it is not there.
    :param look: None where it is not there.
    :param beside: the file system that new folders are made on, unless that is inside of it.
    :param links: what of a member is a link in it.
    """

    path: str
    entries: tuple[str, ...] | None
    is_mount: bool
    look: Look | None
    here: space.FileSystem
    beside: space.FileSystem
    links: tuple[str, ...] = ()


def look(path: str) -> Folder:
    """Look at a folder.

    :raises RestoreRefused: something else than a folder is there, or it can't be read.
    """
    real = os.path.realpath(path)
    try:
        names: tuple[str, ...] | None = tuple(sorted(os.listdir(real)))
    except FileNotFoundError:
        names = None
    except OSError as exc:
        raise RestoreRefused(
            f"{path} can't be read as a folder: {exc.strerror}.",
            hint="Name the folder that etcd is told by --data-dir, as root.",
            path=path,
        ) from exc
    here = space.file_system(real)
    beside = space.file_system(os.path.dirname(real))
    below = (os.path.join("member", "wal"), os.path.join("member", "snap"))
    return Folder(
        path=real,
        entries=names,
        is_mount=names is not None and here.mount_point == real,
        look=look_of(real) if names is not None else None,
        here=here,
        beside=beside,
        links=tuple(each for each in ("member", *below) if os.path.islink(f"{real}/{each}")),
    )


def look_of(path: str) -> Look:
    """Return owner, mode and labels of a data, member or WAL folder."""
    facts = os.stat(path)
    member = os.path.join(path, "member")
    inner = member if os.path.isdir(member) else path
    owner = os.stat(inner)
    database = os.path.join(inner, "snap", "db")
    return Look(
        uid=owner.st_uid,
        gid=owner.st_gid,
        mode=stat.S_IMODE(facts.st_mode),
        label=_label(path),
        folder_label=_label(inner),
        file_label=_label(database) or _label(inner),
    )


def dress(folder: str, worn: Look) -> None:
    """Give a new tree the owner, labels and, on top, the mode of an old one."""
    for path, is_folder in _tree(folder):
        os.chown(path, worn.uid, worn.gid, follow_symlinks=False)
        _set_label(path, worn.folder_label if is_folder else worn.file_label)
    os.chmod(folder, worn.mode)
    _set_label(folder, worn.label)


def settle(folder: str) -> None:
    """Have a tree on disk, names included."""
    for path, is_folder in _tree(folder):
        if is_folder:
            _files.fsync_directory(path)
            continue
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    _files.fsync_directory(os.path.dirname(folder))


def remove(path: str) -> bool:
    """Remove a folder of ours, or a file; tell whether there was one.

    :raises RestoreRefused: it can't be removed.
    """
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return False
    try:
        if stat.S_ISDIR(facts.st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except OSError as exc:
        raise RestoreRefused(
            f"{path} can't be removed: {exc.strerror} ({exc.filename}).",
            hint="Mend that, and run this state again: it goes on from here.",
            path=path,
        ) from exc
    with contextlib.suppress(FileNotFoundError):
        _files.fsync_directory(os.path.dirname(path))
    return True


def _tree(folder: str) -> t.Iterator[tuple[str, bool]]:
    for parent, folders, names in os.walk(folder):
        for name in names:
            yield os.path.join(parent, name), False
        for name in folders:
            yield os.path.join(parent, name), True
    yield folder, True


def _label(path: str) -> bytes | None:
    try:
        return os.getxattr(path, _LABEL)
    except OSError as exc:
        if exc.errno in _NONE:
            return None
        raise


def _set_label(path: str, label: bytes | None) -> None:
    if label is None or _label(path) == label:
        return
    os.setxattr(path, _LABEL, label, follow_symlinks=False)
