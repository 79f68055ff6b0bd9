# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs for the demo, and leave none behind, whatever becomes of their parents."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


class Failed(Exception):
    """A step of the demo did not do what it should; the text is all a reader gets."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (Linux's child subreaper)."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def descendants() -> list[int]:
    """Return the processes below this one, parents first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # the command, in brackets, may hold blanks and brackets itself
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        below = children.get(todo.pop(0), [])
        found += below
        todo += below
    return found


def stop_descendants(seconds: float = 10) -> list[int]:
    """End what is still there: SIGTERM, then SIGKILL. Return the processes that were."""
    seen = descendants()
    for name in (signal.SIGTERM, signal.SIGKILL):
        for process in descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, name)
        end = time.monotonic() + seconds
        while descendants() and time.monotonic() < end:
            _reap()
            time.sleep(0.05)
    _reap()
    return seen


def _reap() -> None:
    """Collect what ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def run(
    argv: t.Sequence[str | Path],
    *,
    env: t.Mapping[str, str] | None = None,
    cwd: Path | None = None,
    watch: t.Callable[[str], None] = lambda _line: None,
) -> str:
    """Run a program in a session of its own; return all it said, or raise Failed with it.

    Ctrl-C so reaches the demo alone, which then ends the program in order. `watch` is given each
    line as it comes.
    """
    said: list[str] = []
    with subprocess.Popen(
        [str(word) for word in argv],
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            for line in process.stdout or ():
                said.append(line)
                watch(line.rstrip("\n"))
            process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            raise
    text = "".join(said)
    if process.returncode:
        command = " ".join(str(word) for word in argv)
        raise Failed(f"{text.rstrip()}\n\n{command}: exit status {process.returncode}.")
    return text
