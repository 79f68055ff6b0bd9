# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""One run at a time on a host, for one name: a flock that the kernel drops when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import Locked

__all__ = ["host_lock", "lock_within"]

# Not /run/lock: on Debian any user can put files of any name there.
_SYSTEM_FOLDER = "/run/controlplane.etcd"
_LOOK_SECONDS = 0.2


@contextlib.contextmanager
def host_lock(name: str, wait_seconds: float = 0) -> t.Iterator[str]:
    """Hold the host's lock `name` in the `with` block; gives the lock file's path.

    Several hosts of an inventory may be one machine, so put cluster and member into `name`.

    :raises Locked: another run still holds it after `wait_seconds`; says which process, since when.
    """
    path = os.path.join(_folder(), f"controlplane.etcd-{_plain(name)}.lock")
    descriptor = _open(path)
    try:
        _acquire(descriptor, path, wait_seconds)
        note = f"pid {os.getpid()} since {_time.rfc3339(_time.now())}\n".encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note, 0)
        try:
            yield path
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        # The file stays: removing it would let two runs lock two files of one name.
        os.close(descriptor)


def _plain(name: str) -> str:
    """Return `name` as one part of a path."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:150]


def _folder() -> str:
    """Return a folder that only root, or only this user, can put locks in the way of."""
    if os.geteuid() == 0:
        return _own(_SYSTEM_FOLDER)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime) and os.stat(runtime).st_uid == os.geteuid():
        return runtime
    return _own(f"/var/tmp/controlplane.etcd-{os.geteuid()}")


def _own(path: str) -> str:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    facts = os.lstat(path)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise Locked(
            f"Cannot lock in {path}: it is not a folder of this user (owner uid {facts.st_uid}).",
            hint="Remove it: somebody else made it.",
            path=path,
        )
    return path


def _open(path: str) -> int:
    """Open the lock file; never through a link, never one that another user made."""
    try:
        # No O_CREAT first: with fs.protected_regular even root may not create over another's file.
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
    except OSError as exc:
        raise Locked(
            f"Cannot open lock file {path}: {exc.strerror}.",
            hint="Look at it and remove it if it is a link or another user's.",
            path=path,
        ) from exc
    facts = os.fstat(descriptor)
    if facts.st_uid != os.geteuid() or not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise Locked(
            f"Lock file {path} is not a plain file of this user (owner uid {facts.st_uid}).",
            hint="Look at it and remove it: it would let somebody else hold up every run.",
            path=path,
        )
    return descriptor


def _acquire(descriptor: int, path: str, wait_seconds: float) -> None:
    if not lock_within(descriptor, wait_seconds):
        holder = os.pread(descriptor, 200, 0).decode("ascii", "replace").strip()
        raise Locked(
            f"Another run holds {path} ({holder or 'it has not said which'}); waited "
            f"{wait_seconds:g} s.",
            hint="Wait for it, or raise lock_timeout; if that process hangs, end it: the "
            "lock goes with it.",
            path=path,
        )


def lock_within(descriptor: int, wait_seconds: float) -> bool:
    """Take an exclusive flock; tell whether it could be had in `wait_seconds`.

    :raises OSError: the file system has no such locks.
    """
    ends = _time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            left = ends - _time.monotonic()
            if left <= 0:
                return False
        time.sleep(min(_LOOK_SECONDS, max(left, 0.01)))
