# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcd_restore refuses, with what to do, and nothing changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from conftest import Reliability

from lab import binaries, versions
from lab.restoring import Bench, recorded

UID = "0c2f2a0e-6d8c-4d55-9d6b-5f0c1a7a9f5e"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    found = Bench(tmp_path)
    found.live()
    return found


def flipped(image: bytes) -> bytes:
    """Damage the root page of the tree, and give the file a sha256 that fits again."""
    body = bytearray(image[:-32])
    body[2 * 4096 + 8] ^= 0xFF
    for page in range(2, len(body) // 4096):
        struct.pack_into("<H", body, page * 4096 + 8, 0x77)
    return bytes(body) + hashlib.sha256(body).digest()


Change = t.Callable[[Bench], None]
FILES: dict[str, tuple[t.Callable[[bytes], bytes], str, str]] = {
    "cut off": (lambda image: image[:-5000], "database_invalid", "truncated"),
    "one bit flipped": (
        lambda image: image[:20000] + bytes([image[20000] ^ 1]) + image[20001:],
        "snapshot_invalid",
        "damaged",
    ),
    "damaged before it was made": (flipped, "database_invalid", "page"),
    "without its sha256": (lambda image: image[:-32], "restore_refused", "skip_hash_check"),
    "empty": (lambda _image: b"", "snapshot_invalid", "empty"),
    "no snapshot": (lambda _image: b"no" * 5000, "database_invalid", "not a bbolt database"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_refused(bench: Bench, name: str, reliability: Reliability) -> None:
    damage, kind, words = FILES[name]
    bench.snapshot.write_bytes(damage(bench.snapshot.read_bytes()))
    said = bench.refused()
    assert said["error"]["kind"] == kind and words in said["msg"], said["msg"]
    assert str(bench.snapshot) in said["msg"]
    reliability(
        f"etcd_restore: a snapshot that is {name}",
        "refused, nothing changed",
        area="restore",
        message=said["msg"],
    )


def test_a_db_file_is_restored_if_that_is_allowed(bench: Bench) -> None:
    bench.snapshot.write_bytes(bench.snapshot.read_bytes()[:-32])
    bench.asked("staged", skip_hash_check=True)
    bench.asked("swapped")
    assert bench.holds == "new"


def test_a_false_sha256_is_taken_if_that_is_allowed_but_no_rest(bench: Bench) -> None:
    image = bench.snapshot.read_bytes()
    bench.snapshot.write_bytes(image + b"x")
    assert "goes on for 33 bytes" in bench.refused(skip_hash_check=True)["msg"]
    bench.snapshot.write_bytes(image[:-32] + bytes(32))
    assert "damaged" in bench.refused()["msg"]
    bench.asked(skip_hash_check=True)


OPTIONS: dict[str, tuple[dict[str, t.Any], str, str]] = {
    "another image than the manifest names": (
        {"sha256": "0" * 64},
        "restore_refused",
        "is another one: its image has sha256",
    ),
    "another cluster's": (
        {"kube_system_uid": UID},
        "restore_refused",
        f"another cluster's: its kube-system namespace has UID none, expected was {UID}",
    ),
    "an etcd of an older minor than the snapshot": (
        {"etcd_version": "3.5.35"},
        "restore_refused",
        "an etcd 3.5 can't serve it",
    ),
    "an etcd of a newer minor than the tool": (
        {"etcd_version": "3.7"},
        "restore_refused",
        "etcdutl 3.6.16; this is to be served by etcd 3.7",
    ),
    "mark_compacted without bump_revision": (
        {"mark_compacted": True},
        "option_invalid",
        "both or neither",
    ),
    "bump_revision without mark_compacted": (
        {"bump_revision": "5", "mark_compacted": False},
        "option_invalid",
        "both or neither",
    ),
    "bump_revision that is no number": (
        {"bump_revision": "-1"},
        "option_invalid",
        "'-1' is neither auto nor a number above 0",
    ),
    "bump_revision beyond etcd's numbers": (
        {"bump_revision": str(1 << 62)},
        "option_invalid",
        "beyond",
    ),
    "a member that initial_cluster has not": ({"name": "n9"}, "option_invalid", "'n9'"),
    "peer URLs that initial_cluster has not": (
        {"initial_advertise_peer_urls": "http://127.0.0.1:9"},
        "option_invalid",
        "http://127.0.0.1:9 are not the URLs",
    ),
    "a peer URL that is none": (
        {"initial_cluster": "n1=127.0.0.1:2380"},
        "option_invalid",
        "'127.0.0.1:2380' is no peer URL",
    ),
    "a tool that is none": ({"etcdutl": "/bin/true"}, "tool_unusable", "/bin/true"),
    "a tool that is not there": ({"etcdutl": "/nowhere"}, "tool_unusable", "No such file"),
    "no snapshot there": ({"snapshot": "/nowhere/a.db"}, "snapshot_invalid", "/nowhere/a.db"),
    "a data folder whose parent is not there": (
        {"data_dir": "/nowhere/at/all"},
        "restore_refused",
        "/nowhere/at is not there",
    ),
    "a data folder in memory": ({"data_dir": "/dev/shm/etcd"}, "restore_refused", "in memory"),
    "an ID that is a path": ({"id": "../x"}, "option_invalid", "'../x'"),
    "a user that is not there": (
        {"owner": "nobody-of-that-name", "data_dir": "/var/tmp/etcd-none"},
        "option_invalid",
        "nobody-of-that-name",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_what_does_not_fit_is_refused(bench: Bench, name: str, reliability: Reliability) -> None:
    options, kind, words = OPTIONS[name]
    with_hint = bench.ask(**options)
    assert with_hint.get("failed") and with_hint["error"]["kind"] == kind, with_hint
    assert words in with_hint["msg"], with_hint["msg"]
    assert bench.refused(**options, _ansible_check_mode=True)["msg"] == with_hint["msg"]
    assert not bench.leavings() and bench.holds == "old"
    reliability(
        f"etcd_restore: {name}",
        "refused, nothing changed",
        area="restore",
        message=with_hint["msg"],
    )


@pytest.mark.parametrize("version", versions.ETCD_ALL)
def test_the_tool_of_another_minor_is_refused(
    tmp_path: Path, version: str, reliability: Reliability
) -> None:
    bench = Bench(tmp_path, version=version)
    for other in versions.ETCD_ALL:
        if other == version:
            continue
        said = bench.refused(etcdutl=str(binaries.get(other).snapshot_tool))
        assert said["error"]["kind"] == "restore_refused"
        assert f" {other}; this is to be served by etcd {versions.minor(version)}" in said["msg"]
    reliability(
        f"etcd_restore: tools of other minors for a snapshot of etcd {versions.minor(version)}",
        "each refused, nothing changed",
        area="restore",
        message=said["msg"],
    )


def test_a_tool_that_restores_or_bumps_nothing_is_refused(
    tmp_path: Path, reliability: Reliability
) -> None:
    said = Bench(tmp_path).refused(etcdutl=str(binaries.get("3.6").etcdctl))
    assert "which restores no snapshots" in said["msg"]
    old = Bench(tmp_path, version=versions.ETCD_DEBIAN)
    said = old.refused(bump_revision="auto")
    assert said["error"]["kind"] == "tool_unusable"
    assert "etcdctl 3.4.23, which knows no --bump-revision" in said["msg"]
    reliability(
        "etcd_restore: a revision to raise, and a tool that is too old for it",
        "refused, nothing changed",
        area="restore",
        message=said["msg"],
    )


def test_several_members_need_one_token(bench: Bench) -> None:
    two = "n1=http://127.0.0.1:2380,n2=http://127.0.0.2:2380"
    params = {"initial_cluster": two, "_ansible_check_mode": True}
    assert bench.asked(**params)["restored"]["initial_cluster_token"] == "controlplane-etcd-r1"
    said = bench.refused(**params, id=None)
    assert "one fresh initial_cluster_token" in said["msg"]
    assert bench.asked(**params, id=None, initial_cluster_token="t1")["restored"]["members"][1:]


def test_the_old_identity_is_not_made_again(bench: Bench, reliability: Reliability) -> None:
    # The recorded cluster's own URLs and token.
    said = bench.ask(_ansible_check_mode=True)
    assert not said.get("failed")
    from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.facts import read_facts

    image = recorded(bench.version)[:-32]
    member = read_facts(dict(Database(image).buckets())).members[0]
    same = {
        "name": member.name,
        "initial_cluster": f"{member.name}={member.peer_urls[0]}",
        "initial_cluster_token": "etcd-cluster",
    }
    refused = bench.refused(**same)
    assert f"Member {member.id} of the snapshot would come back" in refused["msg"]
    reliability(
        "etcd_restore: URLs and token that give the old cluster's IDs again",
        "refused, nothing changed",
        area="restore",
        message=refused["msg"],
    )


def test_folders_that_are_no_members_are_refused(tmp_path: Path, reliability: Reliability) -> None:
    bench = Bench(tmp_path)
    bench.data.mkdir()
    (bench.data / "photos").mkdir()
    said = bench.refused()
    assert "is no data folder of etcd: it has no member/, but 'photos'" in said["msg"]
    reliability(
        "etcd_restore: a data folder that holds other things",
        "refused, nothing changed",
        area="restore",
        message=said["msg"],
    )
    (bench.data / "photos").rmdir()
    bench.data.rmdir()
    bench.data.write_text("a file")
    assert "Not a directory" in bench.refused()["msg"]
    bench.data.unlink()
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / "notes.txt").write_text("")
    said = bench.refused(wal_dir=str(tmp_path / "wal"))
    assert "is no WAL folder of etcd: it holds 'notes.txt'" in said["msg"]


def test_a_linked_wal_is_not_lost_unseen(bench: Bench) -> None:
    elsewhere = bench.root / "elsewhere"
    (bench.data / "member" / "wal").rename(elsewhere)
    (bench.data / "member" / "wal").symlink_to(elsewhere)
    assert "member/wal is a link" in bench.refused()["msg"]
    bench.asked(wal_dir=str(elsewhere))
    bench.asked("swapped")
    assert bench.holds == "new" and list(elsewhere.glob("*.wal"))
    bench.asked("rolled_back")
    assert (bench.data / "member" / "wal").is_symlink() and list(elsewhere.glob("*.wal"))


def test_what_is_in_the_way_is_named(bench: Bench, reliability: Reliability) -> None:
    for name in ("etcd.restore-r1", "etcd.before-r1", "etcd.undone-r1"):
        (bench.root / name).mkdir()
        said = bench.refused()
        assert f"{bench.root / name} is there already" in said["msg"]
        (bench.root / name).rmdir()
    reliability(
        "etcd_restore: a folder of that name is there already",
        "refused, nothing changed",
        area="restore",
        message=said["msg"],
    )


def test_another_restore_does_not_come_between(bench: Bench, reliability: Reliability) -> None:
    bench.asked("staged")
    said = bench.refused(bump_revision="7")
    assert (
        "is staged already, with other options: bump_revision was None, now it is 7" in said["msg"]
    )
    bench.snapshot.write_bytes(recorded(bench.version, "tombstone"))
    assert "sha256 was" in bench.refused()["msg"]
    for state in ("staged", "swapped", "committed", "rolled_back"):
        said = bench.refused(state, id="r2")
        assert "Restore r1" in said["msg"] and "is under way (staged since" in said["msg"]
    assert "can't be committed: it is staged, not swapped" in bench.refused("committed")["msg"]
    reliability(
        "etcd_restore: another restore of the folder is under way",
        "refused with its ID, nothing changed",
        area="restore",
        message=said["msg"],
    )
    bench.asked("rolled_back", id=None)
    for state in ("swapped", "committed"):
        assert "it was rolled back" in bench.refused(state)["msg"]
        assert "nothing is staged" in bench.refused(state, id="r2")["msg"]


@pytest.mark.parametrize("damage", ["", "{", '{"schema": "other"}', "null", "[]"])
def test_a_journal_that_is_none_is_named(bench: Bench, damage: str) -> None:
    path = Path(bench.asked()["journal"]["path"])
    path.write_text(damage)
    for state in ("staged", "swapped", "rolled_back", "committed"):
        said = bench.refused(state)
        assert str(path) in said["msg"] and "can't be used" in said["msg"]


def test_a_journal_folder_of_others_is_refused(bench: Bench) -> None:
    bench.journal_dir.mkdir(mode=0o700)
    bench.journal_dir.chmod(0o777)
    assert "others than this user may write" in bench.refused()["msg"]


@contextlib.contextmanager
def holding(code: str, *argv: str, **keywords: t.Any) -> t.Iterator[subprocess.Popen[bytes]]:
    """Run a process that holds something until the end of the block."""
    source = f"import os, sys, time; {code}; print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        ["holder", "-c", source, *argv],
        executable=sys.executable,
        stdout=subprocess.PIPE,
        **keywords,
    ) as process:
        try:
            assert process.stdout and process.stdout.readline()
            yield process
        finally:
            process.kill()


HOLDERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "a file of it open": (
        "f = open(sys.argv[1] + '/member/snap/db')",
        ("DATA",),
        "has files of it open",
    ),
    "the folder open": ("f = os.open(sys.argv[1], os.O_RDONLY)", ("DATA",), "has files of it open"),
    "its WAL open": ("f = os.open(sys.argv[1] + '/member/wal', 0)", ("DATA",), "has files of it"),
    "a shell in it": ("os.chdir(sys.argv[1] + '/member')", ("DATA",), "works in it"),
    "told to use it": ("pass", ("--data-dir=DATA",), "is told to use it"),
    "told to use it, two words": ("pass", ("--data-dir", "DATA"), "is told to use it"),
    "told by another path": ("pass", ("--data-dir=LINK",), "is told to use it"),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_a_folder_that_is_held_is_not_swapped(
    bench: Bench, name: str, reliability: Reliability
) -> None:
    code, argv, words = HOLDERS[name]
    link = bench.root / "link"
    link.symlink_to(bench.data)
    told = [each.replace("DATA", str(bench.data)).replace("LINK", str(link)) for each in argv]
    bench.asked("staged")
    with holding(code, *told) as process:
        for mode in (True, False):
            said = bench.refused("swapped", _ansible_check_mode=mode)
            assert f"(pid {process.pid}, {words}" in said["msg"], said["msg"]
    bench.asked("swapped")
    with holding(code, *told) as process:
        assert f"(pid {process.pid}" in bench.refused("rolled_back")["msg"]
    reliability(
        f"etcd_restore: swapping a folder that a process holds, {name}",
        "refused, naming the process",
        area="restore",
        message=said["msg"],
    )
    bench.asked("rolled_back")


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace of a container's needs root")
def test_a_holder_in_another_mount_namespace_is_found(bench: Bench) -> None:
    inside = bench.root / "container"
    inside.mkdir()
    bench.asked("staged")
    script = 'mount --bind "$0" "$1" && exec sleep 60 < "$1/member/snap/db"'
    argv = ["unshare", "-m", "sh", "-c", script, str(bench.data), str(inside)]
    with subprocess.Popen(argv) as process:
        try:
            end = time.monotonic() + 20
            while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
                assert time.monotonic() < end
                time.sleep(0.05)
            assert not list(inside.iterdir())  # not mounted for us
            assert f"sleep (pid {process.pid}" in bench.refused("swapped")["msg"]
        finally:
            process.kill()
    bench.asked("swapped")


def test_old_data_is_not_removed_under_an_etcd(bench: Bench) -> None:
    bench.asked("staged")
    bench.asked("swapped")
    with holding("f = open(sys.argv[1])", str(bench.root / "etcd.before-r1/member/OLD")) as process:
        assert f"(pid {process.pid}" in bench.refused("committed")["msg"]
    bench.asked("committed")
