# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at this machine's processes, and wait for what is to come."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t
from pathlib import Path


def processes() -> t.Iterator[tuple[int, str]]:
    """List processes with their command lines."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name), command_line(int(name))


def command_line(pid: int) -> str:
    """Return a process's command line; empty if it is gone."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        return words.replace(b"\0", b" ").decode(errors="replace")
    return ""


def until(what: str, look: t.Callable[[], t.Any], *, seconds: float = 60.0) -> t.Any:
    """Look again and again, at short intervals, until there is something; return it."""
    ends = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < ends, f"{what} did not come within {seconds:g} s"
        time.sleep(0.002)


def is_held(path: Path, root: str) -> bool:
    """Tell whether a run of this lab holds a lock file (others on this machine may, too)."""
    with contextlib.suppress(OSError), path.open("rb") as source:
        note = source.read(200).split()
        try:
            fcntl.flock(source, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = int(note[1]) if len(note) > 1 else 0
            return any(each == pid and root in words for each, words in processes())
    return False
