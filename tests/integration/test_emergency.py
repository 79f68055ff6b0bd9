# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of one member without quorum, and of a dead member's data folder."""

from __future__ import annotations

import hashlib
import os
import typing as t
from pathlib import Path

import pytest
from conftest import Reliability

from lab import versions
from lab.loopback import Cluster
from lab.module import run_module


@pytest.fixture(scope="module")
def cluster() -> t.Iterator[Cluster]:
    with Cluster("lost", size=3, version=versions.ETCD_DEFAULT) as found:
        for number in range(40):
            found.etcdctl("put", f"/registry/configmaps/default/c{number}", "v" * number)
        yield found


def digest(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_dead_members_folder_gives_its_state_and_is_only_read(
    cluster: Cluster, tmp_path: Path, reliability: Reliability
) -> None:
    first, *others = cluster.members
    status = cluster.status(first)
    revision, member = status["header"]["revision"], cluster.member(first)
    options = {
        "dest_dir": str(tmp_path),
        "allow_unsealed": True,
        "emergency": True,
        "certificates_dir": str(member.certificates_dir),
        "static_pod_path": str(member.static_pod_path),
        "data_dir": str(member.data_dir),
    }
    for name in others:
        cluster.stop(name)

    lonely = run_module("etcd_snapshot", {**options, "emergency": False})
    assert lonely["failed"] and lonely["error"]["kind"] == "no_quorum"
    alive = run_module("etcd_snapshot", options)
    assert alive["mode"] == "emergency" and alive["snapshot"]["revision"] == revision
    results = {check["name"]: check["result"] for check in alive["checks"]}
    assert results["revision"] == "not_asked" and results["structure"] == "passed"

    dead = {**options, "emergency_source": "data_dir", "etcd": str(member.binaries.etcd)}
    refused = run_module("etcd_snapshot", dead)
    assert refused["failed"] and "etcd still runs on" in refused["msg"]

    cluster.stop(first, kill=True)
    before = digest(member.data_dir)
    taken = run_module("etcd_snapshot", dead)
    assert not taken.get("failed"), taken
    assert digest(member.data_dir) == before
    assert taken["mode"] == "emergency"
    assert taken["snapshot"]["revision"] >= revision
    assert taken["kubernetes"]["resources"] == {"configmaps": 40}
    assert not [n for n in os.listdir("/var/tmp") if n.startswith("controlplane-etcd-emergency.")]
    reliability(
        "all members dead, one data folder left (emergency)",
        f"its state at revision {taken['snapshot']['revision']} is saved, marked emergency; the "
        "folder is only read, the throw-away etcd and the copy are gone",
    )

    regular = run_module("etcd_snapshot", {**dead, "emergency": False})
    assert regular["failed"] and "emergency: true" in regular["msg"]
    empty = run_module("etcd_snapshot", {**dead, "data_dir": str(tmp_path)})
    assert empty["failed"] and f"{tmp_path} on this host holds no etcd data" in empty["msg"]


def test_damaged_folder_says_what_etcd_said(
    cluster: Cluster, tmp_path: Path, reliability: Reliability
) -> None:
    last = list(cluster.members)[-1]
    member = cluster.member(last)
    cluster.stop(last)
    database = Path(member.data_dir) / "member" / "snap" / "db"
    database.write_bytes(b"\0" * 8192 + database.read_bytes()[8192:])
    said = run_module(
        "etcd_snapshot",
        {
            "dest_dir": str(tmp_path),
            "allow_unsealed": True,
            "emergency": True,
            "emergency_source": "data_dir",
            "data_dir": str(member.data_dir),
            "etcd": str(member.binaries.etcd),
        },
    )
    assert said["failed"] and said["error"]["kind"] == "snapshot_invalid"
    assert "cannot be brought up" in said["msg"] and str(member.binaries.etcd) in said["msg"]
    assert os.listdir(tmp_path) == []
    reliability(
        "a dead member's data folder that is damaged (emergency)", "refused", message=said["msg"]
    )
