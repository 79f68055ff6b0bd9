# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_restore on real members of every etcd: snapshot, staged, swapped, served, back, committed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pyrage
import pytest
import zstandard
from conftest import Reliability

from lab import restoring, versions
from lab.loopback import Cluster
from lab.module import run_module
from lab.restoring import Bench, recorded

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

    # Not raised, the very same hash; and what is committed is served on.
    plain = {name: params[name] for name in params if name != "bump_revision"}
    asked(**plain, id="plain")
    cluster.stop(name)
    asked(**plain, state="swapped")
    cluster.start(name)
    assert (keys(cluster), hash_kv(cluster)) == (then, hashed)
    assert asked(**plain, state="committed")["changed"] is True
    assert not list(member.data_dir.parent.glob("*before*")) and keys(cluster) == then
    reliability(
        f"etcd_restore: a member of etcd {minor} restored, served by it, and taken back",
        "keys, revision, member and cluster ID are those that were told; owner and mode are kept; "
        "then the old keys are back, and what was served lies beside them",
        area="restore",
    )


def test_a_sealed_snapshot_is_restored_without_a_clear_copy(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"{identity}\n")
    (tmp_path / "wrong").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    packed = zstandard.compress(bench.snapshot.read_bytes())
    sealed = tmp_path / "data.db.zst.age"
    sealed.write_bytes(pyrage.encrypt(packed, [identity.to_public()]))
    bench.snapshot.unlink()
    bench.snapshot = sealed
    spool = {"spool_dir": str(tmp_path)}
    assert "no identity is given" in bench.refused(**spool)["msg"]
    wrong = bench.refused(**spool, identities=[str(tmp_path / "wrong")])
    assert str(sealed) in wrong["msg"]
    before = bench.shape()
    bench.asked(**spool, identities=[str(tmp_path / "identity")])
    there = {name for name in bench.shape() if not name.startswith(("journal", "etcd.restore-r1"))}
    assert there == set(before)
    # Staged and further, the key is needed no more; a wrong one says nothing against it.
    sha256 = bench.asked(sha256=hashlib.sha256(recorded(bench.version)[:-32]).hexdigest())
    assert sha256["changed"] is False
    bench.asked("swapped")
    assert bench.holds == "new"


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


def test_every_state_is_foretold_done_once_and_left_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, wal="wal")
    bench.live()
    orderly(bench, "staged")
    assert bench.holds == "old"
    orderly(bench, "rolled_back")
    assert bench.holds == "old" and not bench.leavings()
    bench.asked("staged")
    orderly(bench, "swapped")
    assert bench.holds == "new"
    orderly(bench, "rolled_back")
    assert bench.holds == "old" and not bench.leavings()
    bench.asked("staged")
    bench.asked("swapped")
    orderly(bench, "committed")
    assert bench.holds == "new" and not bench.leavings()
    # Asked for again from its beginning, as a play that is run once more does.
    for state in ("staged", "swapped", "committed"):
        assert bench.asked(state)["changed"] is False


@pytest.mark.parametrize("wal", ["", "etcd/wal", "etcd/member/wal"])
def test_a_wal_goes_with_its_folder(tmp_path: Path, wal: str) -> None:
    bench = Bench(tmp_path, wal=wal)
    bench.live()
    folder = tmp_path / (wal or "etcd/member/wal")
    before = [path.stat().st_ino for path in folder.iterdir()]
    bench.asked("staged")
    bench.asked("swapped")
    assert bench.holds == "new"
    assert [path.name for path in folder.iterdir()] == ["0000000000000000-0000000000000000.wal"]
    assert [path.stat().st_ino for path in folder.iterdir()] != before
    bench.asked("rolled_back")
    assert bench.holds == "old" and not bench.leavings()
    assert [path.stat().st_ino for path in folder.iterdir()] == before


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


def test_what_was_staged_and_is_lost_is_staged_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.live()
    bench.asked("staged")
    shutil.rmtree(tmp_path / "etcd.restore-r1")
    assert "is not what this restore left there" in bench.refused("swapped")["msg"]
    assert bench.asked("staged")["changed"] is True
    bench.asked("swapped")
    assert bench.holds == "new"


def test_labels_and_modes_are_those_of_the_old_data(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.live()
    labels = {"": b"etcd_top_t", "member": b"etcd_folder_t", "member/snap/db": b"etcd_file_t"}
    bench.data.chmod(0o711)
    if os.geteuid() == 0:  # xattrs of security.* are root's
        for name, label in labels.items():
            os.setxattr(bench.data / name, "security.selinux", label)
    bench.asked("staged")
    bench.asked("swapped")
    assert bench.holds == "new" and bench.data.stat().st_mode & 0o777 == 0o711
    if os.geteuid() == 0:
        inner = {path: labels["member/snap/db"] for path in bench.data.rglob("*") if path.is_file()}
        inner |= {path: labels["member"] for path in bench.data.rglob("*") if path.is_dir()}
        for path, label in {bench.data: labels[""], **inner}.items():
            assert os.getxattr(path, "security.selinux") == label, path
