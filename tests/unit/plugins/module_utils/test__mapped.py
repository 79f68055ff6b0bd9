# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that get shorter while they are read: real SIGBUS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from unit.fixtures import snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    DatabaseInvalid,
    SnapshotInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mapped import mapped
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import read_image
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot import opened

if t.TYPE_CHECKING:
    from conftest import Reliability

IMAGE = snapshots.image("3.6.16/history")


def test_mapped_gives_the_bytes_and_leaves_the_handler(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as source, mapped(source.fileno(), 8) as mapping:
        assert mapping.memory[:] == b"01234567"
    assert signal.getsignal(signal.SIGBUS) == signal.SIG_DFL


def test_mapped_file_that_gets_shorter_is_an_error_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)
    with (
        pytest.raises(SnapshotInvalid, match="cannot be read: it got shorter.*Copy it first"),
        path.open("rb") as source,
        mapped(source.fileno(), 100_000) as mapping,
    ):
        assert mapping.memory[99_999:] == b"x"
        os.truncate(path, 4096)
        assert mapping.memory[50_000:50_002] == b"\0\0"
        assert mapping.memory[99_999:] == b"\0"


def test_mapped_tells_the_cause_of_what_came_of_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)
    with (
        pytest.raises(SnapshotInvalid, match="got shorter") as error,
        path.open("rb") as source,
        mapped(source.fileno(), 100_000) as mapping,
    ):
        os.truncate(path, 0)
        raise DatabaseInvalid(f"the page is {mapping.memory[:4]!r}")
    assert isinstance(error.value.__context__, DatabaseInvalid)


def test_mapped_two_files_at_once_each_tells_its_own(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_bytes(b"x" * 100_000)
    with (
        paths[0].open("rb") as one,
        paths[1].open("rb") as two,
        pytest.raises(SnapshotInvalid),
        mapped(one.fileno(), 100_000) as first,
    ):
        with pytest.raises(SnapshotInvalid), mapped(two.fileno(), 100_000) as second:
            os.truncate(paths[1], 0)
            assert second.memory[:1] == b"\0"
            assert not first.is_broken
        os.truncate(paths[0], 0)
        assert first.memory[:1] == b"\0"


def test_mapped_fault_elsewhere_ends_the_process_as_ever(tmp_path: Path) -> None:
    """No endless loop where the access that fails is not of the mapped file."""
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_bytes(b"x" * 100_000)
    code = f"""
import mmap, os
from {mapped.__module__} import mapped
other = open({str(paths[1])!r}, "rb")
memory = mmap.mmap(other.fileno(), 100_000, access=mmap.ACCESS_READ)
with open({str(paths[0])!r}, "rb") as source, mapped(source.fileno(), 100_000):
    os.truncate({str(paths[1])!r}, 0)
    memory[:1]
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, timeout=30, check=False)
    assert done.returncode == -signal.SIGBUS


@pytest.mark.parametrize("kept", [0, 8192])
def test_opened_file_that_gets_shorter_under_the_reading_is_told(
    tmp_path: Path, kept: int, reliability: Reliability
) -> None:
    path = tmp_path / "snapshot.db"
    path.write_bytes(IMAGE)
    keys = opened.Keys((), str(tmp_path))
    with (
        pytest.raises(SnapshotInvalid, match=f"{path} was changed while it was read") as error,
        opened.open_path(str(path), keys, skip_hash_check=False) as found,
    ):
        os.truncate(path, kept)
        read_image(found.database)
    assert error.value.path == str(path)
    reliability(
        "etcd_snapshot_info on a file that is cut off while it is read (SIGBUS)",
        "the module fails and names the file; nothing is told of it",
        area="content",
        message=str(error.value).replace(str(path), "/var/backups/etcd/a.db"),
    )
