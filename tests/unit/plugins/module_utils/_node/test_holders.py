# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a folder, on this machine's own processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._node.holders import (
    holders,
    is_locked,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "etcd"
    (found / "member" / "snap").mkdir(parents=True)
    (found / "member" / "snap" / "db").write_bytes(b"db")
    return found


@contextlib.contextmanager
def process(code: str, *argv: str, name: str = "holder", **env: str) -> t.Iterator[int]:
    source = f"import os, sys; {code}; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [name, "-c", source, *argv],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **env},
    ) as running:
        try:
            assert running.stdout and running.stdout.readline() == b"\n"
            yield running.pid
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("code", "flag", "how"),
    [
        ("f = open(sys.argv[1] + '/member/snap/db')", "{}", "has files of it open"),
        ("f = os.open(sys.argv[1] + '/member', os.O_RDONLY)", "{}", "has files of it open"),
        ("os.chdir(sys.argv[1] + '/member/snap')", "{}", "works in it"),
        ("pass", "--data-dir={}", "is told to use it"),
        ("pass", "-data-dir={}", "is told to use it"),
        ("pass", "--wal-dir={}/../etcd", "is told to use it"),
    ],
)
def test_holders_finds(folder: Path, code: str, flag: str, how: str) -> None:
    with process(code, flag.format(folder)) as pid:
        (found,) = holders([str(folder.parent / "absent"), str(folder)])
        assert (found.pid, found.how) == (pid, how)
        assert str(found).endswith(f"(pid {pid}, {how})")
    assert holders([str(folder)]) == ()


def test_holders_lets_go_of_what_only_looks_like_it(folder: Path) -> None:
    """A path that is told to no flag, a sibling, and our own open files."""
    sibling = folder.parent / "etcd2"
    sibling.mkdir()
    told = (str(folder), f"--data-dir={sibling}", f"--config={folder}")
    with process("pass", *told), (folder / "member" / "snap" / "db").open():
        assert holders([str(folder)]) == ()
    with process("pass", ETCD_DATA_DIR=str(folder)):
        assert holders([str(folder)]) == ()  # a shell may have that; an etcd would be one
    assert holders([str(folder / "absent")]) == ()


def test_is_locked_tells_of_a_lock_and_takes_none(folder: Path) -> None:
    database = folder / "member" / "snap" / "db"
    assert not is_locked(str(database)) and not is_locked(str(folder / "absent"))
    for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
        with database.open("rb") as source:
            fcntl.flock(source, kind)
            assert is_locked(str(database))
        assert not is_locked(str(database))
