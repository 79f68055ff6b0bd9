# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that is told to end, more than once: it cleans up and is gone.

sshd and sudo each pass on what they get when a controller dies, so that a module gets two signals
within milliseconds. Seen then: an interpreter that hung for ever in gRPC.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from integration.backup.things import Proxy

from lab import objects
from lab.loopback import Cluster
from lab.processes import descendants

VENV = Path(__file__).resolve().parents[2] / ".venv"
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(VENV / "collections"))
PLUGINS = "ansible_collections.controlplane.etcd.plugins"
# Without the guard that would end a module that hangs: here it must not be needed.
MODULE = f"""
from {PLUGINS}.module_utils import _module
_module._end_in_time = lambda: None
from {PLUGINS}.modules.etcd_snapshot import main
main()
"""
ROUNDS = 15


@pytest.fixture(scope="module")
def cluster() -> t.Iterator[Cluster]:
    with Cluster("told", size=1) as cluster:
        objects.fill(cluster)
        yield cluster


def begin(cluster: Cluster, proxy: Proxy, folder: Path) -> subprocess.Popen[bytes]:
    """Start a snapshot that stands still in mid-stream."""
    member = next(iter(cluster.members.values()))
    for name in ("spool", "dest"):
        (folder / name).mkdir(exist_ok=True)
    params = {
        "endpoints": [proxy.endpoint],
        "certificates_dir": str(member.certificates_dir),
        "static_pod_path": str(member.static_pod_path),
        "data_dir": str(member.data_dir),
        "spool_dir": str(folder / "spool"),
        "dest_dir": str(folder / "dest"),
        "allow_unsealed": True,
    }
    asked = folder / "asked"
    asked.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": params}))
    with asked.open("rb") as source, (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", MODULE],
            stdin=source,
            stdout=said,
            stderr=said,
            env={**os.environ, "PYTHONPATH": COLLECTIONS},
        )
    assert proxy.held.wait(30), (folder / "said").read_text()
    return process


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_module_ends_though_it_is_told_twice(
    cluster: Cluster, tmp_path: Path, seed: int, reliability: t.Any
) -> None:
    chance = random.Random(seed)
    proxy = Proxy(cluster.endpoints[0], hold=True)
    process = begin(cluster, proxy, tmp_path)
    below = descendants(process.pid)
    try:
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGHUP)
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        proxy.close()
    assert process.returncode == 128 + signal.SIGHUP, (tmp_path / "said").read_text()
    assert os.listdir(tmp_path / "spool") == os.listdir(tmp_path / "dest") == []
    assert [pid for pid in below if Path(f"/proc/{pid}").exists()] == []
    reliability(
        "etcd_snapshot gets SIGHUP and SIGTERM within 50 ms in mid-stream",
        "it ends, nothing is left",
        area="playbook",
    )
