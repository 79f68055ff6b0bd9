# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job: two clusters on real hosts, over real ssh, as a user with sudo, without a network."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import tarfile
import typing as t
from pathlib import Path

import pytest

from lab import binaries
from lab.backup_run import Bastion, Run, left_on
from lab.hosts.lab import Lab

Backed = tuple[Bastion, Run]


def opened(entry: Path, name: str, identity: Path, target: Path) -> Path:
    """Open a sealed file with age and zstd, and nothing of ours."""
    clear = subprocess.run(
        ["age", "-d", "-i", str(identity), str(entry / name)], capture_output=True, check=True
    ).stdout
    with target.open("wb") as out:
        subprocess.run(["zstd", "-d", "-c"], input=clear, stdout=out, check=True)
    return target


def everything(folder: Path) -> dict[str, t.Any]:
    """Return all that a folder holds: modes, times, sums."""
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = (stat.filemode(facts.st_mode), facts.st_mtime_ns, digest)
    return found


@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_entry_is_what_other_tools_say(
    lab: Lab, first_backup: Backed, cluster: str, tmp_path: Path
) -> None:
    bastion, run = first_backup
    assert run.code == 0, run.output
    assert run.stats[cluster]["outcome"] == "archived"
    (entry,) = bastion.entries(cluster)
    assert run.stats[cluster]["path"] == str(entry)
    manifest = bastion.manifest(entry)
    told = manifest["snapshot"]
    version = lab.cluster(cluster).plan.etcd_version
    image = opened(entry, "data.db.zst.age", bastion.identity, tmp_path / "snapshot.db")
    argv = [str(binaries.get(version).etcdutl), "snapshot", "status", str(image), "-w", "json"]
    status = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    assert status["revision"] == told["revision"]
    assert f"{status['hash']:08x}" == told["status_hash"]
    total = told["key_count"] if version.startswith("3.6") else told["entry_count"]
    assert status["totalKey"] == total
    assert image.stat().st_size == told["db_size_bytes"] + 32
    content = image.read_bytes()
    assert hashlib.sha256(content[:-32]).hexdigest() == told["sha256"]
    assert content[-32:].hex() == told["sha256"]
    live = json.loads(
        lab.cluster(cluster).etcdctl(
            *("endpoint", "hashkv", "--rev", str(told["hash_revision"]), "-w", "json")
        )
    )
    assert {f"{one['HashKV']['hash']:08x}" for one in live} == {told["hash_kv"]}
    assert manifest["etcd"]["server_version"] == version
    members = json.loads(lab.cluster(cluster).etcdctl("member", "list", "-w", "json"))["members"]
    assert {m["id"] for m in manifest["cluster"]["members"]} == {f"{m['ID']:x}" for m in members}
    for file in manifest["files"]:
        path = entry / file["name"]
        argv = ["sha256sum", str(path)]
        shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        assert shown.split()[0] == file["sha256"]
        assert path.stat().st_size == file["size_bytes"]
    opened(entry, "data.db.zst.age", bastion.escrow, tmp_path / "escrow.db")
    assert (tmp_path / "escrow.db").read_bytes() == content


@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_signature_is_good_for_ssh_keygen(
    first_backup: Backed, cluster: str, tmp_path: Path
) -> None:
    bastion, run = first_backup
    assert run.code == 0, run.output
    (entry,) = bastion.entries(cluster)
    signers = tmp_path / "signers"
    signers.write_text(f"controlplane.etcd {bastion.signer}\n")
    argv = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "controlplane.etcd"]
    argv += ["-n", "controlplane.etcd", "-s", str(entry / "manifest.json.sig")]
    data = (entry / "manifest.json").read_bytes()
    good = subprocess.run(argv, input=data, capture_output=True, check=False)
    assert good.returncode == 0, good.stderr
    forged = subprocess.run(argv, input=data + b" ", capture_output=True, check=False)
    assert forged.returncode != 0


