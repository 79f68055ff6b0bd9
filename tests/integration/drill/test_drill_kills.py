# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 of each part of a drill at each step: no passed drill, and nothing stays on the host."""

from __future__ import annotations

import os
import shutil
import signal
import time
import typing as t
from pathlib import Path

import pytest

from lab import binaries, objects, versions
from lab.archived import ask
from lab.delivered import Delivery
from lab.drilled import PREFIX, Drilling, drilled, leavings, wait_clean

if t.TYPE_CHECKING:
    from conftest import Reliability

PLANTED = [b"a value after it", *(text.encode() for text in objects.planted_forms())]
AREA = "drill"
STEPS = ("restoring", "starting", "serving")


@pytest.fixture
def delivery(shelf: t.Any, tmp_path: Path) -> Delivery:
    return t.cast("Delivery", shelf.delivery(tmp_path))


_WAIT = "while :; do sleep 0.1; done"


def _is_stopped(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the shell that stopped it, and is over
        return False
    return stat.rpartition(")")[2].split()[0] == "T"


class Held:
    """A drill that is held at one step, so that parts of it can be killed there."""

    def __init__(self, step: str, delivery: Delivery, work_dir: Path) -> None:
        self.step, self.delivery, self.work_dir = step, delivery, work_dir
        found = binaries.get(versions.ETCD_DEFAULT)
        tools = work_dir / "tools"
        tools.mkdir()
        name = "etcdutl" if step == "restoring" else "etcd"
        program = shutil.copy(getattr(found, name), tools / f"{name}.real")
        hold = {
            # The clear data lies there by then.
            "restoring": f'case "$*" in *--data-dir=*) {program} "$@"; {_WAIT};; esac',
            "starting": f'case "$*" in *--data-dir=*) {_WAIT};; esac',
            "serving": 'case "$*" in *--data-dir=*) (until grep -q :094B /proc/net/tcp; do sleep 0.02; done; kill -STOP $$) & esac',
        }[step]
        (tools / name).write_text(f'#!/bin/sh\n{hold}\nexec {program} "$@"\n')
        (tools / name).chmod(0o755)
        self.drilling = Drilling(
            delivery.options(
                work_dir=str(work_dir), tools=[{"name": name, "path": str(tools / name)}]
            )
        )
        self.server = self._reach()

    def _reach(self) -> int:
        """Wait for the step, and return the pid of what runs in it."""
        name = "etcdutl" if self.step == "restoring" else "etcd"
        end = time.monotonic() + 60
        pid = self.drilling.wait_for(name)
        while not self.clear_data or (self.step == "serving" and not _is_stopped(pid)):
            assert self.drilling.process.poll() is None, self.drilling.process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
            pid = self.drilling.running(name) or pid
        return pid

    @property
    def clear_data(self) -> bool:
        """Whether the restored data lie in the work folder, in clear."""
        for path in self.work_dir.glob(f"{PREFIX}*/data/member/snap/db"):
            return PLANTED[0] in path.read_bytes()
        return False

    @property
    def folders(self) -> list[Path]:
        return list(self.work_dir.glob(f"{PREFIX}*"))


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_module_leaves_nothing(
    step: str, delivery: Delivery, work_dir: Path, reliability: Reliability
) -> None:
    held = Held(step, delivery, work_dir)
    held.drilling.kill(held.drilling.process.pid)
    held.drilling.wait_dead()
    wait_clean(work_dir, planted=PLANTED)
    assert delivery.gone
    reliability(
        f"kill -9 of etcd_drill while {step}",
        "its keeper ends etcd and removes data, delivery and key",
        area=AREA,
    )


@pytest.mark.parametrize("step", STEPS)
def test_a_terminated_module_cleans_up_itself(
    step: str, delivery: Delivery, work_dir: Path, reliability: Reliability
) -> None:
    held = Held(step, delivery, work_dir)
    held.drilling.kill(held.drilling.keeper)
    held.drilling.process.terminate()
    held.drilling.wait_dead()
    wait_clean(work_dir, planted=PLANTED, seconds=1)
    assert delivery.gone
    reliability(
        f"kill -9 of the keeper, then SIGTERM to etcd_drill, while {step}",
        "it removes everything itself",
        area=AREA,
    )


def test_a_killed_keeper_is_not_missed(
    delivery: Delivery, work_dir: Path, reliability: Reliability
) -> None:
    held = Held("serving", delivery, work_dir)
    held.drilling.kill(held.drilling.keeper)
    os.kill(held.server, signal.SIGCONT)
    assert drilled(held.drilling.result())["verdict"] == "passed"
    assert leavings(work_dir, planted=PLANTED) == []
    assert delivery.gone
    reliability("kill -9 of a drill's keeper", "the drill passes, and removes itself", area=AREA)


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_server_proves_nothing(
    step: str, delivery: Delivery, work_dir: Path, reliability: Reliability
) -> None:
    held = Held(step, delivery, work_dir)
    held.drilling.kill(held.server)
    answer = held.drilling.result()
    assert answer["failed"] and answer["error"]["kind"] == "cage_refused", answer
    wait_clean(work_dir, planted=PLANTED, seconds=1)
    assert delivery.gone
    who = "etcdutl" if step == "restoring" else "etcd"
    reliability(
        f"kill -9 of {who} in a drill while {step}",
        "refused, nothing proven, nothing left",
        area=AREA,
        message=answer["msg"],
    )


@pytest.mark.parametrize("step", STEPS)
def test_all_killed_at_once_is_swept_by_the_next_drill(
    step: str,
    delivery: Delivery,
    shelf: t.Any,
    work_dir: Path,
    tmp_path: Path,
    reliability: Reliability,
) -> None:
    held = Held(step, delivery, work_dir)
    held.drilling.kill(held.drilling.keeper, held.drilling.process.pid)
    held.drilling.wait_dead()
    end = time.monotonic() + 10
    # The kernel ends what the module had started.
    while any("process" in each for each in leavings(work_dir)):
        assert time.monotonic() < end, leavings(work_dir)
        time.sleep(0.02)
    (folder,) = held.folders
    # It is root's, and its group is the number that the cage had for itself.
    assert folder.stat().st_mode & 0o777 == 0o710 and folder.stat().st_uid == 0
    again = shelf.delivery(tmp_path)
    record = drilled(ask("etcd_drill", work_dir=str(work_dir), **again.options()))
    assert record["verdict"] == "passed"
    assert leavings(work_dir, planted=PLANTED) == []
    reliability(
        f"kill -9 of etcd_drill and its keeper at once while {step}",
        "no process stays; the next drill removes the folder, which only root could enter",
        area=AREA,
    )


@pytest.mark.parametrize("seconds", [0.2, 0.4, 0.6, 0.8, 1.0, 1.3])
def test_killed_at_any_moment_nothing_clear_stays(
    seconds: float, delivery: Delivery, work_dir: Path
) -> None:
    drilling = Drilling(delivery.options(work_dir=str(work_dir)))
    time.sleep(seconds)
    if drilling.process.poll() is None:
        drilling.kill(drilling.process.pid)
    drilling.wait_dead()
    wait_clean(work_dir, planted=PLANTED)
    # Killed before it began, the delivery is as it came: sealed.
    assert delivery.gone or (delivery.folder / "data.db.zst.age").exists()
