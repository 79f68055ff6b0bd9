# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a cage leaves behind when its makers die: how it is found, removed, and looked for again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import time

from ansible_collections.controlplane.etcd.plugins.module_utils import _time

from .network import users

__all__ = ["Leavings", "clear", "inside", "remains", "systemctl"]

_END_SECONDS = 10.0
_LOOK_SECONDS = 0.02
_SYSTEMCTL_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Leavings:
    """What must be gone in the end.

    :param network: the inode of the cage's network; 0 for none. All processes in it are ended: who
        clears is in it, or holds it open, for the kernel gives free numbers to others.
    :param owner: but this one, which opened the cage and may live on.
    :param units: systemd's names of what runs; a pattern will do.
    :param paths: files and folders; a folder's processes, by their working directory, go first.
    """

    network: int = 0
    owner: int = 0
    units: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def with_unit(self, name: str) -> Leavings:
        """Return these and one more unit."""
        return dataclasses.replace(self, units=(*self.units, name))

    def with_path(self, path: str) -> Leavings:
        """Return these and one more path."""
        return dataclasses.replace(self, paths=(*self.paths, path))


def clear(left: Leavings) -> None:
    """End the processes and units, then remove the paths; what is gone already is fine."""
    for unit in left.units:
        # Its data is thrown away: nothing is gained by letting it end in order.
        systemctl("kill", "--signal=SIGKILL", "--", unit)
        systemctl("stop", "--", unit)
        systemctl("reset-failed", "--", unit)
    ends = _time.monotonic() + _END_SECONDS
    while (found := _processes(left)) and _time.monotonic() < ends:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_LOOK_SECONDS)
    for path in left.paths:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)


def remains(left: Leavings) -> list[str]:
    """Say what is still there."""
    found = [f"process {pid}" for pid in _processes(left)]
    for unit in left.units:
        state = systemctl("show", "--property=ActiveState", "--value", "--", unit).strip()
        if state in ("active", "activating", "deactivating", "reloading"):
            found.append(f"unit {unit} ({state})")
    return found + [path for path in left.paths if os.path.lexists(path)]


def inside(folder: str) -> list[int]:
    """Return the other processes whose working directory is `folder` or below it."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            at = os.readlink(f"/proc/{name}/cwd")
        except OSError:
            continue
        if at == folder or at.startswith(f"{folder}/"):
            found.append(int(name))
    return found


def systemctl(*words: str) -> str:
    """Return what systemctl says; empty where it fails, hangs or is not there."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            ["systemctl", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SYSTEMCTL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _processes(left: Leavings) -> list[int]:
    found: set[int] = set(users(left.network)) if left.network else set()
    for path in left.paths:
        found.update(inside(os.path.realpath(path)))
    return sorted(pid for pid in found - {left.owner} if not _is_dead(pid))


def _is_dead(pid: int) -> bool:
    """Tell whether a process has ended, and only waits for its parent to ask."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as source:
            return source.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except (OSError, IndexError):
        return True
