# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_restore where data and WAL are mount points, and where their disk is small or full.

Each test mounts in a namespace of its own, which goes with its process.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import traceback
import typing as t
from pathlib import Path

import pytest
from conftest import Reliability

from ansible_collections.controlplane.etcd.plugins.module_utils._restore.apply import Restore
from lab.restoring import Bench

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
_CLONE_NEWNS = 0x20000


def apart(test: t.Callable[[], None]) -> None:
    """Run a test's body in a process with mounts of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
                raise OSError(ctypes.get_errno(), "unshare")
            run("mount", "--make-rprivate", "/")
            test()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, "see what it printed"


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def bind(*folders: Path | None) -> None:
    """Make folders mount points."""
    for folder in folders:
        assert folder is not None
        folder.mkdir(exist_ok=True)
        run("mount", "--bind", str(folder), str(folder))


def names(folder: Path | None) -> list[str]:
    assert folder is not None
    return sorted(os.listdir(folder))


def test_a_mount_point_is_swapped_from_inside(tmp_path: Path, reliability: Reliability) -> None:
    bench = Bench(tmp_path)
    bench.live()

    def body() -> None:
        bind(bench.data)
        (bench.data / "lost+found").mkdir()
        top = bench.data.stat().st_ino
        staged = bench.asked("staged")
        assert [each["path"] for each in staged["folders"]] == [
            str(bench.data / "member"),
            str(bench.data / "restore-r1" / "member"),
            str(bench.data / "member.before-r1"),
        ]
        assert names(bench.data) == ["lost+found", "member", "restore-r1"]
        bench.asked("swapped")
        assert bench.holds == "new"
        assert names(bench.data) == ["lost+found", "member", "member.before-r1"]
        bench.asked("rolled_back")
        assert bench.holds == "old" and names(bench.data) == ["lost+found", "member"]
        for state in ("staged", "swapped", "committed"):
            bench.asked(state)
        assert bench.holds == "new" and names(bench.data) == ["lost+found", "member"]
        assert bench.data.stat().st_ino == top
        assert sorted(os.listdir(bench.root)) == ["etcd", "journal", "snapshot.db"]

    apart(body)
    reliability(
        "etcd_restore: the data folder is a mount point",
        "member/ is swapped inside of it, and taken back",
        area="restore",
    )


STEPS = ["aside 1", "put 0", "put 1"]


@pytest.mark.parametrize("step", ["", *STEPS])
def test_a_wal_on_a_disk_of_its_own_is_swapped_file_by_file(
    tmp_path: Path, step: str, reliability: Reliability
) -> None:
    bench = Bench(tmp_path, wal="wal")
    bench.live()

    def body() -> None:
        bind(bench.data, bench.wal)
        assert bench.wal is not None
        # A second segment: old and new differ in number, and one name is in both.
        (bench.wal / "0000000000000001-0000000000000009.wal").write_bytes(b"old")
        before = {path.name: path.stat().st_ino for path in bench.wal.iterdir()}
        bench.asked("staged")
        if step:
            bench.killed("swapped", step)
        bench.asked("swapped")
        assert bench.holds == "new"
        after = {path.name: path.stat().st_ino for path in bench.wal.glob("*.wal")}
        assert list(after) == ["0000000000000000-0000000000000000.wal"]
        assert not set(after.values()) & set(before.values())
        # What an etcd that runs on it leaves: one segment more.
        (bench.wal / "0000000000000001-0000000000000003.wal").write_bytes(b"new")
        for back in ("back 0", "back 1", "back 2"):
            bench.killed("rolled_back", back)
        bench.asked("rolled_back")
        assert {path.name: path.stat().st_ino for path in bench.wal.iterdir()} == before
        assert bench.holds == "old" and names(bench.data) == ["member"]
        for state in ("staged", "swapped", "committed"):
            bench.asked(state)
        assert names(bench.wal) == ["0000000000000000-0000000000000000.wal"]

    apart(body)
    if step:
        reliability(
            f"etcd_restore, kill -9: swapped after {step!r} (data and WAL are mount points)",
            "the same state asked for again finishes it, and rolled_back brings every file back",
            area="restore",
        )


def disk(root: Path, megabytes: int) -> Path:
    """Mount a small disk."""
    image, folder = root / "disk.img", root / "disk"
    with image.open("wb") as target:
        target.truncate(megabytes << 20)
    run("mkfs.ext4", "-q", "-m", "0", str(image))
    folder.mkdir()
    run("mount", "-o", "loop", str(image), str(folder))
    (folder / "lost+found").rmdir()  # etcd's own tool would not restore into it
    return folder


def test_a_disk_that_is_too_small_is_refused_with_figures(
    tmp_path: Path, reliability: Reliability
) -> None:
    said: dict[str, str] = {}

    def body() -> None:
        bench = Bench(disk(tmp_path, 160))
        before = bench.shape()
        for mode in (True, False):
            found = bench.ask(_ansible_check_mode=mode)
            assert found["error"]["kind"] == "space_missing", found
            assert "the restored data takes 128.1 MiB, and 64.0 MiB must stay free" in found["msg"]
        assert {k: v for k, v in bench.shape().items() if k in before} == before
        assert not bench.leavings()
        (tmp_path / "said").write_text(found["msg"])

    apart(body)
    said["msg"] = (tmp_path / "said").read_text()
    reliability(
        "etcd_restore: no room beside the data",
        "refused with figures, nothing changed",
        area="restore",
        message=said["msg"],
    )


@pytest.mark.parametrize("version", ["3.4.23", "3.6.16"])
def test_a_disk_that_fills_up_meanwhile_leaves_nothing(
    tmp_path: Path, version: str, reliability: Reliability
) -> None:
    def body() -> None:
        folder = disk(tmp_path, 300)
        bench = Bench(folder, version=version)
        bench.live()

        def fill() -> None:
            def step(_self: object, name: str) -> None:
                if name == "begun":
                    free = os.statvfs(folder)
                    with (folder / "ballast").open("wb") as target:
                        os.posix_fallocate(
                            target.fileno(), 0, free.f_bavail * free.f_frsize - (8 << 20)
                        )

            Restore.step = step  # type: ignore[method-assign]

        found = bench.ask(before=fill)
        assert found["error"]["kind"] == "space_missing", found
        assert "filled up while" in found["msg"] and str(bench.data) in found["msg"]
        assert bench.holds == "old" and not bench.leavings()
        assert names(bench.journal_dir) == []
        (folder / "ballast").unlink()
        bench.asked("staged")
        (tmp_path / "said").write_text(found["msg"])

    apart(body)
    reliability(
        f"etcd_restore: the disk fills up while the tool of etcd {version} writes",
        "fails by name; nothing of it stays, and it can be asked for again",
        area="restore",
        message=(tmp_path / "said").read_text(),
    )


def test_a_disk_in_memory_is_refused(tmp_path: Path) -> None:
    def body() -> None:
        folder = tmp_path / "memory"
        folder.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(folder))
        bench = Bench(folder)
        assert "lies in memory (tmpfs)" in bench.refused()["msg"]
        # A memory disk right at the data folder is one, too.
        other = Bench(tmp_path)
        other.data.mkdir()
        run("mount", "-t", "tmpfs", "tmpfs", str(other.data))
        assert "lies in memory (tmpfs)" in other.refused()["msg"]

    apart(body)


def test_a_bound_folder_and_an_unmounted_one_are_told_apart(
    tmp_path: Path, reliability: Reliability
) -> None:
    bench = Bench(tmp_path)

    def body() -> None:
        folder = disk(tmp_path, 300)
        bench.data.mkdir()
        run("mount", "--bind", str(folder), str(bench.data))
        bench.live()
        bench.asked("staged")
        run("umount", str(bench.data))
        # After a boot without the disk: what was staged is not there.
        found = bench.refused("swapped")
        assert "is not what this restore left there" in found["msg"]
        run("mount", "--bind", str(folder), str(bench.data))
        bench.asked("swapped")
        assert bench.holds == "new"

    apart(body)
    reliability(
        "etcd_restore: staged on a disk that is not mounted when it is to be swapped",
        "refused; with the disk, it goes on",
        area="restore",
    )
