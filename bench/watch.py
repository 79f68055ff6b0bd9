# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch the memory of whole process trees, and the processor time of one program."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import subprocess
import threading
import time
import typing as t
from pathlib import Path

MIB = 1 << 20
_PAUSE_SECONDS = 0.05
_LOOK_EVERY = 4
"""Which processes there are is looked up every so many samples: that costs most."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one program took, with all that it started."""

    seconds: float
    cpu_seconds: float
    anonymous_bytes: int
    output: str


class Memory:
    """Samples RssAnon (proc(5)) of process trees, each below one root, and keeps the peaks.

    A tree's figure is the sum over its processes, so pages that a fork shares count twice.
    """

    def __init__(self, roots: t.Mapping[str, int], *, but: t.Iterable[int] = ()) -> None:
        self._roots = dict(roots)
        self._but = set(but)
        self.peaks = dict.fromkeys(roots, 0)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_rest: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        trees: dict[str, list[int]] = {}
        for turn in itertools.count():
            if turn % _LOOK_EVERY == 0:
                children = _children()
                trees = {name: self._below(root, children) for name, root in self._roots.items()}
            for name, tree in trees.items():
                self.peaks[name] = max(self.peaks[name], sum(map(anonymous_bytes, tree)))
            if self._done.wait(_PAUSE_SECONDS):
                return

    def _below(self, root: int, children: t.Mapping[int, list[int]]) -> list[int]:
        """Return the processes below `root`; what is left out is so with all below it."""
        found: list[int] = []
        todo = [root]
        while todo:
            below = [pid for pid in children.get(todo.pop(), ()) if pid not in self._but]
            found += below
            todo += below
        return found


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", "rb") as stat:
                # the command, in brackets, may hold blanks and brackets itself
                parent = int(stat.read().rpartition(b")")[2].split()[1])
                found.setdefault(parent, []).append(int(name))
    return found


def anonymous_bytes(pid: int) -> int:
    """Return a process's RssAnon, 0 if it ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", "rb") as status:
        for line in status:
            if line.startswith(b"RssAnon:"):
                return int(line.split()[1]) << 10
    return 0


def run(argv: t.Sequence[str | Path], *, stdin: str = "", **more: t.Any) -> Cost:
    """Run a program to its end, in silence; raise with what it said if it fails."""
    started = time.monotonic()
    peak = 0
    before = os.times()
    with subprocess.Popen(
        [str(word) for word in argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,
    ) as process:
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.append(_talk(process, stdin)))
        reader.start()
        while process.poll() is None:
            peak = max(peak, anonymous_bytes(process.pid))
            time.sleep(0.004)
        reader.join()
        seconds = time.monotonic() - started
    after = os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    text = "".join(said)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}: exit status {process.returncode}:\n{text}")
    return Cost(seconds, cpu, peak, text)


def _talk(process: subprocess.Popen[str], stdin: str) -> str:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("pipes were asked for")
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(stdin)
    return process.stdout.read()
