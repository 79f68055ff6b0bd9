# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashes that cannot be compared at first, and several etcds of one cluster, in real runs."""

from __future__ import annotations

import json
import typing as t

from integration.backup.backup_lab import BackupLab

from lab import objects
from lab.loopback import Cluster

ASK = "Ask the members for their HashKV, one after the other"


def test_hashes_compacted_away_meanwhile_are_asked_for_once_more() -> None:
    with BackupLab() as lab, Cluster("alpha", size=1) as alpha:
        objects.fill(alpha, name="alpha")
        asked: list[str] = []

        def compact(task: str) -> None:
            if task != ASK:
                return
            asked.append(task)
            if len(asked) == 1:
                for number in range(5):
                    alpha.etcdctl("put", "/registry/configmaps/default/later", str(number))
                answer = alpha.etcdctl("get", "nothing")
                alpha.etcdctl("compact", str(answer["header"]["revision"]), json=False)
                # etcd 3.5 and later remember what they had at the very revision they compacted to.
                alpha.etcdctl("put", "/registry/configmaps/default/later", "last")

        run = lab.backup({"alpha": lab.hosts(alpha)}, handler=compact)
        assert run.status == 0, run.text[-6000:]
        assert len(asked) == 2
        assert _check(lab, "alpha", run.outcome("alpha"), "hash_agreement")["result"] == "passed"
        assert _check(lab, "alpha", run.outcome("alpha"), "hash_kv")["result"] == "passed"
        lab.assert_clean(entries={"alpha": 1})


def test_several_etcds_of_one_cluster_are_backed_up_in_one_run() -> None:
    with BackupLab() as lab, Cluster("alpha", size=1) as main, Cluster("events", size=1) as events:
        objects.fill(main, name="alpha")
        objects.fill(events, name="alpha")
        mine = {"etcd_cluster": "alpha", "etcd_instance": "events"}
        run = lab.backup({"alpha": lab.hosts(main), "other": lab.hosts(events, **mine)})
        assert run.status == 0, run.text[-6000:]
        assert run.outcome("alpha")["outcome"] == "archived"
        assert run.outcome("alpha/events")["outcome"] == "archived"
        lab.assert_clean(entries={"alpha": 1, "alpha/events": 1})


def _check(lab: BackupLab, cluster: str, told: dict[str, t.Any], name: str) -> dict[str, t.Any]:
    manifest = json.loads((lab.archive / cluster / told["id"] / "manifest.json").read_text())
    [found] = [check for check in manifest["checks"] if check["name"] == name]
    return t.cast("dict[str, t.Any]", found)
