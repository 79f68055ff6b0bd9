# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_archive_add and etcd_archive_info as Ansible runs them: options in, JSON out."""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from unit.fixtures.asked import MODULES, ask

DATA = b"no etcd image, and nobody here looks into it"
SHARED = ("exception", "invocation", "warnings", "deprecations", "changed", "failed")
# What AnsibleModule adds to every result that has a `path`.
OF_PATH = ("gid", "group", "mode", "owner", "size", "state", "uid")


@pytest.fixture
def where(tmp_path: Path) -> dict[str, t.Any]:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return {
        "archive": str(tmp_path / "archive"),
        "etcd_cluster": "prod",
        "signing_key": str(key),
    }


RECORD: dict[str, t.Any] = {
    "changed": True,
    "cluster_id": "cdf818194e3a8c32",
    "members": [
        {"id": "1", "name": "cp1", "peer_urls": ["https://10.0.0.1:2380"], "client_urls": []}
    ],
    "snapshot": {
        "revision": 7,
        "db_size_bytes": len(DATA),
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "key_count": 3,
        "source_member": {"id": "1", "name": "cp1"},
    },
    "etcd": {"server_version": "3.6.16"},
    "kubernetes": {"object_count": 0, "resources": {}, "secrets": {}},
    "files": [
        {
            "name": "data.db.zst.age",
            "part": "data",
            "size_bytes": len(DATA),
            "sha256": hashlib.sha256(DATA).hexdigest(),
            "compression": "zstd",
            "encryption": {"scheme": "age", "recipients": ["age1x"]},
        }
    ],
    "checks": [{"name": "trailer", "result": "passed", "detail": "equal"}],
}


def add(where: dict[str, t.Any], **options: t.Any) -> dict[str, t.Any]:
    started = ask("etcd_archive_add", state="started", **where)
    Path(started["path"], "data.db.zst.age").write_bytes(DATA)
    options = {"snapshot": RECORD, **options}
    return ask("etcd_archive_add", id=started["id"], **where, **options)


def documented(module: str, path: str = "") -> set[str]:
    returned = yaml.safe_load(importlib.import_module(f"{MODULES}.{module}").RETURN)
    return set(returned[path]["contains"] if path else returned)


def test_add_and_info_return_what_they_document(where: dict[str, t.Any]) -> None:
    started = ask("etcd_archive_add", state="started", **where)
    added = add(where)
    told = documented("etcd_archive_add")
    assert {*started, *added} - {*SHARED, *OF_PATH, *told} == set()
    assert told - {*started, *added} == {"error"}
    identity = Path(where["signing_key"])
    listed = ask("etcd_archive_info", query="[0].id", at="30d", identities=[str(identity)], **where)
    assert {*listed} - {*SHARED} == documented("etcd_archive_info") - {"error"}
    assert set(listed["escrow"][0]) == documented("etcd_archive_info", "escrow")
    assert [each["state"] for each in listed["escrow"]] == ["not_checked"]
    said = json.dumps(listed["warnings"])  # core 2.19 and later put dictionaries around the texts
    assert f"Escrow check: identity file {identity} opens nothing" in said
    assert set(listed["entries"][0]) == documented("etcd_archive_info", "entries")
    assert listed["entries"][0] == {**added["entry"], "proof": None, "certificates": None}
    assert listed["entries"][0] == listed["latest"]
    assert listed["entries"][0]["completeness"] == "data_only"
    assert listed["entries"][0]["lacks"][0]["code"] == "no_kit"
    assert "escrow" not in ask("etcd_archive_info", **where)
    nothing = dict.fromkeys(("entry", "finished_at", "rto_seconds", "node"))
    assert [{**each, **nothing} for each in listed["proven"]] == listed["proven"] != []
    assert (listed["entry_count"], listed["query_result"]) == (1, added["id"])
    assert started["changed"] and added["changed"] and not listed["changed"]
    assert added["trust"] == "trusted"


def test_add_again_changes_nothing(where: dict[str, t.Any]) -> None:
    added = add(where)
    again = ask("etcd_archive_add", id=added["id"], snapshot={}, **where)
    assert (again["changed"], again["entry"]) == (False, added["entry"])


def test_add_absent_drops_only_what_was_started(where: dict[str, t.Any]) -> None:
    started = ask("etcd_archive_add", state="started", **where)
    gone = [ask("etcd_archive_add", state="absent", id=started["id"], **where) for _turn in "12"]
    assert [result["changed"] for result in gone] == [True, False]
    assert not Path(started["path"]).exists()
    added = add(where)
    kept = ask("etcd_archive_add", state="absent", id=added["id"], **where)
    assert not kept["changed"]
    assert Path(added["path"]).is_dir()


