# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(a) A database to a sealed archive on the controller, beside the shell pipeline over ssh."""

from __future__ import annotations

from bench.controller import DATA_PATH, Run
from bench.figures import Section
from bench.hosts import Site
from bench.session import Bench

TEXT = """\
From etcd to a verified, sealed archive on the controller, by a real sshd. The peer
([bench/pipeline.sh](../bench/pipeline.sh)) is what a careful engineer runs: `etcdctl snapshot save`,
`etcdutl snapshot status`, `zstd -3 | age -r … -r …`, `sha256sum`, `scp`, `sha256sum -c`. Ours is
`ansible-playbook controlplane.etcd.backup` on a cluster of three, with Ansible's defaults; its data
path are the tasks that do what the pipeline does (etcd_snapshot, etcd_fetch of its files), its rest
is asking three hosts, HashKV of two members, three kits, signing, and Ansible. Both take the
snapshot from a follower. Ours also syncs every file to disk, the pipeline does not."""


def rounds(bench: Bench, site: Site) -> tuple[list[Run], list[Run], list[Run]]:
    """Run playbook, pipeline and Ansible alone in turn; return the runs of each."""
    ours, peer, alone = [], [], []
    for turn in range(bench.rounds):
        ours.append(bench.controller.backup(site))
        peer.append(bench.controller.pipeline(site, site.follower))
        alone.append(bench.controller.ansible_alone(site))
        bench.say(
            f"{site.cluster.name} {turn + 1}: playbook {ours[-1].seconds:.1f} s, data path "
            f"{ours[-1].spent_in(*DATA_PATH):.1f} s, pipeline {peer[-1].seconds:.1f} s"
        )
    return ours, peer, alone


def add_memory(
    section: Section, case: str, keys: int, *, runs: tuple[list[Run], list[Run], list[Run]]
) -> None:
    """Add the memory of the runs to a section, and its bars."""
    ours, peer, alone = runs
    host = section.megabytes(case, "host, ours", (run.host_bytes for run in ours))
    section.megabytes(case, "host, pipeline", (run.host_bytes for run in peer))
    control = section.megabytes(case, "controller, ours", (run.controller_bytes for run in ours))
    section.megabytes(case, "controller, pipeline", (run.controller_bytes for run in peer))
    base = section.megabytes(
        case, "controller, Ansible alone", (run.controller_bytes for run in alone)
    )
    section.at_most(f"{case}: host ≤ 64 MB + 200 B a key", 64 + 200 * keys / 1e6, host.median, "MB")
    above = control.median - base.median
    section.at_most(f"{case}: controller ≤ 150 MB above Ansible alone", 150, above, "MB")


def measure(bench: Bench) -> Section:
    """Measure it."""
    section = Section("archive", "2 GB to a sealed archive", TEXT, bench.rounds)
    held = bench.data("big")
    section.data.append(held.described())
    bench.warm()
    runs = rounds(bench, bench.site("big", size=3, held=held))
    ours, peer, _alone = runs
    whole = section.seconds(held.name, "ours, whole playbook", (run.seconds for run in ours))
    path = section.seconds(held.name, "ours, data path", (run.spent_in(*DATA_PATH) for run in ours))
    piped = section.seconds(held.name, "pipeline", (run.seconds for run in peer))
    section.ratio("data path ≤ 1.0 × the pipeline", 1.0, path, piped)
    section.ratio("whole playbook ≤ 1.5 × the pipeline", 1.5, whole, piped)
    add_memory(section, held.name, held.key_count, runs=runs)
    return section
