# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(e) More clusters in one run: time and memory of the controller."""

from __future__ import annotations

from bench.controller import Run
from bench.figures import Section
from bench.session import Bench
from lab import objects

COUNTS = (5, 10, 20)
TEXT = """\
Clusters of one member each, every one with the objects of a small real cluster, backed up in one run
of the playbook with Ansible's default of 5 forks. All hosts and the controller share this machine.
The peer backs up the fewest of these clusters by the pipeline, one after the other. Linear means
here: a cluster of twenty takes no more time than one of five."""


def measure(bench: Bench) -> Section:
    """Measure it."""
    section = Section("clusters", "More clusters in one run", TEXT, bench.rounds)
    bench.warm()
    counts = (2, 4) if bench.quick else COUNTS
    sites = [bench.site(f"c{number:02}", size=1) for number in range(counts[-1])]
    keys = [objects.fill(site.cluster, name=site.cluster.name).key_count for site in sites]
    section.data.append({"name": f"{len(sites)} clusters", "key_count": keys[0]})
    ours: dict[int, list[Run]] = {count: [] for count in counts}
    alone: dict[int, list[Run]] = {count: [] for count in counts}
    piped: list[float] = []
    for turn in range(bench.rounds):
        for count in counts:
            some = sites[:count]
            ours[count].append(bench.controller.backup(*some))
            alone[count].append(bench.controller.ansible_alone(*some))
            bench.say(f"{count} clusters {turn + 1}: playbook {ours[count][-1].seconds:.1f} s")
        each = [bench.controller.pipeline(site, site.leader) for site in sites[: counts[0]]]
        piped.append(sum(run.seconds for run in each))
        bench.say(f"{counts[0]} clusters {turn + 1}: pipeline {piped[-1]:.1f} s")
    a_cluster = {}
    for count in counts:
        case = f"{count} clusters"
        time = section.seconds(case, "ours, whole playbook", (run.seconds for run in ours[count]))
        if count == counts[0]:
            section.seconds(case, "pipeline, one after the other", piped)
        a_cluster[count] = time.median / count
        used = section.megabytes(
            case, "controller, ours", (r.controller_bytes for r in ours[count])
        )
        base = section.megabytes(
            case, "controller, Ansible alone", (run.controller_bytes for run in alone[count])
        )
        section.at_most(
            f"{case}: controller ≤ 150 MB above Ansible alone",
            150,
            used.median - base.median,
            "MB",
        )
    few, most = counts[0], counts[-1]
    section.at_most(
        f"time a cluster at {most} ≤ 1.1 × that at {few}",
        1.1,
        a_cluster[most] / a_cluster[few],
        "×",
    )
    bench.drop(*(site.cluster.name for site in sites))
    return section
