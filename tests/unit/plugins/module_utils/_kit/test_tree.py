# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a host's files without being led astray."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import KitError
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.tree import HostTree, shown


def test_resolve_keeps_links_and_stays_in_the_root(tmp_path: Path) -> None:
    (tmp_path / "data/pki").mkdir(parents=True)
    (tmp_path / "data/pki/ca.crt").write_text("x")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/pki").symlink_to("/data/pki")
    (tmp_path / "etc/up").symlink_to("../../../../data")
    tree = HostTree(str(tmp_path))
    found = tree.resolve("/etc/pki/ca.crt")
    assert found and (found.path, found.links) == ("/data/pki/ca.crt", ("/etc/pki",))
    up = tree.resolve("/etc/up/pki/../pki/ca.crt")
    assert up and (up.path, up.links) == ("/data/pki/ca.crt", ("/etc/up",))
    assert tree.resolve("/etc/nothing") is None
    (tmp_path / "etc/dangling").symlink_to("nothing")
    dangling = tree.resolve("/etc/dangling")
    assert dangling and (dangling.path, dangling.links) == (None, ("/etc/dangling",))


def test_read_refuses_a_link_that_came_after_the_look(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "file").symlink_to("secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/secret").write_text("x")
    (tmp_path / "way").symlink_to("folder")
    tree = HostTree(str(tmp_path))
    with pytest.raises(KitError, match="it became a link"):
        tree.read("/file")
    with pytest.raises(KitError, match="Cannot read /way/secret"):
        tree.read("/way/secret")


def test_read_file_that_grows_all_the_time_fails_by_name(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (12 << 20))

    def grow(_number: int, _frame: object) -> None:
        with path.open("ab") as target:
            target.write(b"y")

    # Between any two reads of a piece, whatever the machine is doing beside it.
    before = signal.signal(signal.SIGALRM, grow)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        with pytest.raises(KitError, match="/log changed while it was read, 3 times"):
            HostTree(str(tmp_path)).read("/log")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_read_too_large_names_the_limit(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    with pytest.raises(KitError, match="5 bytes, more than the 4"):
        HostTree(str(tmp_path), limit_bytes=4).read("/f")


def test_shown_is_one_printable_line() -> None:
    assert shown("/a\nb\udcff\x1b[31m") == "/a\\x0ab\\xff\\x1b[31m"
