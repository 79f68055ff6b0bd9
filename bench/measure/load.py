# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(c) Puts under a constant rate: idle, during `etcdctl snapshot save`, during our backup."""

from __future__ import annotations

import subprocess
import time

from bench import data
from bench.apart import apart
from bench.controller import Controller
from bench.figures import Section
from bench.hosts import Site
from bench.session import Bench

RATE = 100
Windows = dict[str, list[tuple[float, float]]]
"""From when till when each thing went on, by the time of day."""
TEXT = f"""\
Puts of 1 KiB to the leader of three members at a constant {RATE} a second, sent when they are due
whatever the answers take (an open loop); a put's latency counts from when it was due. Idle, while
`etcdctl snapshot save` reads a follower (twice, one after the other), and during the whole playbook,
HashKV of the members included. Members, load, snapshot and controller all share this one machine. So
that the leader has processors of its own, as its host would give it, it and the load are kept on one
half of them, and everything else (both followers, etcdctl, our modules, Ansible) on the other. The
disk is everybody's."""


class Load:
    """The load generator; afterwards the latencies in any window of time."""

    def __init__(self, site: Site) -> None:
        argv = [str(data.program("load")), f"-rate={RATE}", "-size=1024"]
        argv += data.tls_flags(site.cluster, site.leader.member.endpoint)
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._puts: list[tuple[float, float]] = []
        self.pid = self._process.pid
        Controller.beside.append(self.pid)

    def end(self) -> None:
        """Stop it; all puts must have succeeded."""
        said, _nothing = self._process.communicate("", timeout=120)
        Controller.beside.remove(self.pid)
        for line in said.splitlines():
            due, latency, failed = map(int, line.split())
            if failed:
                raise SystemExit("a put failed under the load.")
            self._puts.append((due / 1e6, latency / 1e3))
        if self._process.returncode:
            raise SystemExit(f"the load generator ended with {self._process.returncode}.")

    def percentiles(self, window: tuple[float, float]) -> tuple[float, float]:
        """Return p50 and p99 in milliseconds of the puts that were due in a window."""
        began, ended = window
        found = sorted(latency for due, latency in self._puts if began <= due < ended)
        if len(found) < RATE:
            raise SystemExit(f"only {len(found)} puts in a window.")
        return found[len(found) // 2], found[int(len(found) * 0.99)]


def measure(bench: Bench) -> Section:
    """Measure it."""
    section = Section("load", "Puts during a backup", TEXT, bench.rounds)
    held = bench.data("big")
    section.data.append(held.described())
    bench.warm()
    site = bench.site("big", size=3, held=held)
    windows: Windows = {"idle": [], "etcdctl": [], "ours": []}
    phases: Windows = {"hash": [], "snapshot": []}
    leader = site.leader
    load = Load(site)
    others = [pid for pid in site.pids() if pid != leader.member.pid]
    with apart([leader.member.pid, load.pid], others):
        time.sleep(3)
        for turn in range(bench.rounds):
            _round(bench, site, windows, phases)
            bench.say(f"load {turn + 1}")
    load.end()
    if site.leader is not leader:
        raise SystemExit("another member leads now: the figures mean nothing.")
    case = held.name
    names = {"idle": "idle", "etcdctl": "etcdctl snapshot save", "ours": "ours, whole playbook"}
    p99 = {}
    for name, label in names.items():
        both = [load.percentiles(window) for window in windows[name]]
        section.add(case, f"{label}: p50", "ms", (pair[0] for pair in both))
        p99[name] = section.add(case, f"{label}: p99", "ms", (pair[1] for pair in both))
    for name, label in {"hash": "ours, HashKV", "snapshot": "ours, etcd_snapshot"}.items():
        both = [load.percentiles(window) for window in phases[name] if _long(window)]
        if both:
            section.add(case, f"{label} only: p99", "ms", (pair[1] for pair in both))
    text = "p99 during our backup ≤ 1.2 × during etcdctl snapshot save"
    section.ratio(text, 1.2, p99["ours"], p99["etcdctl"])
    return section


def _round(bench: Bench, site: Site, windows: Windows, phases: Windows) -> None:
    """Be idle, let etcdctl save twice, back up; note when each was."""
    began = time.time()
    time.sleep(5 if bench.quick else 15)
    windows["idle"].append((began, time.time()))
    began = time.time()
    for _again in range(2):
        _save(site)
    windows["etcdctl"].append((began, time.time()))
    time.sleep(2)
    run = bench.controller.backup(site)
    windows["ours"].append((run.began, run.ended))
    phases["hash"] += run.window("Ask the members for their HashKV, one after the other")[:1]
    phases["snapshot"] += run.window("Take the snapshot")
    time.sleep(2)


def _long(window: tuple[float, float]) -> bool:
    return window[1] - window[0] > 1.5


def _save(site: Site) -> None:
    """Save a snapshot of the follower, as an engineer does, and remove it."""
    host = site.follower
    target = host.folder / "work" / "saved.db"
    site.cluster.etcdctl(
        "snapshot", "save", str(target), json=False, endpoints=[host.member.endpoint], timeout=600
    )
    target.unlink()
