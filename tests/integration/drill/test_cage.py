# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cage's own edges: whom its keeper ends, what its user can change, who may take its folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from lab.module import COLLECTIONS

CAGE = "ansible_collections.controlplane.etcd.plugins.module_utils._node.cage"
IMPORTS = f"""
import json, os, signal, subprocess, sys, time
from {CAGE} import cage as cages, network
from {CAGE}.cage import Isolation, Limits, opened
from {CAGE}.keeper import Keeper
from {CAGE}.leavings import Leavings
from {CAGE}.servers import end_of
"""


def started(text: str, *words: str) -> subprocess.Popen[str]:
    """Run a program of its own that uses the cage: it changes its process for good."""
    return subprocess.Popen(
        [sys.executable, "-c", IMPORTS + text, *words],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": COLLECTIONS},
        text=True,
    )


def said(process: subprocess.Popen[str]) -> t.Any:
    assert process.stdout
    return json.loads(process.stdout.readline())


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def wait_gone(pid: int) -> None:
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.02)


MODULE = """
net = network.enter()
keeper = Keeper.start()
server = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
number = int(sys.argv[1]) or net.inode
keeper.note(Leavings(network=number, owner=os.getpid()))
print(json.dumps([keeper.pid, server.pid, net.inode]), flush=True)
time.sleep(600)
"""


def test_the_keeper_holds_its_network_and_ends_what_is_in_it() -> None:
    module = started(MODULE, "0")
    try:
        keeper, server, inode = said(module)
        end = time.monotonic() + 10
        while f"net:[{inode}]" not in _open_files(keeper):
            assert time.monotonic() < end, _open_files(keeper)
            time.sleep(0.02)
    finally:
        ended(module)
    wait_gone(keeper)
    wait_gone(server)


def test_the_keeper_ends_nobody_in_a_network_that_is_not_its_modules() -> None:
    """As when the number of a network that is gone was given to another one."""
    stranger = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    try:
        own = os.stat("/proc/self/ns/net").st_ino
        end = time.monotonic() + 10
        while (inode := os.stat(f"/proc/{stranger.pid}/ns/net").st_ino) == own:
            assert time.monotonic() < end
            time.sleep(0.02)
        module = started(MODULE, str(inode))
        keeper, server, _own = said(module)
        ended(module)
        wait_gone(keeper)
        assert stranger.poll() is None
        os.kill(server, signal.SIGKILL)
    finally:
        stranger.kill()
        stranger.wait()


def _open_files(pid: int) -> list[str]:
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(each))
    return found


FOLDER = """
with opened(sys.argv[1], isolation=Isolation.NAMESPACE, limits=Limits()) as cage:
    facts = os.stat(cage.folder)
    shell = cage.bring("/bin/sh", "sh")
    does = "ln -s /etc/passwd kube-apiserver.log; ln -s /etc/passwd bin/other; mkdir mine; id -u"
    server = cage.start("try", [shell, "-c", does])
    how = end_of(server, seconds=20)
    told = [facts.st_uid, facts.st_gid == cage.user, oct(facts.st_mode & 0o777)]
    print(json.dumps([*told, how, sorted(os.listdir(cage.folder)), cage.user]))
"""


def test_the_cages_user_cannot_change_a_name_in_its_folder(work_dir: Path) -> None:
    """Root writes there while servers run: through a link of theirs it would write anywhere."""
    process = started(FOLDER, str(work_dir))
    owner, is_group, mode, how, names, user = said(process)
    process.communicate()
    assert (owner, is_group, mode) == (0, True, "0o710")
    assert how == "ended with status 0" and user > 0
    assert names == ["bin", "try.log"]
    assert list(work_dir.iterdir()) == []


LINKS = """
with opened(sys.argv[1], isolation=Isolation.NAMESPACE, limits=Limits()) as cage:
    outside = sys.argv[2]
    os.mkdir(f"{cage.folder}/bin")
    os.symlink(outside, f"{cage.folder}/bin/etcd")
    os.symlink(os.path.dirname(outside), f"{cage.folder}/data")
    cage.give(f"{cage.folder}/data")
    try:
        cage.bring("/bin/sh", "etcd")
        why = "brought"
    except Exception as exc:
        why = exc.message
    print(json.dumps(why))
"""


def test_no_link_is_followed_into_or_out_of_a_cage(work_dir: Path, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.write_text("as it was")
    process = started(LINKS, str(work_dir), str(outside))
    why = said(process)
    process.communicate()
    assert "File exists" in why
    assert outside.read_text() == "as it was"
    assert (outside.stat().st_uid, tmp_path.stat().st_uid) == (0, 0)


SWEEPER = """
print("1", flush=True)
while True:
    cages.sweep(sys.argv[1])
"""
LOCKER = """
lost = 0
for _each in range(300):
    folder, lock = cages._locked_folder(sys.argv[1])
    time.sleep(0.001)
    lost += not os.path.isdir(folder)
    os.close(lock)
print(json.dumps(lost))
"""


def test_no_sweep_takes_a_folder_that_another_drill_just_made(work_dir: Path) -> None:
    sweeper = started(SWEEPER, str(work_dir))
    try:
        assert said(sweeper) == 1
        locker = started(LOCKER, str(work_dir))
        assert said(locker) == 0
        locker.communicate()
        assert sweeper.poll() is None
    finally:
        ended(sweeper)