def test_kits_hold_the_hosts_files(lab: Lab, first_backup: Backed, tmp_path: Path) -> None:
    bastion, run = first_backup
    assert run.code == 0, run.output
    for cluster in lab.clusters.values():
        (entry,) = bastion.entries(cluster.name)
        for host in cluster.hosts:
            name = f"pki/{host.name}.tar.zst.age"
            kit = opened(entry, name, bastion.identity, tmp_path / f"{host.name}.tar")
            with tarfile.open(kit) as tar:
                names = [name for name in tar.getnames() if name != "index.json"]
                for key in [name for name in names if name.endswith((".key", ".conf", "key.pem"))]:
                    reader = tar.extractfile(key)
                    assert reader is not None
                    assert reader.read() == host.read(f"/{key}")
            assert any(name.endswith(("ca.key", "ca-key.pem")) for name in names)
        kit = opened(entry, "encryption.tar.zst.age", bastion.identity, tmp_path / "e.tar")
        with tarfile.open(kit) as tar:
            path = "etc/kubernetes/enc/encryption-config.yaml"
            reader = tar.extractfile(path)
            assert reader is not None
            assert reader.read() == cluster.hosts[0].read(f"/{path}")


def test_archive_belongs_to_its_user_alone(first_backup: Backed) -> None:
    bastion, run = first_backup
    assert run.code == 0, run.output
    for path in [bastion.archive, *bastion.archive.rglob("*")]:
        facts = path.lstat()
        assert facts.st_uid == os.geteuid()
        assert stat.S_IMODE(facts.st_mode) & 0o022 == 0, path
        if path.name.endswith((".age", ".json", ".sig")):
            assert stat.S_IMODE(facts.st_mode) & 0o077 == 0, path


def test_tools_are_the_running_ones_from_the_process_root(lab: Lab, first_backup: Backed) -> None:
    bastion, run = first_backup
    assert run.code == 0, run.output
    for cluster in lab.clusters.values():
        version = cluster.plan.etcd_version
        folder = bastion.archive / "tools" / f"etcd-{version}-linux-amd64"
        real = binaries.get(version)
        for name, tool in (("etcd", real.etcd), ("etcdutl", real.etcdutl)):
            assert (folder / name).read_bytes() == tool.read_bytes()
        (entry,) = bastion.entries(cluster.name)
        listed = {tool["name"]: tool for tool in bastion.manifest(entry)["tools"]}
        sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed}
        assert {name: tool["sha256"] for name, tool in listed.items()} == sums


def test_nothing_is_left_on_hosts_and_controller(lab: Lab, first_backup: Backed) -> None:
    bastion, run = first_backup
    assert run.code == 0, run.output
    for host in lab.hosts.values():
        assert left_on(host) == ""
    for cluster in lab.clusters:
        assert bastion.parts(cluster) == []
    assert list((bastion.folder / "a" / "tmp").glob("*")) == []


def test_check_mode_tells_the_plan_and_writes_nothing(lab: Lab, first_backup: Backed) -> None:
    bastion, _run = first_backup
    hosts = [host for cluster in lab.clusters.values() for host in cluster.hosts]
    listing = ["find", "/opt", "/var/tmp", "/home/ops", "/etc", "-printf", "%p %T@ %s %m\\n"]
    before = everything(bastion.archive)
    on_hosts = [host.exec(listing).stdout for host in hosts]
    run = bastion.backup("--check", "--diff")
    assert run.code == 0, run.output
    assert {one["outcome"] for one in run.stats.values()} == {"checked"}
    assert "alpha: would be backed up from" in run.output
    assert everything(bastion.archive) == before
    kept = [line for host in hosts for line in host.exec(listing).stdout.splitlines()]
    was = [line for listed in on_hosts for line in listed.splitlines()]
    differ = {line for line in {*kept} ^ {*was} if b"/.ansible" not in line}
    assert differ == set()
    for host in hosts:
        assert left_on(host) == ""


