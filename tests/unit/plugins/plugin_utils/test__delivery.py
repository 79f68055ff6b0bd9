# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller plans to deliver, and whose deliveries are nobody's any more."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    entries,
    manifest,
    names,
    owner,
    trust,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    OptionInvalid,
    SpaceMissing,
)
from ansible_collections.controlplane.etcd.plugins.plugin_utils import _delivery

NOW = dt.datetime(2026, 11, 23, 14, 50, tzinfo=dt.timezone.utc)
ENTRY = "20261123T145000Z-7c9e1a2b"
AGE = manifest.Encryption("age", ("age1x",))
OPEN = manifest.Encryption("none", ())


def file(name: str, part: str, host: str | None = None, *, sealed: bool = True) -> manifest.File:
    return manifest.File(name, part, 1 << 20, "0" * 64, "zstd", AGE if sealed else OPEN, host)


def tool(name: str, version: str, platform: str = "linux-amd64") -> manifest.Tool:
    path = f"tools/{name}-{version}-{platform}/{name}"
    return manifest.Tool(name, version, platform, path, 5, "0" * 64)


FILES = (
    file("data.db.zst.age", "data"),
    file("catalog.json.zst.age", "data"),
    file("encryption.tar.zst.age", "encryption"),
    file("pki/cp1.tar.zst.age", "pki", "cp1"),
    file("pki/cp2.tar.zst.age", "pki", "cp2"),
    file("RESTORE.txt", "text", sealed=False),
)


def entry_of(
    version: str = "3.6.16",
    *,
    files: tuple[manifest.File, ...] = FILES,
    tools: tuple[manifest.Tool, ...] = (),
) -> entries.Entry:
    found = manifest.Manifest(
        id=ENTRY,
        created_at="2026-11-23T14:50:00Z",
        collection_version="0.1.0",
        mode="regular",
        cluster=manifest.Cluster("prod", "main", manifest.Identity(None), "1", (), ()),
        etcd=manifest.EtcdVersions(version),
        kubernetes=manifest.Kubernetes(0, {}, {}, version="v1.36.3"),
        snapshot=manifest.Snapshot(1, 1, "0" * 64, 1, manifest.SourceMember("1", "cp1")),
        files=files,
        checks=(),
        tools=tools,
    )
    return entries.Entry(ENTRY, names.Prefix("prod"), trust.TrustState.TRUSTED, "", found)


def delivered(*parts: str, host: str | None = None) -> list[str]:
    return [file.name for file in _delivery.files_of(entry_of(), parts, host)]


def test_files_of_are_those_of_the_parts_and_of_the_host() -> None:
    assert delivered("data") == ["data.db.zst.age", "catalog.json.zst.age"]
    assert delivered("encryption") == ["encryption.tar.zst.age"]
    assert delivered("pki") == ["pki/cp1.tar.zst.age", "pki/cp2.tar.zst.age"]
    assert delivered("pki", host="cp2") == ["pki/cp2.tar.zst.age"]
    with pytest.raises(ArchiveError, match="has no kit of host cp3; it has those of cp1, cp2"):
        delivered("pki", host="cp3")
    bare = entry_of(files=FILES[:1])
    assert _delivery.files_of(bare, ["data", "encryption"], None) == [FILES[0]]
    with pytest.raises(ArchiveError, match=f"Entry {ENTRY} has no kit"):
        _delivery.files_of(bare, ["pki"], None)


def test_everything_is_sealed_in_a_delivery() -> None:
    assert _delivery.delivered_name(FILES[0]) == "data.db.zst.age"
    assert _delivery.delivered_name(file("data.db.zst", "data", sealed=False)) == "data.db.zst.age"


