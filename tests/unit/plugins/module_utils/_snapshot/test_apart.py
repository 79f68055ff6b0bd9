# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reading that dies, is late, or goes well, in a process of its own."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from unit.fixtures import reading, snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    OptionInvalid,
    SnapshotInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import read_image
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot import opened
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.apart import apart

if t.TYPE_CHECKING:
    from conftest import Reliability

IMAGE = snapshots.image("3.6.16/history")


def test_apart_gives_what_the_work_gives() -> None:
    assert apart(lambda: {"pid": os.getpid() == os.getppid(), "n": [1]}, reads=["/a.db"]) == {
        "pid": False,
        "n": [1],
    }
    # More than a pipe holds.
    assert len(apart(lambda: bytes(1 << 20), reads=["/a.db"])) == 1 << 20


def test_apart_error_of_ours_comes_through_whole() -> None:
    def work() -> None:
        raise OptionInvalid("Option limit is 3.", hint="Set 4.", path="/x")

    with pytest.raises(OptionInvalid) as error:
        apart(work, reads=["/a.db"])
    assert error.value.as_dict() == {
        "kind": "option_invalid",
        "message": "Option limit is 3.",
        "hint": "Set 4.",
        "endpoint": None,
        "path": "/x",
    }
    assert str(error.value) == "Option limit is 3. Set 4."


def test_apart_other_errors_crash_with_their_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        apart(lambda: 1 // 0, reads=["/a.db"])
    assert error.value.code == 1
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("kept", [0, 8192])
def test_apart_file_that_gets_shorter_under_the_reading_is_told(
    tmp_path: Path, kept: int, reliability: Reliability
) -> None:
    path = tmp_path / "snapshot.db"
    path.write_bytes(IMAGE)

    def work() -> None:
        faulthandler.disable()  # pytest's own
        with opened.open_path(
            str(path), opened.Keys((), str(tmp_path)), skip_hash_check=False
        ) as found:
            os.truncate(path, kept)
            read_image(found.database)

    with pytest.raises(SnapshotInvalid, match="ended by SIGBUS.*Copy it first") as error:
        apart(work, reads=[str(path), "/older.db"])
    assert f"Snapshot {path} or /older.db was not read to its end" in str(error.value)
    assert error.value.path == str(path)
    reliability(
        "etcd_snapshot_info on a file that is cut off while it is read, or has a bad sector: SIGBUS",
        "the module fails and names the file; nothing is told of it",
        area="content",
        message=str(error.value).replace(str(path), "/var/backups/etcd/a.db"),
    )


def test_apart_reading_that_is_killed_is_told() -> None:
    with pytest.raises(SnapshotInvalid, match="ended by SIGKILL.*Memory ran out"):
        apart(lambda: os.kill(os.getpid(), signal.SIGKILL), reads=["/a.db"])


def test_apart_who_is_interrupted_ends_the_reading(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(60)

    with pytest.raises(reading.Late), reading.deadline(0.5):
        apart(work, reads=["/a.db"])
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_apart_who_is_killed_leaves_no_reading_behind(tmp_path: Path) -> None:
    code = (
        f"import os, time, pathlib; from {apart.__module__} import apart\n"
        "def work():\n"
        "    print(os.getpid(), flush=True); time.sleep(60)\n"
        "apart(work, reads=['/a.db'])"
    )
    waiting = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    assert waiting.stdout is not None
    pid = int(waiting.stdout.readline())
    os.kill(pid, 0)
    waiting.kill()
    waiting.wait()
    with reading.deadline(10):
        assert waiting.stdout.read() == b""  # once nobody holds it
    waiting.stdout.close()
