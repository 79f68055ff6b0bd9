# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program says of itself, and its last words; real tools are tried in tests/integration."""

from __future__ import annotations

import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EtcdToolError,
    RestoreFailed,
    RestoreRefused,
    SpaceMissing,
    ToolUnusable,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd import etcdutl

# As etcdutl 3.5.35 and etcdctl 3.4.23 print it, shortened.
NEW = """Flags:
      --bump-revision uint                   How much to increase the latest revision after restore
      --data-dir string                      Path to the output data directory
      --initial-cluster string               Initial cluster configuration
      --initial-cluster-token string         Initial cluster token
      --initial-memory-map-size uint         Initial memory map size
      --mark-compacted                       Mark the latest revision
      --name string                          Human-readable name for this member
"""
OLD = """OPTIONS:
      --data-dir=""                  Path to the data directory
  -h, --help[=false]                 help for restore
      --initial-cluster="default"    Initial cluster configuration
      --initial-cluster-token="etcd" Initial cluster token
      --name="default"               Human-readable name
"""
MEMBER = etcdutl.NewMember("n1", "n1=http://a:1", "http://a:1", "tok")


@pytest.fixture
def program(tmp_path: Path) -> t.Callable[..., str]:
    """Write a program of somebody else's that says this."""

    def make(version: str, flags: str, does: str = "exit 0") -> str:
        path = tmp_path / "tool"
        (tmp_path / "help").write_text(flags)
        path.write_text(
            f"#!/bin/sh\ncase \"$*\" in\nversion) echo '{version}';;\n"
            f"*--help) cat {tmp_path}/help;;\n*) {does};;\nesac\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


def test_probe_reads_what_a_tool_takes(program: t.Callable[..., str]) -> None:
    new = etcdutl.probe(program("etcdutl version: 3.5.35\nAPI version: 3.5", NEW))
    assert (new.name, new.version, new.minor) == ("etcdutl", "3.5.35", "3.5")
    assert new.can_bump and not new.wants_absent
    old = etcdutl.probe(program("etcdctl version: 3.4.23\nAPI version: 3.4", OLD))
    assert (old.name, old.minor, old.can_bump, old.wants_absent) == ("etcdctl", "3.4", False, True)
    with pytest.raises(ToolUnusable, match="3.4.23, which knows no --bump-revision"):
        old.check_bump()
    # A backport counts by what it takes.
    assert etcdutl.probe(program("etcdctl version: 3.4.27", NEW)).can_bump


@pytest.mark.parametrize(
    ("version", "flags", "words"),
    [
        ("", NEW, "is not etcdutl or etcdctl"),
        ("etcd Version: 3.6.16", NEW, "is not etcdutl or etcdctl"),
        ("etcdctl version: 3.6.16", "Usage:\n", "restores no snapshots"),
        ("x" * 5000, NEW, "…"),
    ],
)
def test_probe_names_what_is_none(
    program: t.Callable[..., str], version: str, flags: str, words: str
) -> None:
    path = program(version, flags)
    with pytest.raises(ToolUnusable) as raised:
        etcdutl.probe(path)
    assert words in str(raised.value) and path in str(raised.value) and raised.value.hint
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("path", ["/nowhere/etcdutl", "/etc/passwd", "/"])
def test_probe_names_what_cannot_be_run(path: str) -> None:
    with pytest.raises(ToolUnusable, match=f"{path} can't be run on this host"):
        etcdutl.probe(path)


@pytest.mark.parametrize(
    ("does", "kind", "words"),
    [
        (
            "echo a; echo 'Error: data-dir exists' >&2; echo '{}' >&2; exit 1",
            RestoreFailed,
            ": data-dir exists.",
        ),
        (
            "echo 'panic: invalid page'; echo 'goroutine 1'; exit 2",
            RestoreFailed,
            "panic: invalid page.",
        ),
        ("exit 3", RestoreFailed, "exit status 3, no words"),
        ("kill -9 $$", RestoreFailed, "ended by SIGKILL"),
        (
            "echo 'Error: write db: no space left on device'; exit 1",
            SpaceMissing,
            "filled up while",
        ),
        ("exec sleep 30", RestoreFailed, "within 0.5 s"),
    ],
    ids=["an error", "a panic", "no words", "killed", "no space", "hangs"],
)
def test_restore_says_the_tools_last_words(
    program: t.Callable[..., str], tmp_path: Path, does: str, kind: type[EtcdToolError], words: str
) -> None:
    tool = etcdutl.probe(program("etcdutl version: 3.5.35", NEW, does))
    with pytest.raises(kind) as raised:
        etcdutl.restore(
            tool, "/s.db", MEMBER, data_dir=str(tmp_path / "d"), deadline=0.5, named="a.db"
        )
    assert words in str(raised.value) and "a.db" in str(raised.value)
    assert str(tmp_path / "d") in str(raised.value) and raised.value.hint


def test_restore_gives_the_tool_what_it_takes(
    program: t.Callable[..., str], tmp_path: Path
) -> None:
    said = tmp_path / "said"
    does = f'for each in "$@"; do echo "$each"; done > {said}; env > {said}.env'
    new = etcdutl.probe(program("etcdutl version: 3.5.35", NEW, does))
    into = str(tmp_path / "d")
    etcdutl.restore(new, "/s.db", MEMBER, data_dir=into, wal_dir="/w", bump=5, deadline=20)
    assert said.read_text().splitlines() == [
        "snapshot",
        "restore",
        "/s.db",
        f"--data-dir={into}",
        "--name=n1",
        "--initial-cluster=n1=http://a:1",
        "--initial-advertise-peer-urls=http://a:1",
        "--initial-cluster-token=tok",
        "--wal-dir=/w",
        "--bump-revision=5",
        "--mark-compacted",
        "--initial-memory-map-size=67108864",
    ]
    assert "ETCDCTL_API=3\n" in Path(f"{said}.env").read_text()
    old = etcdutl.probe(program("etcdctl version: 3.4.23", OLD, does))
    etcdutl.restore(old, "/s.db", MEMBER, data_dir=into, skip_hash_check=True, deadline=20)
    assert said.read_text().splitlines()[-1] == "--skip-hash-check"
    Path(into).mkdir()
    with pytest.raises(RestoreRefused, match="into a new folder only"):
        etcdutl.restore(old, "/s.db", MEMBER, data_dir=into, deadline=20)
    etcdutl.restore(new, "/s.db", MEMBER, data_dir=into, deadline=20)
    (Path(into) / "member").mkdir()
    with pytest.raises(RestoreRefused, match="is there already"):
        etcdutl.restore(new, "/s.db", MEMBER, data_dir=into, deadline=20)
    with pytest.raises(ToolUnusable):
        etcdutl.restore(old, "/s.db", MEMBER, data_dir=f"{into}2", bump=5, deadline=20)
