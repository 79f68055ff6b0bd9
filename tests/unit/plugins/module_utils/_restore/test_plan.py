# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a staging will do, and what it refuses: facts in, plan or error out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EtcdToolError,
    RestoreRefused,
    SpaceMissing,
    ToolUnusable,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.etcdutl import Tool
from ansible_collections.controlplane.etcd.plugins.module_utils._node.space import FileSystem
from ansible_collections.controlplane.etcd.plugins.module_utils._restore.bump import BumpWish
from ansible_collections.controlplane.etcd.plugins.module_utils._restore.folders import Folder, Look
from ansible_collections.controlplane.etcd.plugins.module_utils._restore.image import Image
from ansible_collections.controlplane.etcd.plugins.module_utils._restore.members import (
    plan_members,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._restore.places import Places
from ansible_collections.controlplane.etcd.plugins.module_utils._restore.plan import (
    Facts,
    Wish,
    lay_out,
    plan_stage,
)

MIB = 1 << 20
FLAGS = frozenset({"data-dir", "bump-revision", "mark-compacted"})
NOW = dt.datetime(2026, 11, 24, tzinfo=dt.timezone.utc)


def file_system(
    path: str, *, device: int = 1, free: int = 10_000, kind: str = "ext4"
) -> FileSystem:
    return FileSystem(path, "/", kind, device, 100_000 * MIB, free * MIB)


def folder(path: str = "/var/lib/etcd", **changes: t.Any) -> Folder:
    found = Folder(
        path=path,
        entries=("member",),
        is_mount=False,
        look=Look(0, 0, 0o700),
        here=file_system(path),
        beside=file_system(path.rpartition("/")[0]),
    )
    return dataclasses.replace(found, **changes)


IMAGE = Image(
    where="/root/a.db",
    size_bytes=200 * MIB,
    sha256="ab" * 32,
    trailer="passed",
    trailer_bytes=32,
    revision=500,
    key_count=10,
    cluster_version="3.6.0",
    storage_version="3.6.0",
    member_ids=("8e9e05c52164694d",),
    alarms=(),
    kube_system_uid="uid-1",
    object_count=10,
    read_seconds=1.5,
)
WISH = Wish(
    id="r1",
    membership=plan_members(
        "n1",
        initial_cluster="n1=https://10.0.0.1:2380",
        initial_advertise_peer_urls=None,
        token="fresh",
    ),
    bump=BumpWish(None),
    etcd_version=None,
    sha256="AB" * 32,
    kube_system_uid="uid-1",
    skip_hash_check=False,
)
FACTS = Facts(
    data=folder(),
    wal=None,
    places=Places("r1", "/var/lib/etcd", inside=False),
    tool=Tool("/usr/bin/etcdutl", "etcdutl", "3.6.16", "3.6", FLAGS),
    image=IMAGE,
    is_live=True,
    in_the_way=(),
    now=NOW,
)


def image(**changes: t.Any) -> Facts:
    return dataclasses.replace(FACTS, image=dataclasses.replace(IMAGE, **changes))


def tool(version: str, minor: str, flags: frozenset[str] = FLAGS) -> Facts:
    return dataclasses.replace(FACTS, tool=Tool("/t", "etcdutl", version, minor, flags))


def wish(**changes: t.Any) -> Wish:
    return dataclasses.replace(WISH, **changes)


def test_plan_stage_tells_revision_room_and_time() -> None:
    found = plan_stage(WISH, FACTS)
    assert (found.bump_revision, found.revision) == (10**9, 500 + 10**9)
    assert found.etcd_minor == "3.6" and found.warnings == ()
    (room,) = found.space
    assert (room.path, room.needed_bytes) == ("/var/lib", (200 + 128) * MIB)
    assert room.reserve_bytes == 512 * MIB and room.free_bytes == 10_000 * MIB
    assert found.seconds == int(1.5 + 2.097152) + 1
    assert "took 1.5 s just now; writing them is reckoned at 100 MB/s" in found.basis
    assert (
        plan_stage(WISH, dataclasses.replace(FACTS, is_live=False)).space[0].reserve_bytes
        == 64 * MIB
    )
    assert plan_stage(wish(bump=None), FACTS).revision == 500


REFUSED: dict[str, tuple[Wish, Facts, type[EtcdToolError], str]] = {
    "no trailer": (WISH, image(trailer="absent"), RestoreRefused, "has no sha256 behind"),
    "a false trailer": (WISH, image(trailer="failed"), RestoreRefused, "has no sha256 behind"),
    "a rest": (
        wish(skip_hash_check=True),
        image(trailer="failed", trailer_bytes=40),
        RestoreRefused,
        "goes on for 40 bytes",
    ),
    "another image": (wish(sha256="00" * 32), FACTS, RestoreRefused, "is another one"),
    "another cluster": (wish(kube_system_uid="uid-2"), FACTS, RestoreRefused, "another cluster's"),
    "no cluster": (WISH, image(kube_system_uid=None), RestoreRefused, "has UID none"),
    "the old IDs": (
        WISH,
        image(member_ids=(WISH.membership.own_id,)),
        RestoreRefused,
        "under its old ID",
    ),
    "no version": (
        WISH,
        image(cluster_version=None, storage_version=None),
        RestoreRefused,
        "does not say which etcd wrote it",
    ),
    "a newer snapshot": (wish(etcd_version="3.5"), FACTS, RestoreRefused, "can't serve it"),
    "a newer tool": (WISH, tool("3.7.3", "3.7"), RestoreRefused, "to be served by etcd 3.6"),
    "an older tool": (WISH, tool("3.5.35", "3.5"), RestoreRefused, "to be served by etcd 3.6"),
    "no bump": (WISH, tool("3.6.0", "3.6", frozenset()), ToolUnusable, "knows no --bump-revision"),
    "in memory": (
        WISH,
        dataclasses.replace(FACTS, data=folder(here=file_system("/d", kind="tmpfs"))),
        RestoreRefused,
        "lies in memory (tmpfs)",
    ),
    "no parent": (
        WISH,
        dataclasses.replace(FACTS, data=folder(beside=file_system("/var"))),
        RestoreRefused,
        "/var/lib is not there",
    ),
    "in the way": (
        WISH,
        dataclasses.replace(FACTS, in_the_way=("/var/lib/etcd.before-r1",)),
        RestoreRefused,
        "/var/lib/etcd.before-r1 is there already",
    ),
    "no room": (
        WISH,
        dataclasses.replace(FACTS, data=folder(beside=file_system("/var/lib", free=839))),
        SpaceMissing,
        "839.0 MiB free; the restored data takes 328.0 MiB, and 512.0 MiB must stay free for",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_plan_stage_refuses(name: str) -> None:
    asked, facts, kind, words = REFUSED[name]
    with pytest.raises(kind) as raised:
        plan_stage(asked, facts)
    assert words in raised.value.message and raised.value.hint


@pytest.mark.parametrize(
    ("stored", "asked", "minor", "fits"),
    [
        ("3.5.0", None, "3.5", True),
        ("3.5.0", "3.6.16", "3.6", True),
        ("3.5.0", "3.6", "3.5", False),
        ("3.10.0", "3.9", "3.9", False),
        ("3.9.0", "3.10", "3.10", True),
        (None, "3.4", "3.4", True),
    ],
)
def test_plan_stage_wants_one_minor(
    stored: str | None, asked: str | None, minor: str, fits: bool
) -> None:
    facts = dataclasses.replace(
        tool(f"{minor}.1", minor),
        image=dataclasses.replace(IMAGE, cluster_version=stored, storage_version=None),
    )
    if fits:
        assert plan_stage(wish(etcd_version=asked), facts).etcd_minor == minor
        return
    with pytest.raises(RestoreRefused):
        plan_stage(wish(etcd_version=asked), facts)


@pytest.mark.parametrize(
    ("asked", "facts", "words"),
    [
        (wish(bump=None), FACTS, "Set bump_revision to auto"),
        (wish(skip_hash_check=True), image(trailer="absent"), "no valid sha256 of its own"),
        (WISH, image(alarms=("NOSPACE on 1",)), "Alarm NOSPACE on 1 is in the snapshot"),
        (wish(sha256=None, kube_system_uid=None), FACTS, "whose snapshot this must be"),
    ],
)
def test_plan_stage_warns(asked: Wish, facts: Facts, words: str) -> None:
    assert any(words in each for each in plan_stage(asked, facts).warnings)


def test_plan_stage_counts_a_wal_on_its_own_disk_there() -> None:
    wal = folder("/wal/etcd", beside=file_system("/wal", device=2, free=700), entries=())
    facts = dataclasses.replace(
        FACTS, wal=wal, places=Places("r1", "/var/lib/etcd", inside=False, wal_dir="/wal/etcd")
    )
    rooms = plan_stage(WISH, facts).space
    assert [(each.path, each.needed_bytes // MIB) for each in rooms] == [
        ("/var/lib", 200),
        ("/wal", 128),
    ]
    small = dataclasses.replace(wal, beside=file_system("/wal", device=2, free=600))
    with pytest.raises(SpaceMissing, match="file system of /wal: 600.0 MiB free"):
        plan_stage(WISH, dataclasses.replace(facts, wal=small))
    same = dataclasses.replace(wal, beside=file_system("/wal", device=1))
    assert len(plan_stage(WISH, dataclasses.replace(facts, wal=same)).space) == 1


LAYOUTS: dict[str, tuple[Folder, Folder | None, str, str, str | None]] = {
    # data, wal -> live, staged, staged WAL
    "a folder": (folder(), None, "/var/lib/etcd", "/var/lib/etcd.restore-r1", None),
    "not there": (folder(entries=None), None, "/var/lib/etcd", "/var/lib/etcd.restore-r1", None),
    "empty": (folder(entries=()), None, "/var/lib/etcd", "/var/lib/etcd.restore-r1", None),
    "a mount point": (
        folder(is_mount=True, entries=("lost+found", "member")),
        None,
        "/var/lib/etcd/member",
        "/var/lib/etcd/restore-r1/member",
        None,
    ),
    "more than member": (
        folder(entries=("config", "member", "name")),
        None,
        "/var/lib/etcd/member",
        "/var/lib/etcd/restore-r1/member",
        None,
    ),
    "leavings of others": (
        folder(entries=("member", "member.before-r0")),
        None,
        "/var/lib/etcd",
        "/var/lib/etcd.restore-r1",
        None,
    ),
    "a WAL apart": (
        folder(),
        folder("/wal/etcd", entries=("0-0.wal", "1.tmp")),
        "/var/lib/etcd",
        "/var/lib/etcd.restore-r1",
        "/wal/etcd.restore-r1",
    ),
    "a WAL on a mount point": (
        folder(),
        folder("/wal", entries=("0-0.wal", "lost+found"), is_mount=True),
        "/var/lib/etcd",
        "/var/lib/etcd.restore-r1",
        "/wal/restore-r1",
    ),
    "a WAL in the folder": (
        folder(entries=("member", "wal")),
        folder("/var/lib/etcd/wal", entries=("0-0.wal",)),
        "/var/lib/etcd",
        "/var/lib/etcd.restore-r1",
        "/var/lib/etcd.restore-r1/wal",
    ),
    "a WAL in the mount point": (
        folder(entries=("member", "wal"), is_mount=True),
        folder("/var/lib/etcd/wal", entries=("0-0.wal",)),
        "/var/lib/etcd/member",
        "/var/lib/etcd/restore-r1/member",
        "/var/lib/etcd/wal.restore-r1",
    ),
    "the usual WAL by name": (
        folder(is_mount=True),
        folder("/var/lib/etcd/member/wal", entries=("0-0.wal",)),
        "/var/lib/etcd/member",
        "/var/lib/etcd/restore-r1/member",
        "/var/lib/etcd/restore-r1/member/wal",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_lay_out_puts_everything_beside(name: str) -> None:
    data, wal, live, staged, wal_staging = LAYOUTS[name]
    found = lay_out("r1", data, wal)
    assert (found.live, found.staged, found.wal_staging) == (live, staged, wal_staging)
    assert found.aside("before") == f"{live}.before-r1"
    assert Places(**found.to_json()) == found


@pytest.mark.parametrize(
    ("data", "wal", "words"),
    [
        (folder(entries=("photos", "tax")), None, "it has no member/, but 'photos', 'tax'"),
        (folder(entries=tuple("abcde")), None, "'a', 'b', 'c' and 2 more"),
        (folder(), folder("/wal", entries=("a.txt",)), "/wal is no WAL folder of etcd"),
        (folder(links=("member",)), None, "/var/lib/etcd/member is a link"),
        (folder(links=("member/wal",)), None, "/var/lib/etcd/member/wal is a link"),
    ],
)
def test_lay_out_refuses(data: Folder, wal: Folder | None, words: str) -> None:
    with pytest.raises(RestoreRefused) as raised:
        lay_out("r1", data, wal)
    assert words in raised.value.message and raised.value.hint and raised.value.path


def test_lay_out_takes_a_linked_wal_that_is_named() -> None:
    found = lay_out("r1", folder(links=("member/wal",)), folder("/wal", entries=("0-0.wal",)))
    assert found.wal_dir == "/wal"
