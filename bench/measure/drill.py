# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill, phase by phase, beside `etcdutl snapshot restore` alone."""

from __future__ import annotations

import shutil
import typing as t

from bench import watch
from bench.controller import Run
from bench.figures import Section
from bench.hosts import Site
from bench.session import Bench
from lab import binaries

DELIVER = "Deliver the archive, sealed to a key of the scratch node's own"
"""The task of role etcd_drill that brings the archive to the scratch node."""
TEXT = """\
`ansible-playbook controlplane.etcd.drill` on a scratch node by a real sshd: the archive checked,
sealed anew to the node's own key and sent there, opened, read offline, restored by etcdutl, served by
an etcd in a network of its own, compared (revision, HashKV, every resource's objects), removed again,
and the proof signed. The phases are those that the proof tells. The peer is `etcdutl snapshot restore`
of the same file alone, which compares nothing but the file's own sha256."""


def measure(bench: Bench) -> Section:
    """Measure it."""
    section = Section("drill", "A drill", TEXT, bench.rounds)
    bench.warm()
    for name in ("small", "thin", "big"):
        held = bench.data(name)
        section.data.append(held.described())
        site = bench.site(name, size=1, held=held)
        bench.controller.backup(site, keep=True)
        runs: list[tuple[Run, dict[str, t.Any]]] = []
        restores: list[float] = []
        for turn in range(bench.rounds):
            runs.append(bench.controller.drill(site))
            restores.append(_restore(bench, site))
            bench.say(
                f"{held.name} drill {turn + 1}: {runs[-1][0].seconds:.1f} s, etcdutl's restore "
                f"{restores[-1]:.1f} s"
            )
        section.seconds(held.name, "whole playbook", (run.seconds for run, _told in runs))
        section.seconds(held.name, "the transfer", (run.spent_in(DELIVER) for run, _told in runs))
        beyond = section.seconds(
            held.name, "beyond it", (run.seconds - run.spent_in(DELIVER) for run, _told in runs)
        )
        for phase in (each["name"] for each in runs[0][1]["phases"]):
            section.seconds(
                held.name,
                f"phase {phase}",
                (
                    next(each["seconds"] for each in told["phases"] if each["name"] == phase)
                    for _run, told in runs
                ),
            )
        section.seconds(held.name, "etcdutl snapshot restore", restores)
        section.megabytes(held.name, "node, memory", (run.host_bytes for run, _told in runs))
        if name == "big":
            section.at_most(f"{held.name}: 60 s beyond the transfer", 60, beyond.median, "s")
        bench.drop(name)
    return section


def _restore(bench: Bench, site: Site) -> float:
    """Restore the same file by etcdutl alone; return the seconds."""
    if site.data is None:
        raise AssertionError("a drill's site holds data")
    target = bench.folder / "restored"
    tool = binaries.get(site.cluster.version).etcdutl
    flags = [f"--data-dir={target}", "--initial-memory-map-size=0"]
    cost = watch.run([str(tool), "snapshot", "restore", str(site.data.path), *flags])
    shutil.rmtree(target)
    return cost.seconds