def test_tools_of_are_those_of_the_platform_and_etcdutl_is_what_restores() -> None:
    mixed = (
        tool("etcd", "3.6.16", "linux-arm64"),
        tool("etcd", "3.6.16"),
        tool("etcdutl", "3.6.16"),
    )
    found = _delivery.tools_of(entry_of(tools=mixed), ["etcd", "etcdutl", "etcd"], "linux-amd64")
    assert [(each.name, each.platform) for each in found] == [
        ("etcd", "linux-amd64"),
        ("etcdutl", "linux-amd64"),
    ]
    old = entry_of("3.4.34", tools=(tool("etcdctl", "3.4.34"),))
    assert [each.name for each in _delivery.tools_of(old, ["etcdutl"], "linux-amd64")] == [
        "etcdctl"
    ]
    both = _delivery.tools_of(old, ["etcdutl", "etcdctl"], "linux-amd64")
    assert len(both) == 1


@pytest.mark.parametrize(
    ("wished", "platform", "words"),
    [
        (
            "etcd",
            "linux-arm64",
            "has no etcd for linux-arm64, only for linux-amd64. Have etcd 3.6.16",
        ),
        (
            "etcdutl",
            "linux-amd64",
            "has no etcdutl for linux-amd64. Have etcdutl 3.6.16 on the node",
        ),
        (
            "kube-apiserver",
            "linux-amd64",
            "has no kube-apiserver for linux-amd64. Have kube-apiserver v1.36.3 .* internal mirror "
            "with its sha256; etcd_backup_include_apiserver",
        ),
    ],
)
def test_tools_of_says_what_to_do_about_a_missing_one(
    wished: str, platform: str, words: str
) -> None:
    with pytest.raises(ArchiveError, match=words):
        _delivery.tools_of(entry_of(tools=(tool("etcd", "3.6.16"),)), [wished], platform)


def me(**changes: t.Any) -> owner.Owner:
    return dataclasses.replace(owner.of_process(os.getpid(), now=NOW), **changes)


def lying(
    path: str, by: owner.Owner | None, label: str = "ours", age: int = 60
) -> dict[str, t.Any]:
    marks = _delivery.own_marks(by) if by else None
    return {"path": path, "label": label, "age_seconds": age, "owner": marks}


def test_own_marks_name_neither_host_nor_machine() -> None:
    marks = _delivery.own_marks(me())
    assert sorted(marks) == ["boot_id", "pid", "pid_namespace", "start_ticks", "started_at"]


def test_stale_are_those_of_dead_runs_from_here_and_what_is_a_day_old() -> None:
    here = me()
    seen = [
        lying("living", here),
        lying("dead", me(start_ticks=1)),
        lying("gone", me(pid=1 << 22)),
        lying("before the boot", me(boot_id="other")),
        lying("of another container", me(pid_namespace="other")),
        lying("of somebody else", me(start_ticks=1), label="theirs"),
        lying("of nobody, new", None, age=5),
        lying("of nobody", None, age=100),
        lying("old", here, label="theirs", age=86_400),
    ]
    found = _delivery.stale(seen, me=here, label="ours", now=NOW)
    assert found == ["dead", "gone", "before the boot", "of nobody", "old"]
    odd = {**lying("odd", None, age=100), "owner": {"pid": "x", "started_at": 5}}
    assert _delivery.stale([odd], me=here, label="ours", now=NOW) == ["odd"]


def test_check_room_says_both_figures() -> None:
    _delivery.check_room(ENTRY, "/var/tmp", "scratch", 1000, 2 << 20)
    with pytest.raises(SpaceMissing, match="into /var/tmp on scratch: 5000000 bytes are .*, 7 are"):
        _delivery.check_room(ENTRY, "/var/tmp", "scratch", 5_000_000, 7)


@pytest.mark.parametrize("proc", [True, False])
def test_spooled_is_read_by_its_path_and_gone_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, proc: bool
) -> None:
    if not proc:  # as on macOS
        monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    with _delivery._spooled(str(tmp_path)) as (spool, path):
        spool.write(b"sealed")
        spool.flush()
        assert Path(path).read_bytes() == b"sealed"
        assert Path(path).stat().st_mode & 0o777 == 0o600
        assert [str(each) for each in tmp_path.iterdir()] == ([] if proc else [path])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("proc", [True, False])
def test_spooled_says_where_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, proc: bool
) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda _path: proc)
    where = str(tmp_path / "missing")
    said = f"spooled into {where} on the controller: No such"
    with pytest.raises(OptionInvalid, match=said), _delivery._spooled(where):
        pass
