# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(b) A snapshot read offline, beside `etcdutl snapshot status`."""

from __future__ import annotations

import json
import os
import sys

from bench import watch
from bench.controller import COLLECTIONS
from bench.figures import Section
from bench.session import Bench
from lab import binaries

MODULE = "ansible_collections.controlplane.etcd.plugins.modules.etcd_snapshot_info"
MILLION = ("big", "thin")
"""The bars are for a million keys: below that, Python itself is most of what is measured."""
TEXT = """\
`etcd_snapshot_info` of a snapshot file (its defaults: trailer, structure, revisions, HashKV,
status hash, objects, members), run as Ansible runs it on a host, beside `etcdutl snapshot status`,
which computes the status hash and the totals. Both are given the same file, in the page cache."""


def measure(bench: Bench) -> Section:
    """Measure it."""
    section = Section("offline", "A snapshot read offline", TEXT, bench.rounds)
    for name in ("small", "fat", "big", "thin"):
        held = bench.data(name)
        section.data.append(held.described())
        with held.path.open("rb") as source:  # into the page cache
            for _piece in iter(lambda: source.read(1 << 20), b""):
                pass
        etcdutl = [binaries.get(held.etcd).etcdutl, "snapshot", "status", held.path]
        params = json.dumps({"ANSIBLE_MODULE_ARGS": {"path": str(held.path)}})
        environment = {**os.environ, "PYTHONPATH": COLLECTIONS}
        ours, peer = [], []
        for turn in range(bench.rounds):
            ours.append(watch.run([sys.executable, "-m", MODULE], stdin=params, env=environment))
            peer.append(watch.run(etcdutl))  # type: ignore[arg-type]
            bench.say(
                f"{held.name} {turn + 1}: etcd_snapshot_info {ours[-1].seconds:.2f} s, "
                f"etcdutl {peer[-1].seconds:.2f} s"
            )
        time = section.seconds(held.name, "ours", (cost.seconds for cost in ours))
        their_time = section.seconds(held.name, "etcdutl", (cost.seconds for cost in peer))
        section.seconds(held.name, "ours, processor", (cost.cpu_seconds for cost in ours))
        section.seconds(held.name, "etcdutl, processor", (cost.cpu_seconds for cost in peer))
        memory = section.megabytes(
            held.name, "ours, memory", (cost.anonymous_bytes for cost in ours)
        )
        theirs = section.megabytes(
            held.name, "etcdutl, memory", (cost.anonymous_bytes for cost in peer)
        )
        if name not in MILLION:
            continue
        section.ratio(f"{held.name}: time ≤ 3 × etcdutl", 3.0, time, their_time)
        section.ratio(f"{held.name}: memory ≤ a quarter of etcdutl's", 0.25, memory, theirs)
    return section
