# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All hosts are lost: one entry and its RESTORE.txt bring etcd back on hosts at other addresses.

docs/guides/total-loss-by-hand.md tells the same for people. One member's host is gone for good, and
one data folder is a mount. No kubelet runs in the lab: etcd is started with the flags of its
manifest.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

from lab import binaries
from lab.backup_run import Bastion, Run
from lab.hosts.host import Host
from lab.hosts.lab import Lab
from lab.hosts.plan import HostPlan, LabPlan

# member number in RESTORE.txt -> the new host; the second member's host is not coming back
NEW_HOSTS = {1: HostPlan("n1", 41), 3: HostPlan("n3", 43, own_data_mount=True)}


@pytest.fixture
def new_hosts(lab: Lab) -> t.Iterator[dict[int, Host]]:
    """Empty hosts, at addresses that no member ever had."""
    plan = LabPlan(clusters=(), spare=tuple(NEW_HOSTS.values()))
    for letter in "bcd":
        other = Lab(f"{lab.prefix[:8]}{letter}", plan)
        if other.network.subnet != lab.network.subnet:
            break
    other.down()
    with other:
        yield {number: other.host(host.name) for number, host in NEW_HOSTS.items()}


def section_lines(text: str, *names: str) -> str:
    """Return the lines of RESTORE.txt's sections that are run as they stand."""
    found: list[str] = []
    within = ""
    for line in text.splitlines():
        match = re.match(r"==== \[(.+?)\]", line)
        within = match[1] if match else within
        if within in names and line.startswith("$ "):
            found.append(line[2:])
    assert found, names
    return "\n".join(found) + "\n"


def flags_of(manifest: bytes) -> list[str]:
    """Return etcd's flags as its static pod would have them."""
    pod = yaml.safe_load(manifest)
    return list(pod["spec"]["containers"][0]["command"][1:])


def key_values(output: str) -> list[t.Any]:
    return list(json.loads(output)["kvs"])


def test_total_loss_other_addresses_one_host_missing_data_on_a_mount(
    lab: Lab, first_backup: tuple[Bastion, Run], new_hosts: dict[int, Host], tmp_path: Path
) -> None:
    keeper, run = first_backup
    assert run.code == 0, run.output
    entry = keeper.entries("alpha")[0]
    before = key_values(lab.cluster("alpha").etcdctl("get", "", "--from-key", "-w", "json"))
    text = (entry / "RESTORE.txt").read_text()
    folders = {number: stat(host, "/", "/etc", "/var") for number, host in new_hosts.items()}
    # the same path on the hosts, as by default
    out = Path(f"/var/tmp/restore-test-{secrets.token_hex(4)}")
    sections = ["variables", "check", "open", "addresses", *(f"send {n}" for n in new_hosts)]
    wishes = {
        "IDENTITY": str(keeper.identity),
        "SIGNER": f"{keeper.signing_key}.pub",
        "OUT": str(out),
        "TOKEN": f"loss-{secrets.token_hex(4)}",
        "MEMBERS": " ".join(map(str, new_hosts)),
    }
    for number, host in new_hosts.items():
        wishes[f"ADDRESS_{number}"] = host.address
        wishes[f"SSH_{number}"] = " ".join([*host.ssh_argv(), "sudo"])
    try:
        told = subprocess.run(
            ["bash", "-c", section_lines(text, *sections)],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **wishes},
            cwd=entry,
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stdout + told.stderr
        for number, host in new_hosts.items():
            script = f"OUT={out}\n" + section_lines(text, f"restore {number}")
            host.run(["bash"], sudo=True, stdin=script.encode())
        tree = out / "pki" / "cp1" / "etc" / "kubernetes" / "pki"
        etcd = lab.cluster("alpha").plan.etcd_version
        assert f"issued anew: {tree}/etcd/server.crt" in told.stdout
        assert "NOT issued anew" not in told.stdout
        for host in new_hosts.values():
            started_as_its_manifest_says(host, keeper.archive / "tools", etcd)
        pki = tree / "etcd"
        endpoints = ",".join(f"https://{host.address}:2379" for host in new_hosts.values())
        environment = {
            "ETCDCTL_ENDPOINTS": endpoints,
            "ETCDCTL_CACERT": str(pki / "ca.crt"),
            "ETCDCTL_CERT": str(pki / "healthcheck-client.crt"),
            "ETCDCTL_KEY": str(pki / "healthcheck-client.key"),
        }

        def etcdctl(*args: str) -> str:
            tool = str(binaries.get(etcd).etcdctl)
            done = subprocess.run(
                [tool, *args], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        etcdctl("--dial-timeout", "20s", "endpoint", "health")
        assert key_values(etcdctl("get", "", "--from-key", "-w", "json")) == before
        hashes = [
            one["HashKV"]["hash"] for one in json.loads(etcdctl("endpoint", "hashkv", "-w", "json"))
        ]
        assert len(hashes) == 2
        assert len(set(hashes)) == 1
        members = json.loads(etcdctl("member", "list", "-w", "json"))["members"]
        assert {m["name"]: m["peerURLs"] for m in members} == {
            f"cp{number}": [f"https://{host.address}:2380"] for number, host in new_hosts.items()
        }
    finally:
        subprocess.run(["rm", "-rf", str(out)], check=True)
    for number, host in new_hosts.items():
        assert stat(host, "/", "/etc", "/var") == folders[number]
        kept_files_are_right(host, lab.state / "trees" / f"cp{number}")
    new_hosts[3].run(["mountpoint", "/var/lib/etcd"], sudo=True)
    new_hosts[3].run(["test", "-d", "/var/lib/etcd/lost+found"], sudo=True)


def stat(host: Host, *paths: str) -> list[str]:
    """Return mode and owner of each path."""
    return host.exec(["stat", "-c", "%a %U", *paths]).stdout.decode().splitlines()


def started_as_its_manifest_says(host: Host, tools: Path, version: str) -> None:
    """Start etcd from the archive with the flags in the parked manifest."""
    parked = host.read("/etc/kubernetes/parked/etcd.yaml")
    assert host.exec(["ls", "/etc/kubernetes/manifests"], check=False).stdout.strip() == b""
    program = (tools / f"etcd-{version}-linux-amd64" / "etcd").read_bytes()
    host.exec(["install", "-m", "755", "/dev/stdin", "/usr/local/bin/etcd"], stdin=program)
    unit = ["systemd-run", "--unit", "etcd-restored"]
    host.exec([*unit, "/usr/local/bin/etcd", *flags_of(parked)])


def kept_files_are_right(host: Host, tree: Path) -> None:
    """Compare what has no address in it with what the lost host had."""
    for name in ("ca.key", "sa.key", "etcd/ca.key", "etcd/server.key"):
        path = f"etc/kubernetes/pki/{name}"
        assert host.read(f"/{path}") == (tree / path).read_bytes()
    encryption = "etc/kubernetes/enc/encryption-config.yaml"
    assert host.read(f"/{encryption}") == (tree / encryption).read_bytes()
    assert stat(host, "/etc/kubernetes/pki/sa.key") == ["600 root"]
    shown = host.exec(
        ["openssl", "x509", "-in", "/etc/kubernetes/pki/apiserver.crt", "-noout"]
        + ["-ext", "subjectAltName,extendedKeyUsage,keyUsage"]
    ).stdout.decode()
    for word in (host.address, "DNS:k8s-api.example.test", "TLS Web Server", "Digital Signature"):
        assert word in shown
