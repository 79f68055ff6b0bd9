# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_kit from a real playbook, on the hosts of a real cluster on loopback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pyrage
import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import sealing
from ansible_collections.controlplane.etcd.plugins.module_utils._kit import bundle
from lab.loopback import Cluster

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(VENV / "collections"))


@pytest.fixture(scope="module")
def alpha() -> t.Iterator[Cluster]:
    with Cluster("alpha", size=3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def keys() -> dict[str, t.Any]:
    return {part: pyrage.x25519.Identity.generate() for part in ("encryption", "pki")}


def play(cluster: Cluster, folder: Path, task: dict[str, t.Any], *options: str) -> tuple[int, str]:
    """Run one task on all hosts; where their files lie comes from module_defaults."""
    defaults = {
        "controlplane.etcd.etcd_kit": {
            "certificates_dir": "{{ etcd_certificates_dir }}",
            "static_pod_path": "{{ etcd_static_pod_path }}",
            "data_dir": "{{ etcd_data_dir }}",
        }
    }
    shown = {
        "name": "Keep the result",
        "ansible.builtin.copy": {
            "content": "{{ kit | to_json }}",
            "dest": f"{folder}/{{{{ inventory_hostname }}}}.json",
            "mode": "0600",
        },
        "check_mode": False,
    }
    body = {"name": "Take kits", "controlplane.etcd.etcd_kit": task, "register": "kit"}
    plays = [
        {
            "hosts": "etcd",
            "gather_facts": False,
            "module_defaults": defaults,
            "tasks": [body, shown],
        }
    ]
    (folder / "play.yml").write_text(yaml.safe_dump(plays))
    (folder / "inventory.yml").write_text(yaml.safe_dump(cluster.inventory()))
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            str(folder / "inventory.yml"),
            str(folder / "play.yml"),
            "-vvv",
            *options,
        ],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def facts_of(root: Path) -> dict[str, tuple[int, int, int, t.Any]]:
    found: dict[str, tuple[int, int, int, t.Any]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = (0, 0, 0, os.readlink(path))
        elif path.is_file():
            facts = path.stat()
            found[str(path.relative_to(root))] = (
                facts.st_mode,
                facts.st_uid,
                int(facts.st_mtime),
                path.read_bytes(),
            )
    return found


def test_kits_of_a_cluster_open_to_the_originals(
    alpha: Cluster, keys: dict[str, t.Any], tmp_path: Path
) -> None:
    task = {
        "dest_dir": f"{tmp_path}/{{{{ inventory_hostname }}}}",
        "name": "{{ inventory_hostname }}",
        "recipients": {part: [str(key.to_public())] for part, key in keys.items()},
    }
    for name in alpha.members:
        (tmp_path / name).mkdir(mode=0o700)
    status, said = play(alpha, tmp_path, task, "--check")
    assert status == 0, said
    assert not any(list((tmp_path / name).iterdir()) for name in alpha.members)
    status, said = play(alpha, tmp_path, task)
    assert status == 0, said
    assert not [secret for secret in alpha.secrets() if secret in said]
    indexes = []
    for name in alpha.members:
        result = json.loads((tmp_path / f"{name}.json").read_text())
        assert result["kit"]["missing"] == []
        assert {"sa.key", "ca.key", "etcd/server.key", "encryption-config"} <= set(
            result["kit"]["present"]
        )
        back = tmp_path / f"{name}.back"
        back.mkdir()
        for each in result["files"]:
            clear = io.BytesIO()
            sealed = Path(each["path"])
            with sealed.open("rb") as source:
                sealing.unseal(source, clear, [keys[each["part"]]])
            subprocess.run(["tar", "-xpf", "-", "-C", back], input=clear.getvalue(), check=True)
            if each["part"] == "encryption":
                indexes.append(bundle.read_index(io.BytesIO(clear.getvalue())))
        original = alpha.root / name
        there = facts_of(original)
        here = facts_of(back / str(original).lstrip("/"))
        data = {path for path in there if path.startswith(("var/lib/etcd", "etcd.log"))}
        assert set(there) - set(here) == data | {p for p in there if p.endswith(".log")}
        assert all(there[path] == here[path] for path in here)
    assert len({index.files[0].sha256 for index in indexes}) == 1, "the same on every host"


def test_kit_of_a_folder_nobody_made_fails_by_name(alpha: Cluster, tmp_path: Path) -> None:
    task = {
        "dest_dir": f"{tmp_path}/gone",
        "name": "{{ inventory_hostname }}",
        "allow_unsealed": True,
    }
    status, said = play(alpha, tmp_path, task)
    assert status != 0
    assert f"Cannot write {tmp_path}/gone/encryption.tar.zst on this host: No such file" in said
    assert not [secret for secret in alpha.secrets() if secret in said]
    assert not (tmp_path / "gone").exists()
