# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_restore on real members of every etcd: snapshot, staged, swapped, served, back, committed."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pyrage
import pytest
from conftest import Reliability

from lab import restoring, versions
from lab.loopback import Cluster
from lab.module import run_module
from lab.restoring import Bench

BUMP = 10**9


@pytest.fixture(params=versions.ETCD_ALL, scope="module")
def cluster(request: pytest.FixtureRequest) -> t.Iterator[Cluster]:
    with Cluster("restored", size=1, version=request.param) as found:
        for number in range(10):
            found.etcdctl("put", f"/registry/configmaps/default/c{number}", "v" * number)
        yield found


def keys(cluster: Cluster) -> dict[str, int]:
    """Return what etcdctl finds, with the version of each key."""
    answer = cluster.etcdctl("get", "", "--prefix")
    return {each["key"]: each["version"] for each in answer["kvs"]}


def hash_kv(cluster: Cluster) -> int:
    return int(cluster.etcdctl("endpoint", "hashkv")[0]["HashKV"]["hash"])


def asked(**params: t.Any) -> dict[str, t.Any]:
    found = restoring.main(params)
    assert found is not None and not found.get("failed"), found
    return found


def refused(**params: t.Any) -> str:
    found = restoring.main(params)
    assert found is not None and found["error"]["kind"] == "restore_refused", found
    return str(found["msg"])


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(path.stat().st_uid, path.stat().st_gid) for path in (folder, *folder.rglob("*"))}


def test_a_member_is_restored_served_and_taken_back(
    cluster: Cluster, tmp_path: Path, reliability: Reliability
) -> None:
    name, member = next(iter(cluster.members.items()))
    minor, can_bump = versions.minor(cluster.version), cluster.version != versions.ETCD_DEBIAN
    snapshot = tmp_path / "snapshot.db"
    then, hashed = keys(cluster), hash_kv(cluster)
    revision = cluster.status(name)["header"]["revision"]
    cluster.etcdctl("snapshot", "save", str(snapshot), json=False)
    cluster.etcdctl("put", "/registry/configmaps/default/later", "x")
    now = keys(cluster)
    params = {
        "data_dir": str(member.data_dir),
        "journal_dir": str(tmp_path / "journal"),
        "snapshot": str(snapshot),
        "name": name,
        "initial_cluster": f"{name}={member.node.peer_url}",
        "etcdutl": str(member.binaries.snapshot_tool),
        **({"bump_revision": "auto"} if can_bump else {}),
    }
    member.data_dir.chmod(0o750)
    if os.geteuid() == 0:  # as kubespray's etcd, under a user of its own
        subprocess.run(["chown", "-R", "1234:2345", str(member.data_dir)], check=True)
    owned = owners(member.data_dir)

    staged = run_module("etcd_restore", params)
    assert not staged.get("failed"), staged
    assert keys(cluster) == now
    words = refused(**params, state="swapped")
    assert f"etcd (pid {member.pid}, has files of it open)" in words
    reliability(
        f"etcd_restore: swapping while the member's etcd {minor} runs",
        "refused, naming the process",
        area="restore",
        message=words,
    )

    cluster.stop(name)
    told = asked(**params, state="swapped")["restored"]
    assert member.data_dir.stat().st_mode & 0o7777 == 0o750
    assert owners(member.data_dir) == owned
    assert told == staged["restored"]
    cluster.start(name)
    assert keys(cluster) == then
    status = cluster.status(name)["header"]
    assert (f"{status['member_id']:x}", f"{status['cluster_id']:x}") == (
        told["member_id"],
        told["cluster_id"],
    )
    assert (told["snapshot_revision"], told["bump_revision"]) == (revision, can_bump * BUMP)
    assert status["revision"] >= told["revision"] == revision + can_bump * BUMP
    if can_bump:
        tool, env = str(member.binaries.etcdctl), cluster.environment()
        argv = [tool, "watch", "", "--prefix", f"--rev={revision + 1}"]
        watched = subprocess.run(
            argv, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert "compacted" in watched.stdout + watched.stderr, watched
    else:
        assert hash_kv(cluster) == hashed
        assert "left old members" in str(staged["warnings"])

    assert f"etcd (pid {member.pid}" in refused(**params, state="rolled_back")
    cluster.stop(name)
    back = asked(**params, state="rolled_back")
    # An etcd has served it, so it is not thrown away.
    assert [Path(each).is_dir() for each in back["kept"]] == [True]
    cluster.start(name)
    assert keys(cluster) == now
    reliability(
        f"etcd_restore: a member of etcd {minor} restored, served by it, and taken back",
        "keys, revision, member and cluster ID are those that were told; owner and mode are kept; "
        "then the old keys are back, and what was served lies beside them",
        area="restore",
    )


def test_a_sealed_snapshot_is_restored_without_a_clear_copy(
    cluster: Cluster, tmp_path: Path
) -> None:
    if cluster.version != versions.ETCD_DEFAULT:
        return  # sealing is the same for all
    name, member = next(iter(cluster.members.items()))
    clear = tmp_path / "clear.db"
    cluster.etcdctl("snapshot", "save", str(clear), json=False)
    then = keys(cluster)
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"{identity}\n")
    (tmp_path / "wrong").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    argv = ["zstd", "-q", "-c", str(clear)]
    packed = subprocess.run(argv, capture_output=True, check=True).stdout
    sealed = tmp_path / "data.db.zst.age"
    sealed.write_bytes(pyrage.encrypt(packed, [identity.to_public()]))
    clear.unlink()
    params = {
        "id": "sealed",
        "data_dir": str(member.data_dir),
        "journal_dir": str(tmp_path / "journal"),
        "snapshot": str(sealed),
        "spool_dir": str(tmp_path),
        "name": name,
        "initial_cluster": f"{name}={member.node.peer_url}",
        "etcdutl": str(member.binaries.snapshot_tool),
    }
    wrong = restoring.main({**params, "identities": [str(tmp_path / "wrong")]})
    assert wrong and wrong["failed"] and str(sealed) in wrong["msg"]
    asked(**params, identities=[str(tmp_path / "identity")])
    assert sorted(os.listdir(tmp_path)) == ["data.db.zst.age", "identity", "journal", "wrong"]
    cluster.stop(name)
    asked(**params, state="swapped")
    cluster.start(name)
    assert keys(cluster) == then


