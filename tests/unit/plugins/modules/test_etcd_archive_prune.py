# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_archive_prune as Ansible runs it: options in, JSON out, check mode and diff."""

from __future__ import annotations

import hashlib
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from unit.fixtures.asked import ask

from ansible_collections.controlplane.etcd.plugins.modules import etcd_archive_prune

DATA = b"no etcd image, and nobody here looks into it"
SHARED = ("exception", "invocation", "warnings", "deprecations", "changed", "failed", "diff")


def prune(where: dict[str, t.Any], **options: t.Any) -> dict[str, t.Any]:
    return ask("etcd_archive_prune", **{"max_removals": 9, **where, **options})


@pytest.fixture
def where(tmp_path: Path) -> dict[str, t.Any]:
    return options_of(tmp_path)


def options_of(folder: Path) -> dict[str, t.Any]:
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return {"archive": str(folder / "archive"), "etcd_cluster": "prod", "signing_key": str(key)}


def add(where: dict[str, t.Any]) -> str:
    """Add an entry as a backup does; return its ID."""
    started = ask("etcd_archive_add", state="started", **where)
    Path(started["path"], "data.db.zst.age").write_bytes(DATA)
    sha256 = hashlib.sha256(DATA).hexdigest()
    record = {
        "cluster_id": "cdf818194e3a8c32",
        "members": [],
        "snapshot": {
            "revision": 7,
            "db_size_bytes": len(DATA),
            "sha256": sha256,
            "key_count": 3,
            "source_member": {"id": "1", "name": "cp1"},
        },
        "etcd": {"server_version": "3.6.16"},
        "kubernetes": {"object_count": 3, "resources": {}, "secrets": {}},
        "files": [
            {
                "name": "data.db.zst.age",
                "part": "data",
                "size_bytes": len(DATA),
                "sha256": sha256,
                "compression": "zstd",
                "encryption": {"scheme": "age", "recipients": ["age1x"]},
            }
        ],
        "checks": [{"name": "trailer", "result": "passed", "detail": "equal"}],
    }
    added = ask("etcd_archive_add", id=started["id"], snapshot=record, **where)
    assert added["entry"]["verified"], added
    return t.cast("str", added["id"])


def test_prune_returns_what_it_documents(where: dict[str, t.Any]) -> None:
    made = sorted(add(where) for _turn in range(3))
    folder = Path(where["archive"], "prod")
    (folder / made[0] / "manifest.json.sig").unlink()
    done = prune(where, keep_last=1)
    documented = yaml.safe_load(etcd_archive_prune.RETURN)
    assert {*done} - {*SHARED} == {*documented} - {"error"}
    for name in ("entries", "not_judged"):
        for each in done[name]:
            assert set(each) == set(documented[name]["contains"])
    assert done["changed"]
    assert (done["removed"], done["entry_count"]) == ([made[1]], 3)
    assert (
        done["freed_bytes"] == next(e for e in done["entries"] if e["id"] == made[1])["size_bytes"]
    )
    assert [each["id"] for each in done["not_judged"]] == [made[0]]
    assert made[0] in str(done["warnings"])
    assert not (folder / made[1]).exists()


def test_prune_check_diff_real_and_again(where: dict[str, t.Any]) -> None:
    made = sorted(add(where) for _turn in range(3))
    folder = Path(where["archive"], "prod")
    options = {**where, "keep_last": 2}
    check = prune(options, _ansible_check_mode=True)
    check_diff = prune(options, _ansible_check_mode=True, _ansible_diff=True)
    assert sorted(path.name for path in folder.glob("2*")) == made
    real = prune(options)
    again = prune(options)
    again_diff = prune(options, _ansible_diff=True)
    lines = check_diff.pop("diff")["prepared"].splitlines()
    for each in (check, check_diff, real):
        assert (each["changed"], each["removed"]) == (True, made[:1])
        assert each["entries"] == check["entries"]
    assert [line[0] + line[1:].split()[0] for line in lines] == [
        f" prod/{made[2]}",
        f" prod/{made[1]}",
        f"-prod/{made[0]}",
    ]
    assert lines[0].endswith("the newest verified; last")
    assert lines[2].endswith("last: 2 are newer")
    for each in (again, again_diff):
        assert (each["changed"], each["removed"], each["entry_count"]) == (False, [], 2)
    assert sorted(path.name for path in folder.glob("2*")) == made[1:]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, t.Any], list[str]]:
    """An archive of two entries, for what changes nothing."""
    where = options_of(tmp_path_factory.mktemp("two"))
    return where, sorted(add(where) for _turn in range(2))


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({}, "policy_empty", "keep_last"),
        ({"keep_daily": -1}, "option_invalid", "keep_daily is -1"),
        ({"keep_within": "30s"}, "option_invalid", "'30s'"),
        ({"keep_last": 1, "max_removals": 0}, "removals_capped", "remove 1 of 2"),
        ({"keep_last": 1, "archive": "/nowhere/archive"}, "archive", "/nowhere/archive"),
        ({"keep_last": 1, "archive": "s3://bucket"}, "archive", "s3://bucket"),
        ({"keep_last": 1, "etcd_cluster": "prud"}, "archive", "It has: prod."),
        ({"keep_last": 1, "etcd_cluster": "../prod"}, "option_invalid", "'../prod'"),
        ({"keep_last": 1, "etcd_instance": "events"}, "archive", "prod/events"),
        ({"keep_last": 1, "signing_key": "/nowhere/key"}, "trust", "/nowhere/key"),
        ({"keep_last": 1, "signing_key": None}, "option_invalid", "etcd_allowed_signers"),
        ({"keep_last": 1, "lock_timeout": "soon"}, "option_invalid", "lock_timeout"),
    ],
)
def test_prune_bad_options_are_named_and_nothing_goes(
    two: tuple[dict[str, t.Any], list[str]], options: dict[str, t.Any], kind: str, says: str
) -> None:
    where, made = two
    failed = prune({**where, **options})
    assert (failed["failed"], failed["error"]["kind"]) == (True, kind)
    assert says in failed["msg"]
    assert sorted(path.name for path in Path(where["archive"], "prod").glob("2*")) == made
