# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Who builds a part of the archive, so that only a dead run's leavings are ever removed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import os
import socket
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time

__all__ = ["Owner", "ansible_process", "from_fields", "from_json", "of_process"]

# A part of a run that can't be looked at (another machine, another container) is given a day.
DAY = dt.timedelta(days=1)
_AHEAD = dt.timedelta(hours=1)
_RUNNERS = ("ansible-playbook", "ansible")


@dataclasses.dataclass(frozen=True)
class Owner:
    """A process, known beyond reuse of its number: by machine, boot, PID namespace and start time."""

    host: str
    machine_id: str
    boot_id: str
    pid_namespace: str
    pid: int
    start_ticks: int
    started_at: str

    def to_json(self) -> bytes:
        """Return the owner's file."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True).encode() + b"\n"

    def label(self, place: str) -> str:
        """Name this machine's runs for `place`: the same in every run, on no other machine."""
        told = "\0".join((self.host, self.machine_id, place))
        return hashlib.sha256(told.encode()).hexdigest()[:8]

    def is_stale(self, *, here: Owner, now: dt.datetime) -> bool:
        """Tell whether the run that owned a part is over, seen from the process `here`."""
        if now - _time.parse_rfc3339(self.started_at) >= DAY:
            return True
        return self._is_dead(here) is True

    def is_over(
        self, *, here: Owner, now: dt.datetime, written_at: dt.datetime | None = None
    ) -> bool:
        """Tell whether the process is over; a living one that is seen from `here` never is.

        `written_at`: when its mark was, by the file system; that counts where its own clock was
        ahead, and would hold what it marked until that time has come.
        """
        dead = self._is_dead(here)
        if dead is not None:
            return dead
        since = _time.parse_rfc3339(self.started_at)
        if written_at is not None and since > now + _AHEAD:
            since = written_at
        return now - since >= DAY

    def _is_dead(self, here: Owner) -> bool | None:
        # None: it can't be told from here.
        if (self.host, self.machine_id) != (here.host, here.machine_id):
            return None
        if self.boot_id != here.boot_id:
            # Names repeat (localhost), and a container may have no machine ID: then a day decides.
            return True if self.machine_id else None
        if self.pid_namespace != here.pid_namespace:
            return None
        return start_ticks(self.pid) != self.start_ticks


def from_json(data: bytes) -> Owner | None:
    """Read an owner's file; None if it is not one (cut off by a crash)."""
    try:
        return from_fields(json.loads(data))
    except (ValueError, RecursionError):
        return None


def from_fields(document: t.Any) -> Owner | None:
    """Read an owner from a JSON object; None if it is not one."""
    try:
        owner = Owner(**{field.name: document[field.name] for field in dataclasses.fields(Owner)})
        _time.parse_rfc3339(owner.started_at)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return owner


def of_process(pid: int, *, now: dt.datetime) -> Owner:
    """Describe the living process `pid` of this host as an owner."""
    return Owner(
        host=socket.gethostname(),
        machine_id=_read("/etc/machine-id"),
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        pid_namespace=_link("/proc/self/ns/pid"),
        pid=pid,
        start_ticks=start_ticks(pid) or 0,
        started_at=_time.rfc3339(now),
    )


def ansible_process() -> int:
    """Return the process whose end ends the run: ansible-playbook above this module, or its parent.

    A module's own process is gone long before the run is.
    """
    found, pid = None, os.getppid()
    for parent in _ancestors(pid):
        words = _read(f"/proc/{parent}/cmdline").split("\0")[:3]
        if any(os.path.basename(word) in _RUNNERS for word in words):
            found = parent
    return found or pid


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if there is none."""
    stat = _stat(pid)
    if stat is None or stat[0] in "ZX":  # a zombie builds nothing any more
        return None
    return int(stat[19])


def _ancestors(pid: int) -> t.Iterator[int]:
    while pid > 1:
        yield pid
        stat = _stat(pid)
        if stat is None:
            return
        pid = int(stat[1])


def _stat(pid: int) -> list[str] | None:
    # proc_pid_stat(5): fields from the third on; the second may hold spaces and brackets.
    text = _read(f"/proc/{pid}/stat")
    return text.rpartition(")")[2].split() if text else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
