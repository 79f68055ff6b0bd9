# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host lock: one at a time, gone with its holder, not to be fooled by links."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import typing as t
import uuid
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import Locked
from ansible_collections.controlplane.etcd.plugins.module_utils._node.locks import host_lock

HOLDER = """
import sys, time
from ansible_collections.controlplane.etcd.plugins.module_utils._node.locks import host_lock
with host_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4()}"


@pytest.fixture
def holder(name: str) -> t.Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, name], stdout=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_second_run_fails_and_names_the_holder(holder: subprocess.Popen[str], name: str) -> None:
    start = time.monotonic()
    with pytest.raises(Locked) as caught, host_lock(name, 0.5):
        raise AssertionError("it is held")
    assert 0.4 < time.monotonic() - start < 5
    assert f"pid {holder.pid} since 20" in str(caught.value)
    assert caught.value.path
    assert name in caught.value.path


def test_second_run_waits_until_it_is_free(name: str, holder: subprocess.Popen[str]) -> None:
    code = f"import os, time; time.sleep(0.7); os.kill({holder.pid}, 15)"
    killer = subprocess.Popen([sys.executable, "-c", code])
    with host_lock(name, 20):
        assert holder.wait(5) is not None
    killer.wait()


def test_lock_goes_with_a_killed_holder(name: str, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with host_lock(name) as path:
        assert f"pid {os.getpid()} " in Path(path).read_text()
        assert os.stat(path).st_mode & 0o777 == 0o600
    assert Path(path).read_text() == ""
    Path(path).unlink()


def test_lock_is_free_after_an_error_and_names_are_apart(name: str) -> None:
    with pytest.raises(ZeroDivisionError), host_lock(name):
        raise ZeroDivisionError
    with host_lock(name) as first, host_lock(f"{name}-other") as second:
        assert first != second
    Path(first).unlink()
    Path(second).unlink()


def test_lock_name_is_one_part_of_a_path(name: str) -> None:
    with host_lock(f"../../{name}/x y") as path:
        assert os.path.basename(path) == f"controlplane.etcd-.._.._{name}_x_y.lock"
    Path(path).unlink()


def test_lock_through_a_link_is_refused(name: str, tmp_path: Path) -> None:
    with host_lock(name) as path:
        pass
    Path(path).unlink()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    Path(path).symlink_to(victim)
    try:
        with pytest.raises(Locked) as caught, host_lock(name):
            raise AssertionError("followed a link")
    finally:
        Path(path).unlink()
    assert path in str(caught.value)
    assert victim.read_text() == "precious"
