# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loopback clusters do what the integration tests take from them."""

from __future__ import annotations

import datetime as dt
import os

import pytest

from lab import binaries, versions
from lab.loopback import Cluster
from lab.member import LoopbackError


@pytest.mark.parametrize("version", versions.ETCD_ALL)
def test_each_version_starts_and_serves(version: str) -> None:
    if binaries.obstacle(version):
        pytest.skip(binaries.obstacle(version))
    with Cluster("one", size=1, version=version) as cluster:
        cluster.etcdctl("put", "key", "value")
        assert cluster.status("one-cp1")["version"] == version


def test_three_members_survive_kill_and_pause_and_differ_when_overwritten() -> None:
    with Cluster("three", corrupt_check=False) as cluster:
        for number in range(20):
            cluster.etcdctl("put", f"key{number}", f"value-{number:04}-original")
        cluster.stop("three-cp2", kill=True)
        cluster.start("three-cp2")
        with cluster.paused("three-cp3"):
            cluster.etcdctl("get", "key1", endpoints=[cluster.member("three-cp1").endpoint])
        cluster.stop("three-cp3")
        assert cluster.overwrite("three-cp3", b"value-0007-original", b"value-0007-tampered")
        cluster.start("three-cp3")
        hashes = cluster.etcdctl("endpoint", "hashkv")
        by_endpoint = {each["Endpoint"]: each["HashKV"]["hash"] for each in hashes}
        odd = by_endpoint.pop(cluster.member("three-cp3").endpoint)
        assert len(set(by_endpoint.values())) == 1 and odd not in by_endpoint.values()


def test_learner_and_expired_and_foreign_certificates() -> None:
    with Cluster("certs", size=1) as cluster:
        learner = cluster.add_learner("certs-learner")
        assert cluster.status("certs-learner")["isLearner"] and learner.running
        ca = f"--cacert={cluster.cert().ca}"
        old = dt.datetime(2025, 1, 1, tzinfo=dt.timezone.utc)
        for files, accepted in (
            (cluster.cert("good"), True),
            (cluster.cert("old", not_after=old), False),
            (cluster.cert("foreign", foreign=True), False),
        ):
            flags = [ca, f"--cert={files.cert}", f"--key={files.key}", "--command-timeout=3s"]
            if accepted:
                cluster.etcdctl_bare("get", "key", *flags)
                continue
            with pytest.raises(LoopbackError):
                cluster.etcdctl_bare("get", "key", *flags)


def test_inventory_names_the_trees() -> None:
    cluster = Cluster("alpha", hosts=["cp1"])
    try:
        children = cluster.inventory(extra="yes")["all"]["children"]["etcd"]["children"]
        host = children["alpha"]["hosts"]["cp1"]
        assert os.path.isfile(f"{host['etcd_static_pod_path']}/etcd.yaml")
        assert os.path.isfile(f"{host['etcd_certificates_dir']}/etcd/server.crt")
    finally:
        cluster.close()
