# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a real cluster to an entry, and back by RESTORE.txt alone: every etcd, through the modules."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from lab import binaries, versions
from lab.archived import Keys, asked, back_up
from lab.loopback import Cluster
from lab.member import free_port

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(VENV / "collections"))
# What RESTORE.txt names: age, zstd, tar and coreutils. etcd's own tool comes from the archive.
PROGRAMS = ("age", "zstd", "tar", "sha256sum", "mkdir", "head", "cut", "mv", "rmdir", "chmod")
PROGRAMS += ("chown", "echo", "test")
SECTION = re.compile(r"^==== \[([^\]]+)\]")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.make(tmp_path)


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    path = tmp_path / "staging"
    path.mkdir()
    return path


def follow(entry: Path, sections: t.Sequence[str], **variables: str) -> str:
    """Run the lines of some sections of RESTORE.txt in one bash that finds nothing else."""
    lines, within = [], ""
    for line in (entry / "RESTORE.txt").read_text().splitlines():
        found = SECTION.match(line)
        if found:
            within = found[1]
        elif within in sections and line.startswith("$ "):
            lines.append(line[2:])
    assert lines
    path = Path(variables["OUT"]).parent / "programs"
    path.mkdir(exist_ok=True)
    for name in PROGRAMS:
        if not (path / name).exists():
            (path / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join(lines)],
        cwd=entry,
        env={"PATH": str(path), "HOME": "/nowhere", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def programs() -> None:
    """Have what RESTORE.txt asks for."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: RESTORE.txt cannot be followed here")


@pytest.mark.parametrize("version", versions.ETCD_ALL)
def test_restore_text_brings_a_cluster_back(
    version: str, keys: Keys, tmp_path: Path, staging: Path, programs: None
) -> None:
    archive = tmp_path / "archive"
    with Cluster("alpha", size=3, version=version) as alpha:
        for number in range(20):
            alpha.etcdctl("put", f"/registry/configmaps/default/c{number}", f"value {number}")
        old_id = alpha.status("alpha-cp1")["header"]["cluster_id"]
        added = back_up(alpha, keys, archive, staging)
        assert added["entry"]["verified"], added
        alpha.etcdctl("put", "/registry/configmaps/default/c0", "after the backup")
    entry = Path(added["path"])
    # The hosts are gone. One is not replaced; the others come back elsewhere, one of them with a
    # data folder that was there before and holds the wreck of a member.
    taken: set[int] = set()
    ports = [free_port(taken) for _turn in range(4)]
    folders = [tmp_path / "new1", tmp_path / "new2"]
    (folders[0] / "member" / "snap").mkdir(parents=True)
    (folders[0] / "member" / "snap" / "db").write_bytes(b"the wreck")
    peers = [f"http://127.0.0.1:{port}" for port in ports[:2]]
    variables = {
        "OUT": str(tmp_path / "out"),
        "IDENTITY": str(keys.identity),
        "TOKEN": "brought-back",
        "PEER_1": peers[0],
        "PEER_2": peers[1],
        "DATA_DIR_1": str(folders[0]),
        "DATA_DIR_2": str(folders[1]),
        "INITIAL_CLUSTER": f"alpha-cp1={peers[0]},alpha-cp2={peers[1]}",
    }
    said = follow(entry, ["variables", "open", "restore 1", "restore 2"], **variables)
    # All files but RESTORE.txt itself, and the tool.
    assert said.count(": OK") == added["entry"]["file_count"] - 1 + 1
    host_file = tmp_path / "out/pki/alpha-cp1/etc/kubernetes/pki/sa.key"
    assert host_file.read_bytes() == b"secret"
    assert (
        folders[0] / f"member.before-{added['id']}" / "snap" / "db"
    ).read_bytes() == b"the wreck"
    tools = binaries.get(version)
    clients = [f"http://127.0.0.1:{port}" for port in ports[2:]]
    running = [
        subprocess.Popen(
            [tools.etcd, "--name", name, "--data-dir", folder, "--listen-peer-urls", peer]
            + ["--listen-client-urls", client, "--advertise-client-urls", client],
            stdout=subprocess.DEVNULL,
            stderr=(folder.parent / f"{name}.log").open("wb"),
        )
        for name, folder, peer, client in zip(
            ("alpha-cp1", "alpha-cp2"), folders, peers, clients, strict=True
        )
    ]
    try:
        got = _etcdctl(tools, clients, "get", "/registry/configmaps/", "--prefix", wait=True)
        values = {item["key"]: item["value"] for item in got["kvs"]}
        assert len(values) == 20
        assert "YWZ0ZXIgdGhlIGJhY2t1cA==" not in values.values()
        assert got["header"]["cluster_id"] != old_id
        bumped = (entry / "RESTORE.txt").read_text().count("--mark-compacted") > 0
        assert (got["header"]["revision"] > 1_000_000_000) == bumped
        members = _etcdctl(tools, clients, "member", "list")["members"]
        assert sorted(member["name"] for member in members) == ["alpha-cp1", "alpha-cp2"]
    finally:
        for process in running:
            process.kill()
            process.wait()


def _etcdctl(
    tools: binaries.Binaries, clients: list[str], *words: str, wait: bool = False
) -> dict[str, t.Any]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}
    end = time.monotonic() + (60 if wait else 0)
    while True:
        done = subprocess.run(
            [tools.etcdctl, "--endpoints", ",".join(clients), *words, "-w", "json"],
            env={**env, "ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return t.cast("dict[str, t.Any]", json.loads(done.stdout.splitlines()[-1]))
        assert time.monotonic() < end, done.stderr
        time.sleep(0.5)


PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  module_defaults:
    controlplane.etcd.etcd_archive_info:
      archive: "{{ archive }}"
      allowed_signers: "{{ signer }}"
  tasks:
    - controlplane.etcd.etcd_archive_info:
        etcd_cluster: alpha
      register: all
    - controlplane.etcd.etcd_archive_info:
        latest: true
        query: "[].[id, trust]"
        verify: files
      register: newest
    - controlplane.etcd.etcd_archive_info:
        etcd_cluster: alpha
        before: "{{ all.latest.created_at }}"
      register: older
    - controlplane.etcd.etcd_archive_info:
        query: "[?"
      register: bad
      ignore_errors: true
    - ansible.builtin.assert:
        that:
          - all.entry_count == 1
          - all.latest.verified
          - not all.changed
          - all.entries[0].completeness == 'data_only'
          - "'no_etcd_ca' in all.entries[0].lacks | map(attribute='code')"
          - newest.query_result == [[all.latest.id, 'trusted']]
          - older.entry_count == 0
          - older.latest is none
          - bad.error.kind == 'option_invalid'
          - "'query' in bad.msg"
"""


def test_archive_through_ansible(keys: Keys, tmp_path: Path, staging: Path) -> None:
    if not shutil.which("age") or not shutil.which("zstd"):
        pytest.skip("age and zstd are not installed: no kit can be sealed without us")
    archive = tmp_path / "archive"
    with Cluster("alpha", size=1) as alpha:
        alpha.etcdctl("put", "a", "b")
        added = back_up(alpha, keys, archive, staging)
    again = asked(
        "etcd_archive_add",
        archive=str(archive),
        etcd_cluster="alpha",
        signing_key=str(keys.signing_key),
        id=added["id"],
        snapshot={},
    )
    assert (again["changed"], again["entry"]["id"]) == (False, added["id"])
    play = [{**yaml.safe_load(PLAY)[0], "vars": {"archive": str(archive)}}]
    play[0]["vars"]["signer"] = f"{keys.signing_key}.pub"
    play[0]["vars"]["ansible_python_interpreter"] = sys.executable
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    done = subprocess.run(
        [VENV / "bin" / "ansible-playbook", "-i", "localhost,", "play.yml"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
