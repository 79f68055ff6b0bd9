# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_snapshot_info on an archive's entries of a real etcd that holds Kubernetes' own objects."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pyrage
import pytest
import zstandard

from lab import objects, versions
from lab.archived import Keys, ask, asked, back_up
from lab.loopback import Cluster

if t.TYPE_CHECKING:
    from conftest import Reliability

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"


class Archived:
    """A cluster that was backed up twice, and what happened in between."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = Keys.make(folder)
        staging = folder / "staging"
        staging.mkdir()
        self.archive = folder / "archive"
        with Cluster("alpha", size=1, version=versions.ETCD_DEFAULT) as alpha:
            self.filled = objects.fill(alpha, copies=3, name="alpha", rewrites=40)
            self.first = back_up(alpha, self.keys, self.archive, staging)
            keys = alpha.etcdctl("get", "/registry/configmaps/", "--prefix", "--keys-only")
            self.configmaps = len(keys["kvs"])
            alpha.etcdctl("del", "/registry/configmaps/", "--prefix")
            alpha.etcdctl("put", "/registry/secrets/default/added", "a value that nobody shows")
            self.second = back_up(alpha, self.keys, self.archive, staging)

    @property
    def options(self) -> dict[str, t.Any]:
        """What names the archive and opens its entries."""
        return {
            "archive": str(self.archive),
            "etcd_cluster": "alpha",
            "signing_key": str(self.keys.signing_key),
            "identities": [str(self.keys.identity)],
            "spool_dir": str(self.folder),
        }


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Archived:
    return Archived(tmp_path_factory.mktemp("archived"))


def test_entry_tells_what_its_manifest_says(archived: Archived) -> None:
    found = asked("etcd_snapshot_info", id="latest", **archived.options)
    path = Path(archived.second["path"])
    manifest = json.loads((path / "manifest.json").read_text())
    assert found["file"]["entry"] == archived.second["entry"]["id"] == manifest["id"]
    told = manifest["snapshot"]
    shared = set(found["snapshot"]) & set(told) - {"hash_kv", "hash_revision"}
    assert len(shared) > 8
    assert {key: found["snapshot"][key] for key in shared} == {key: told[key] for key in shared}
    for key in ("object_count", "resources", "secrets"):
        assert found["kubernetes"][key] == manifest["kubernetes"][key]
    assert found["kubernetes"]["kube_system_uid"] == archived.filled.kube_system_uid
    assert [check["name"] for check in found["checks"]] == ["trailer", "structure", "archive"]
    assert {check["result"] for check in found["checks"]} == {"passed"}


def test_what_was_lost_since_the_older_entry_is_told(archived: Archived, tmp_path: Path) -> None:
    dest = tmp_path / "lists.jsonl"
    found = asked(
        "etcd_snapshot_info",
        id="latest",
        compare_to=archived.first["entry"]["id"],
        dest=str(dest),
        limit=3,
        **archived.options,
    )
    told = found["difference"]
    assert told["removed_count"] == archived.configmaps > 3
    assert told["resources"]["configmaps"]["removed"] == archived.configmaps
    assert [item["etcd_key"] for item in told["added"]] == ["/registry/secrets/default/added"]
    assert len(told["removed"]) == 3
    assert told["compared_to"].startswith(archived.first["path"])
    lines = [json.loads(line) for line in dest.read_text().splitlines()]
    removed = [line["item"]["etcd_key"] for line in lines if line["list"] == "removed"]
    assert len(removed) == archived.configmaps == len(set(removed))
    assert found["dest"] == {"path": str(dest), "line_count": len(lines)}
    assert dest.stat().st_mode & 0o777 == 0o600


def test_no_value_is_ever_shown(archived: Archived, tmp_path: Path) -> None:
    dest = tmp_path / "lists.jsonl"
    found = asked(
        "etcd_snapshot_info",
        id="latest",
        query="[*]",
        limit=1000,
        dest=str(dest),
        **archived.options,
    )
    shown = json.dumps({**found, "invocation": None}) + dest.read_text()
    assert found["query_count"] > 500
    assert "/registry/secrets/default/added" in shown
    for secret in (*objects.planted_forms(), "a value that nobody shows", "AGE-SECRET-KEY"):
        assert secret not in shown


def test_entry_that_is_not_trusted_is_not_read(
    archived: Archived, tmp_path: Path, reliability: Reliability
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(archived.archive, archive)
    entry = archive / "alpha" / archived.second["entry"]["id"]
    options = {**archived.options, "archive": str(archive), "id": entry.name}
    sealed = entry / "data.db.zst.age"

    def refused() -> dict[str, t.Any]:
        found = ask("etcd_snapshot_info", **options)
        assert found.get("failed"), found
        assert str(entry.name) in found["msg"]
        assert "kubernetes" not in found
        return found

    data = sealed.read_bytes()
    sealed.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    damaged = refused()
    assert damaged["error"]["kind"] == "trust"
    sealed.write_bytes(data)
    # Another entry's snapshot, genuine by itself, in this one's place.
    other = archive / "alpha" / archived.first["entry"]["id"] / "data.db.zst.age"
    sealed.write_bytes(other.read_bytes())
    swapped = refused()
    sealed.write_bytes(data)
    (entry / "manifest.json.sig").unlink()
    unsigned = refused()
    for fault, found in (
        ("one bit of an entry's sealed snapshot is flipped, then it is looked into", damaged),
        (
            "an entry's sealed snapshot is swapped with another one's, then it is looked into",
            swapped,
        ),
        ("an entry's signature is removed, then it is looked into", unsigned),
    ):
        reliability(fault, "refused before it is opened", area="content", message=found["msg"])
    # A file of it can be looked into all the same, by its own name.
    by_path = {k: v for k, v in archived.options.items() if k in ("identities", "spool_dir")}
    assert asked("etcd_snapshot_info", path=str(sealed), **by_path)["file"]["entry"] is None


def test_file_without_its_own_trailer_is_read_with_a_warning(
    archived: Archived, tmp_path: Path
) -> None:
    identity = pyrage.x25519.Identity.from_str(archived.keys.identity.read_text().strip())
    packed = pyrage.decrypt(
        (Path(archived.second["path"]) / "data.db.zst.age").read_bytes(), [identity]
    )
    image = bytearray(zstandard.ZstdDecompressor().decompressobj().decompress(packed))
    image[-1] ^= 1
    path = tmp_path / "snapshot.db"
    path.write_bytes(image)
    refused = ask("etcd_snapshot_info", path=str(path))
    assert refused["error"]["kind"] == "snapshot_invalid"
    assert str(path) in refused["msg"]
    found = ask("etcd_snapshot_info", path=str(path), skip_hash_check=True)
    assert found["checks"][0]["result"] == "failed"
    assert "do not restore it" in json.dumps(found["warnings"])


def test_nothing_is_left_and_nothing_is_named_while_it_is_open(archived: Archived) -> None:
    before = sorted(p.name for p in archived.folder.iterdir())
    asked("etcd_snapshot_info", id="latest", **archived.options)
    wrong = {**archived.options, "identities": [str(archived.keys.signing_key)]}
    assert ask("etcd_snapshot_info", id="latest", **wrong)["failed"]
    assert sorted(p.name for p in archived.folder.iterdir()) == before


def test_playbook_asserts_on_what_it_finds(archived: Archived, tmp_path: Path) -> None:
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {
                    "controlplane.etcd.etcd_snapshot_info": {
                        **archived.options,
                        "id": "latest",
                        "query": "length([?resource=='secrets'])",
                    },
                    "register": "found",
                },
                {
                    "ansible.builtin.assert": {
                        "that": [
                            "found is not changed",
                            "found.query_result == found.kubernetes.resources.secrets",
                            "found.snapshot.revision > 100",
                        ]
                    }
                },
            ],
        }
    ]
    path = tmp_path / "play.yml"
    path.write_text(json.dumps(play))
    for mode in ([], ["--check", "--diff"]):
        done = subprocess.run(
            [VENV / "bin" / "ansible-playbook", str(path), *mode],
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": os.environ.get(
                    "ANSIBLE_COLLECTIONS_PATH", str(VENV / "collections")
                ),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "changed=0" in done.stdout