def test_add_check_mode_writes_nothing(where: dict[str, t.Any], tmp_path: Path) -> None:
    started = ask("etcd_archive_add", state="started", _ansible_check_mode=True, **where)
    assert started["changed"]
    present = ask(
        "etcd_archive_add", id=started["id"], snapshot={}, _ansible_check_mode=True, **where
    )
    assert (present["changed"], present["id"]) == (True, started["id"])
    assert not (tmp_path / "archive").exists()


def test_add_says_what_failed_and_leaves_nothing(where: dict[str, t.Any]) -> None:
    record = copy.deepcopy(RECORD)
    record["files"][0]["sha256"] = "0" * 64
    failed = add(where, snapshot=record)
    assert failed["failed"]
    assert failed["error"]["kind"] == "trust"
    assert failed["error"]["path"] in failed["msg"]
    assert os.listdir(Path(where["archive"], "prod")) == []


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"archive": "s3://bucket"}, "archive", "s3://bucket"),
        ({"etcd_cluster": "../x"}, "option_invalid", "'../x'"),
        ({"etcd_cluster": "tools"}, "option_invalid", "tools"),
        ({"etcd_instance": "identity"}, "option_invalid", "identity"),
        ({"signing_key": "/nowhere/key"}, "trust", "/nowhere/key"),
        ({"allowed_signers": ["/nowhere/signers"]}, "option_invalid", "/nowhere/signers"),
        ({"tools": [{"name": "etcd", "version": "../.."}]}, "option_invalid", "../.."),
    ],
)
def test_add_bad_options_are_named(
    where: dict[str, t.Any], options: dict[str, t.Any], kind: str, says: str
) -> None:
    failed = ask("etcd_archive_add", state="started", **{**where, **options})
    assert (failed["failed"], failed["error"]["kind"]) == (True, kind)
    assert says in failed["msg"]


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"query": "[?"}, "option_invalid", "query"),
        ({"query": "abs(@)"}, "option_invalid", "does not fit"),
        ({"before": "yesterday"}, "option_invalid", "before"),
        ({"before": "2026-11-23T14:50:00"}, "option_invalid", "offset"),
        ({"at": "soon"}, "option_invalid", "Option at is neither a time nor a duration"),
        ({"archive": "/nowhere/archive"}, "archive", "/nowhere/archive"),
        ({"signing_key": None}, "option_invalid", "etcd_allowed_signers"),
    ],
)
def test_info_bad_options_are_named(
    where: dict[str, t.Any], options: dict[str, t.Any], kind: str, says: str
) -> None:
    add(where)
    failed = ask("etcd_archive_info", **{**where, **options})
    assert (failed["failed"], failed["error"]["kind"]) == (True, kind)
    assert says in failed["msg"]


def test_info_over_clusters_latest_and_before(where: dict[str, t.Any]) -> None:
    made = [add(where), add(where), add({**where, "etcd_instance": "events"})]
    stage = add({**where, "etcd_cluster": "stage"})
    everywhere = {**where, "etcd_cluster": None}
    found = ask("etcd_archive_info", **everywhere)
    assert found["entry_count"] == 4
    ids = [entry["id"] for entry in found["entries"]]
    assert ids == sorted(ids, reverse=True)
    newest = ask("etcd_archive_info", latest=True, **everywhere)
    assert [(entry["etcd_cluster"], entry["etcd_instance"]) for entry in newest["entries"]] == [
        (entry["etcd_cluster"], entry["etcd_instance"])
        for entry in sorted(newest["entries"], key=lambda entry: entry["id"], reverse=True)
    ]
    assert {entry["id"] for entry in newest["entries"]} == {
        max(made[0]["id"], made[1]["id"]),
        made[2]["id"],
        stage["id"],
    }
    assert ask("etcd_archive_info", **where)["entry_count"] == 2
    events = ask("etcd_archive_info", etcd_instance="events", **where)
    assert [entry["id"] for entry in events["entries"]] == [made[2]["id"]]
    before = ask("etcd_archive_info", before=made[0]["entry"]["created_at"], **where)
    assert before["entry_count"] == 0
    assert before["latest"] is None


def test_info_untrusted_is_listed_and_never_latest(where: dict[str, t.Any]) -> None:
    good, bad = add(where), add(where)
    Path(bad["path"], "manifest.json.sig").unlink()
    found = ask("etcd_archive_info", **where)
    told = {entry["id"]: entry for entry in found["entries"]}
    assert (told[bad["id"]]["trust"], told[bad["id"]]["verified"]) == ("unsigned", False)
    assert found["latest"]["id"] == good["id"]
    unchecked = ask("etcd_archive_info", **{**where, "verify": "none", "signing_key": None})
    assert {entry["trust"] for entry in unchecked["entries"]} == {"not_checked"}
    assert not any(entry["verified"] for entry in unchecked["entries"])