def test_second_run_adds_an_entry_and_changes_nothing_else(lab: Lab, first_backup: Backed) -> None:
    bastion, _run = first_backup
    shared = {name: everything(bastion.archive / name) for name in ("tools", "wheelhouse")}
    count = {name: len(bastion.entries(name)) for name in lab.clusters}
    environments = ["readlink", "/opt/controlplane-etcd/venv"]
    hosts = [host for cluster in lab.clusters.values() for host in cluster.hosts]
    before = [host.exec(environments).stdout for host in hosts]
    # what runs left on hosts: of another controller, a moment ago; of anybody, long ago
    stranger, old = (
        f"/var/tmp/controlplane-etcd-{stamp}-00000000-deadbeef-cp2"
        for stamp in ("20990101T000000Z", "20200101T000000Z")
    )
    lab.host("cp2").run(["mkdir", stranger, old])
    run = bastion.backup()
    lab.host("cp2").run(["rmdir", stranger])
    assert run.code == 0, run.output
    assert {n: len(bastion.entries(n)) for n in lab.clusters} == {
        n: c + 1 for n, c in count.items()
    }
    assert [host.exec(environments).stdout for host in hosts] == before
    assert {name: everything(bastion.archive / name) for name in shared} == shared
    assert "Run what makes the environment" not in run.output
    newest = bastion.manifest(bastion.entries("alpha")[-1])
    assert next(c for c in newest["checks"] if c["name"] == "identity")["result"] == "passed"
    for host in hosts:
        assert left_on(host) == ""


def test_limit_that_cuts_a_cluster_is_refused_by_name(
    lab: Lab, first_backup: Backed, reliability: t.Callable[..., None]
) -> None:
    bastion, _run = first_backup
    count = len(bastion.entries("alpha"))
    run = bastion.backup("--limit", "cp1,cp2")
    assert run.code != 0
    message = "Cluster alpha is refused: this run leaves out its host(s) cp3"
    assert message in run.output
    assert len(bastion.entries("alpha")) == count
    assert left_on(lab.host("cp1")) == ""
    reliability(
        "--limit that leaves a member out", "refused, naming it", area="ssh", message=message
    )


def test_host_that_is_down_degrades_the_entry(
    lab: Lab, first_backup: Backed, reliability: t.Callable[..., None]
) -> None:
    bastion, _run = first_backup
    down = lab.host("cp3")
    down.stop()
    try:
        run = bastion.backup()
        allowed = bastion.backup("--limit", "alpha", etcd_backup_allow_missing_hosts=True)
    finally:
        down.start()
        lab.cluster("alpha").wait_healthy()
    assert run.code != 0
    assert run.stats["alpha"]["outcome"] == "degraded"
    assert run.stats["alpha"]["lacks"] == ["cp3"]
    assert run.stats["beta"]["outcome"] == "archived"
    message = "the entry lacks cp3. cp3: Failed to connect to the host via ssh"
    assert message in run.output
    manifest = bastion.manifest(Path(run.stats["alpha"]["path"]))
    assert manifest["cluster"]["missing_hosts"] == ["cp3"]
    assert allowed.code == 0, allowed.output
    assert allowed.stats["alpha"]["lacks"] == ["cp3"]
    for name in ("cp1", "cp2"):
        assert left_on(lab.host(name)) == ""
    reliability(
        "a host that is switched off",
        "the entry is archived without its kit, the run fails; allowed by a variable, it ends well",
        area="ssh",
        message=message,
    )


def test_paused_member_costs_its_kit_at_most(
    lab: Lab, first_backup: Backed, reliability: t.Callable[..., None]
) -> None:
    bastion, _run = first_backup
    paused = lab.host("cp3")
    paused.exec(["systemctl", "kill", "-s", "STOP", "etcd.service"])
    try:
        run = bastion.backup("--limit", "alpha")
    finally:
        paused.exec(["systemctl", "kill", "-s", "CONT", "etcd.service"])
        lab.cluster("alpha").wait_healthy()
    assert run.stats["alpha"]["outcome"] in ("archived", "degraded"), run.output
    manifest = bastion.manifest(Path(run.stats["alpha"]["path"]))
    assert manifest["snapshot"]["source_host"] != "cp3"
    assert left_on(paused) == ""
    reliability(
        "a member that is paused (SIGSTOP)",
        f"{run.stats['alpha']['outcome']}: taken from another member",
        area="ssh",
    )


def test_archive_is_the_wheelhouse_when_there_is_no_other(lab: Lab, first_backup: Backed) -> None:
    bastion, _run = first_backup
    host = lab.host("b1")
    host.exec(["rm", "-rf", "/opt/controlplane-etcd"])
    run = bastion.backup(
        "--limit", "beta", etcd_runtime_wheelhouse=str(bastion.archive / "wheelhouse")
    )
    assert run.code == 0, run.output
    host.exec(["test", "-x", "/opt/controlplane-etcd/venv/bin/python"])
