# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts are what the tests on them take them for."""

from __future__ import annotations

import json
import time

import pytest

from lab.hosts.image import USER
from lab.hosts.lab import Lab
from lab.hosts.machine import LabError


def test_hosts_are_reached_over_ssh_as_an_unprivileged_user_with_sudo(lab: Lab) -> None:
    for host in lab.hosts.values():
        assert host.run(["id", "-un"]).stdout.decode().strip() == USER
        assert host.run(["id", "-u"], sudo=True).stdout.decode().strip() == "0"
        assert host.run(["cat", "/proc/1/comm"]).stdout.decode().strip() == "systemd"
        assert b"default" not in host.run(["ip", "route"]).stdout


def test_clusters_have_the_members_of_their_hosts(lab: Lab) -> None:
    for cluster in lab.clusters.values():
        listed = json.loads(cluster.etcdctl("member", "list", "-w", "json"))["members"]
        urls = {url for member in listed for url in member["peerURLs"]}
        assert urls == {f"https://{host.address}:2380" for host in cluster.hosts}


def test_kubeadm_host_holds_the_running_tools_in_the_processs_root_only(lab: Lab) -> None:
    host = lab.host("cp1")
    tool = f"/proc/{host.etcd_pid()}/root/usr/local/bin/etcdutl"
    shown = host.run([tool, "version"], sudo=True).stdout.decode()
    assert f"etcdutl version: {lab.cluster('alpha').plan.etcd_version}" in shown
    with pytest.raises(LabError):
        host.run(["which", "etcdutl"])


def test_data_folder_of_the_third_host_is_a_mount(lab: Lab) -> None:
    lab.host("cp3").run(["mountpoint", "/var/lib/etcd"], sudo=True)
    with pytest.raises(LabError):
        lab.host("cp1").run(["mountpoint", "/var/lib/etcd"], sudo=True)


def test_connection_is_cut_after_so_many_bytes(lab: Lab) -> None:
    host = lab.host("scratch")
    host.run(["sh", "-c", "head -c 4000000 /dev/urandom > /tmp/blob"])
    host.faults.cut_after(22, 1_000_000)
    try:
        with pytest.raises(LabError):
            host.run(["cat", "/tmp/blob"])
    finally:
        host.faults.heal()
    assert len(host.run(["cat", "/tmp/blob"]).stdout) == 4_000_000


def test_slow_line_takes_its_time(lab: Lab) -> None:
    host = lab.host("scratch")
    host.run(["sh", "-c", "head -c 1000000 /dev/urandom > /tmp/blob"])
    host.faults.slow("4mbit")
    try:
        started = time.monotonic()
        host.run(["cat", "/tmp/blob"])
        assert time.monotonic() - started > 1
    finally:
        host.faults.heal()


def test_unplugged_host_is_unreachable_and_comes_back(lab: Lab) -> None:
    host = lab.host("scratch")
    with host.faults.disconnected():
        with pytest.raises(LabError):
            host.run(["true"])
        host.exec(["true"])
    host.run(["true"])


def test_small_disk_runs_full(lab: Lab) -> None:
    host = lab.host("cp2")
    with host.faults.small_disk("/srv/small", mib=16) as path:
        host.faults.fill(path, leave_kib=64)
        done = host.run(["sh", "-c", f"head -c 1000000 /dev/zero > {path}/x"], check=False)
        assert b"No space left on device" in done.stderr
    with pytest.raises(LabError):
        host.run(["mountpoint", "/srv/small"])


@pytest.mark.parametrize("kill", [False, True], ids=["shutdown", "power-cut"])
def test_member_comes_back_with_its_host(lab: Lab, kill: bool) -> None:
    host, cluster = lab.host("cp3"), lab.cluster("alpha")
    host.stop(kill=kill)
    cluster.etcdctl("put", "lab/stopped", "yes")
    host.start()
    cluster.wait_healthy()
    host.run(["true"])