def orderly(bench: Bench, state: str) -> None:
    """Ask for a state as it is asked for: check, check with diff, real, and all of it again."""
    before = bench.shape()
    check = bench.asked(state, _ansible_check_mode=True)
    diff = bench.asked(state, _ansible_check_mode=True, _ansible_diff=True)
    assert bench.shape() == before
    real = bench.asked(state, _ansible_diff=True)
    after = bench.shape()
    assert after != before
    assert check["changed"] is diff["changed"] is real["changed"] is True
    assert check["state"] == diff["state"] == real["state"] == state
    assert diff.pop("diff") == real["diff"]
    assert real["diff"]["before"] != real["diff"]["after"]
    told = {key: check[key] for key in check if key not in ("invocation", "plan", "warnings")}
    assert told == {key: diff[key] for key in told}
    assert check["restored"] == real["restored"]
    for each in real["folders"]:
        assert each["exists"] is (each["holds"] != "absent"), real["folders"]
    for more in ({"_ansible_check_mode": True}, {"_ansible_diff": True}, {}):
        again = bench.asked(state, **more)
        assert again["changed"] is False and again["state"] == state and "plan" not in again
        if "diff" in again:
            assert again["diff"]["before"] == again["diff"]["after"]
    assert bench.shape() == after


@pytest.mark.parametrize("wal", [False, True], ids=["wal inside", "wal apart"])
def test_every_state_is_foretold_done_once_and_left_alone(tmp_path: Path, wal: bool) -> None:
    bench = Bench(tmp_path, wal=wal)
    bench.live()
    orderly(bench, "staged")
    assert bench.holds == "old"
    orderly(bench, "rolled_back")
    assert bench.holds == "old" and not bench.leavings()
    orderly(bench, "staged")
    orderly(bench, "swapped")
    assert bench.holds == "new"
    orderly(bench, "rolled_back")
    assert bench.holds == "old" and not bench.leavings()
    for state in ("staged", "swapped", "committed"):
        orderly(bench, state)
    assert bench.holds == "new" and not bench.leavings()
    # Asked for again from its beginning, as a play that is run once more does.
    for state in ("staged", "swapped", "committed"):
        assert bench.asked(state)["changed"] is False


def test_a_restore_where_nothing_was_goes_back_to_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.asked("staged", owner="nobody")
    bench.asked("swapped")
    assert bench.holds == "new"
    bench.asked("rolled_back")
    assert bench.holds == "nothing" and not bench.leavings() and not bench.data.exists()
    assert bench.asked("rolled_back")["changed"] is False
    bench.data.mkdir(mode=0o700)
    bench.asked("staged")
    bench.asked("swapped")
    bench.asked("committed")
    assert bench.holds == "new" and not bench.leavings()
