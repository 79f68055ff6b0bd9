# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(d) Memory of host and controller: by size and by number of keys."""

from __future__ import annotations

from bench.figures import Section
from bench.measure.archive import add_memory, rounds
from bench.session import Bench

TEXT = """\
The peaks of anonymous memory (RssAnon) during the whole playbook, summed over all processes below
the host's sshd, and over all of the controller's (ansible-playbook, its workers, ssh, sftp; pages
that workers share with their parent count once in each). A cluster of one member. The peers: the
pipeline, and a playbook of four of Ansible's own modules on the same host. 2 GB with 1 million keys
stands above, measured in the same way with three hosts."""


def measure(bench: Bench) -> Section:
    """Measure it."""
    section = Section("memory", "Memory of host and controller", TEXT, bench.rounds)
    bench.warm()
    for name in ("small", "thin", "fat"):
        held = bench.data(name)
        section.data.append(held.described())
        runs = rounds(bench, bench.site(f"one-{name}", size=1, held=held))
        add_memory(section, held.name, held.key_count, runs=runs)
        bench.drop(f"one-{name}")
    return section
