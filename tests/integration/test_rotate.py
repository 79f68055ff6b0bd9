# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation of real archives: at the end of a backup, and alone, by the playbooks."""

from __future__ import annotations

import datetime as dt
import shutil
import typing as t
from pathlib import Path

import pytest
from integration.backup.backup_lab import BackupLab, Run

from lab import aged, objects
from lab.loopback import Cluster

AREA = "rotate"
DAY = dt.timedelta(days=1)
# No host answers there: rotation alone speaks to none.
DEAD: dict[str, t.Any] = {"ansible_connection": "ssh", "ansible_host": "192.0.2.1"}


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


@pytest.fixture(scope="module")
def alpha() -> t.Iterator[Cluster]:
    with Cluster("alpha", size=1) as cluster:
        objects.fill(cluster, name="alpha")
        yield cluster


@pytest.fixture
def lab() -> t.Iterator[BackupLab]:
    with BackupLab(pipelining=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def genuine(alpha: Cluster) -> t.Iterator[tuple[BackupLab, Path]]:
    """A lab whose archive has one entry: the model of all others."""
    with BackupLab(pipelining=True) as lab:
        run = lab.backup({"alpha": lab.hosts(alpha)})
        assert run.status == 0, run.text[-6000:]
        yield lab, lab.archive / "alpha" / lab.entries("alpha")[0]


@pytest.fixture
def old(genuine: tuple[BackupLab, Path], lab: BackupLab) -> t.Callable[..., Path]:
    """Add an entry to the lab's archive that is so many days old, made from the genuine one."""
    source, entry = genuine
    shutil.copyfile(source.signing_key, lab.signing_key)
    shutil.copyfile(f"{source.signing_key}.pub", f"{lab.signing_key}.pub")
    model = lab.archive / "alpha" / entry.name
    shutil.copytree(entry.parent, lab.archive / "alpha")

    def add(days: float, **changes: t.Any) -> Path:
        return aged.add_like(model, lab.signing_key, now() - days * DAY, **changes)

    return add


def rotate(lab: BackupLab, *arguments: str, clusters: t.Sequence[str] = (), **more: t.Any) -> Run:
    """Run the playbook for clusters whose hosts cannot be reached."""
    hosts = {name: {f"{name}-cp1": DEAD} for name in clusters or ["alpha"]}
    return lab.start(hosts, *arguments, playbook="rotate", **more).wait()


def outcome(run: Run, cluster: str = "alpha") -> dict[str, t.Any]:
    assert cluster in run.stats.get("etcd_rotate", {}), run.text[-6000:]
    return t.cast("dict[str, t.Any]", run.stats["etcd_rotate"][cluster])


def test_a_backup_rotates_and_says_so(
    lab: BackupLab, alpha: Cluster, old: t.Callable[..., Path], reliability: t.Any
) -> None:
    gone = [old(days).name for days in (3, 2)]
    pinned = old(4)
    (pinned / "PINNED").write_text("before the upgrade\n")
    before = lab.entries("alpha")
    hosts = {"alpha": lab.hosts(alpha)}
    policy = {"keep_last": 2}
    checked = lab.backup(hosts, "--check", etcd_retention=policy)
    assert checked.status == 0, checked.text[-6000:]
    assert checked.outcome("alpha")["rotation"] == {
        "outcome": "checked",
        "removed": [gone[0]],
        "errors": [],
    }
    assert lab.entries("alpha") == before
    run = lab.backup(hosts, etcd_retention=policy)
    assert run.status == 0, run.text[-6000:]
    told = run.outcome("alpha")
    assert told["outcome"] == "archived"
    assert told["rotation"] == {"outcome": "rotated", "removed": gone, "errors": []}
    assert "rotated: 2 of 5 entries removed" in run.said("alpha-cp1", "Show it")["msg"]
    assert lab.entries("alpha") == sorted(
        [pinned.name, *set(before) - {*gone, pinned.name}, told["id"]]
    )
    off = lab.backup(hosts, etcd_retention={"keep_last": 1}, etcd_backup_rotate=False)
    assert off.outcome("alpha")["rotation"]["outcome"] == "none"
    lab.assert_clean(entries={"alpha": 4})
