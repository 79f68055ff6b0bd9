# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_restore killed in the middle of every step, and asked again; two at once; a full disk."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from conftest import Reliability

from ansible_collections.controlplane.etcd.plugins.module_utils._restore.apply import Restore
from lab.restoring import Bench, main

WAYS = {
    "staged": ["begun", "restored", "dressed", "settled"],
    "swapped": ["planned", "aside 0", "aside 1", "put 0", "put 1", "put"],
    "rolled_back": ["planned", "back 0", "back 1", "kept", "removed"],
    "committed": ["planned", "removed"],
}
STEPS = [(state, step) for state, steps in WAYS.items() for step in steps]
# Every step with the most to rename, and the renames for the other ways that a folder can lie.
RENAMES = [("staged", "restored"), ("swapped", "aside 0"), ("swapped", "put 0")]
CASES = [
    *(("wal apart", *each) for each in STEPS),
    *(
        (kind, *each)
        for kind in ("folder", "inside")
        for each in [*RENAMES, ("rolled_back", "back 0")]
    ),
]
BACK = [
    *(("wal apart", state, step) for state, step in STEPS if state in ("staged", "swapped")),
    *(("inside", *each) for each in RENAMES),
]


def bench_of(root: Path, kind: str) -> Bench:
    bench = Bench(root, wal="wal" if kind == "wal apart" else "")
    bench.live()
    if kind == "inside":
        (bench.data / "config").write_text("what k3s keeps beside member/")
    return bench


def up_to(bench: Bench, state: str) -> None:
    """Bring a bench to where a state can be asked for."""
    for each in {"staged": [], "swapped": ["staged"]}.get(state, ["staged", "swapped"]):
        bench.asked(each)


def is_whole(bench: Bench, holds: str) -> None:
    """Check that the member has all of one side, and nothing of a restore lies about."""
    assert bench.holds == holds
    wal = bench.wal or bench.data / "member" / "wal"
    assert any(path.suffix == ".wal" for path in wal.iterdir())
    assert not bench.leavings()


@pytest.mark.parametrize(("kind", "state", "step"), CASES, ids=[", ".join(each) for each in CASES])
def test_a_killed_restore_is_finished_or_taken_back(
    tmp_path: Path, kind: str, state: str, step: str, reliability: Reliability
) -> None:
    bench = bench_of(tmp_path, kind)
    up_to(bench, state)
    bench.killed(state, step)
    # What is done again is what was begun: no options of the first time are needed but the folder's.
    for check in (True, False):
        again = bench.asked(state, _ansible_check_mode=check)
        assert again["changed"] is True and again["state"] == state
    assert bench.asked(state)["changed"] is False
    if state in ("rolled_back", "committed"):
        is_whole(bench, "old" if state == "rolled_back" else "new")
    else:
        bench.asked("swapped")
        assert bench.holds == "new"
        bench.asked("rolled_back")
        is_whole(bench, "old")
    reliability(
        f"etcd_restore, kill -9: {state} after {step!r} ({kind})",
        "the same state asked for again finishes it",
        area="restore",
    )


@pytest.mark.parametrize(("kind", "state", "step"), BACK, ids=[", ".join(each) for each in BACK])
def test_a_killed_restore_goes_back_at_once(
    tmp_path: Path, kind: str, state: str, step: str
) -> None:
    bench = bench_of(tmp_path, kind)
    before = {name: each for name, each in bench.shape().items() if "/" in name}
    up_to(bench, state)
    bench.killed(state, step)
    bench.asked("rolled_back")
    is_whole(bench, "old")
    after = {name: each for name, each in bench.shape().items() if name in before}
    assert after == before
    assert bench.asked("rolled_back")["changed"] is False


def test_a_broken_off_restore_says_what_to_do(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, "folder")
    bench.killed("staged", "restored")
    words = bench.refused("swapped")["msg"]
    assert "staging was broken off" in words and "state staged again" in words
    words = bench.refused("staged", id="r2")["msg"]
    assert "Restore r1" in words and "under way (staging since" in words and "rolled_back" in words
    bench.asked("staged")
    bench.killed("swapped", "aside 0")
    assert not bench.data.exists()
    words = bench.refused("committed")["msg"]
    assert "broken off" in words and "swapped again, or rolled_back" in words
    # A kubelet that was not stopped makes an empty folder for the volume.
    bench.data.mkdir()
    bench.asked("swapped")
    assert bench.holds == "new"


def test_what_somebody_changed_meanwhile_is_named(tmp_path: Path, reliability: Reliability) -> None:
    bench = bench_of(tmp_path, "folder")
    bench.asked("staged")
    bench.killed("swapped", "aside 0")
    (bench.data / "member").mkdir(parents=True)
    for state in ("swapped", "rolled_back"):
        words = bench.refused(state)["msg"]
        assert str(bench.data) in words and "somebody else has changed it" in words
    (bench.data / "member").rmdir()
    bench.asked("rolled_back")
    is_whole(bench, "old")
    reliability(
        "etcd_restore: an etcd began a new folder in the middle of a broken off swap",
        "refused, named; once that is gone, either way can be taken",
        area="restore",
        message=words,
    )


def test_a_killed_module_takes_the_tool_with_it(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, "folder")
    slow = tmp_path / "slow"
    slow.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *--data-dir*) echo $$ > {tmp_path}/pid; sleep 60;;\n'
        f'*) exec {bench.tool} "$@";; esac\n'
    )
    slow.chmod(0o755)
    child = os.fork()
    if child == 0:
        main({**bench.params, "etcdutl": str(slow)}, before=_with_deadline)
        os._exit(0)
    end = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < end
        time.sleep(0.05)
    tool = int((tmp_path / "pid").read_text())
    module = int(Path(f"/proc/{tool}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(module, signal.SIGKILL)
    os.waitpid(child, 0)
    while Path(f"/proc/{tool}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    bench.asked("staged")


def _with_deadline() -> None:
    signal.alarm(60)


def test_two_at_once_are_told_apart(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, "folder")
    begun, go = os.pipe(), os.pipe()

    def wait() -> None:
        def step(_self: object, name: str) -> None:
            if name == "begun":
                os.write(begun[1], b"x")
                os.read(go[0], 1)

        Restore.step = step  # type: ignore[method-assign]

    child = os.fork()
    if child == 0:
        answer = main({**bench.params, "state": "staged"}, before=wait)
        os._exit(0 if answer and answer["changed"] else 1)
    os.read(begun[0], 1)
    said = bench.ask("staged")
    assert said["failed"] and said["error"]["kind"] == "locked", said
    os.write(go[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    assert bench.asked("staged")["changed"] is False


def test_a_signal_leaves_nothing_of_a_staging(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, "folder")

    def end_at() -> None:
        def step(_self: object, name: str) -> None:
            if name == "restored":
                os.kill(os.getpid(), signal.SIGTERM)

        Restore.step = step  # type: ignore[method-assign]

    before = bench.shape()
    with pytest.raises(AssertionError):
        main({**bench.params, "state": "staged"}, before=end_at)
    after = bench.shape()
    assert {name for name in after if not name.startswith("journal")} == set(before)
    assert list(bench.journal_dir.iterdir()) == []
