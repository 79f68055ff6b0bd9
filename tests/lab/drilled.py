# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drills on this machine: one that is on its way and can be killed, and what one left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from lab import returned
from lab.module import COLLECTIONS

__all__ = ["Drilling", "drilled", "leavings", "result_of"]

PREFIX = "controlplane-etcd-drill."
_MODULE = "ansible_collections.controlplane.etcd.plugins.modules.etcd_drill"


class Drilling:
    """A module that is at work: watched, and killed part by part."""

    def __init__(self, options: t.Mapping[str, t.Any]) -> None:
        self.work_dir = Path(options["work_dir"])
        self.process = subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": COLLECTIONS},
            text=True,
        )
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": dict(options)}))
        self.process.stdin.close()
        self.process.stdin = None

    @property
    def keeper(self) -> int:
        """The pid of the process that the module forked to look after it."""
        words = dict(_processes())
        own = words[self.process.pid]
        return next(pid for pid in _children(self.process.pid) if words.get(pid) == own)

    def running(self, name: str) -> int | None:
        """The pid of a program of this drill, or of NAME.real in its place; None if none runs."""
        for pid, argv in _processes():
            programs = {Path(word).name for word in argv[:2]}
            mine = f"{self.work_dir}/{PREFIX}" in " ".join(argv)
            if mine and programs & {name, f"{name}.real"}:
                return pid
        return None

    def wait_for(self, name: str, *, seconds: float = 60) -> int:
        """Wait until a program runs in the cage, and return its pid."""
        end = time.monotonic() + seconds
        while (pid := self.running(name)) is None:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, f"{name} does not run"
            time.sleep(0.005)
        return pid

    def kill(self, *pids: int) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def result(self, *, seconds: float = 120) -> dict[str, t.Any]:
        """Wait for the module's answer."""
        out, err = self.process.communicate(timeout=seconds)
        assert out.strip(), err
        answer = t.cast("dict[str, t.Any]", json.loads(out))
        assert not (wrong := returned.disagreements("etcd_drill", answer)), wrong
        return answer

    def wait_dead(self, *, seconds: float = 30) -> None:
        """Wait for the end of a module that was killed."""
        self.process.wait(seconds)


def _processes() -> t.Iterator[tuple[int, list[str]]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                data = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            yield int(name), [part.decode(errors="replace") for part in data.split(b"\0")]


def _children(parent: int) -> list[int]:
    return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


def leavings(work_dir: Path, *, planted: t.Iterable[bytes] = ()) -> list[str]:
    """Return what a drill in `work_dir` left: processes, files of any kind, planted bytes in files."""
    found = [
        f"process {pid}: {' '.join(argv)[:200]}"
        for pid, argv in _processes()
        if str(work_dir) in " ".join(argv) and pid != os.getpid() and PREFIX in " ".join(argv)
    ]
    found += [
        f"process {pid} in {at}"
        for pid, _argv in _processes()
        if (at := _cwd(pid)).startswith(str(work_dir)) and PREFIX in at
    ]
    found += [str(path) for path in _all_below(work_dir) if PREFIX in str(path)]
    needles = list(planted)
    for root in (work_dir, Path("/run/controlplane.etcd"), Path("/run/controlplane-etcd")):
        for path in _all_below(root) if needles else ():
            with contextlib.suppress(OSError):
                data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found += [f"{needle[:20]!r} in {path}" for needle in needles if needle in data]
    return found


def _all_below(root: Path) -> t.Iterator[Path]:
    """Yield what lies below a folder, as far as it is still there: somebody may be removing it."""
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield Path(folder, name)


def _cwd(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def wait_clean(work_dir: Path, *, planted: t.Iterable[bytes] = (), seconds: float = 15) -> None:
    """Wait until nothing is left of a drill; say what is, if it stays."""
    end = time.monotonic() + seconds
    while found := leavings(work_dir, planted=planted):
        assert time.monotonic() < end, found
        time.sleep(0.05)


def drilled(answer: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the record of a drill that came to a verdict."""
    assert not answer.get("failed"), answer
    return t.cast("dict[str, t.Any]", answer["drill"])


def result_of(record: t.Mapping[str, t.Any], name: str) -> str:
    """Return how one comparison ended."""
    return next(each["result"] for each in record["comparisons"] if each["name"] == name)
