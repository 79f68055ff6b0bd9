# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a backup over real ssh when connections, modules and controllers die in it.

Each is killed (-9) at three steps, one run after the other, and then a run must be as good as the
first one ever. Cluster beta has one host, so these runs are short.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from dataclasses import dataclass

import pytest

from lab.backup_run import Bastion, Running, bastion, left_of_ours, left_on
from lab.hosts.host import Host
from lab.hosts.lab import Lab

BLOBS = 12
BLOB_BYTES = 1 << 20
# The db holds about 12 MB that don't compress: at this rate fetching takes long enough to step in.
SLOW = "24mbit"
# More than all other requests on one connection, less than the snapshot's stream.
MID_STREAM = 3_000_000


@pytest.fixture(scope="module")
def host(lab: Lab) -> t.Iterator[Host]:
    """Beta's host; its etcd holds enough to be caught in the middle of."""
    cluster = lab.cluster("beta")
    for number in range(BLOBS):
        cluster.etcdctl("put", f"lab/blob/{number}", stdin=os.urandom(BLOB_BYTES))
    yield lab.host("b1")
    cluster.etcdctl("del", "lab/blob/", "--prefix")


@pytest.fixture(scope="module")
def keeper(lab: Lab) -> t.Iterator[Bastion]:
    with bastion(lab) as found:
        found.use_wheelhouse()
        found.variables["etcd_backup_stream_idle_timeout"] = "8s"
        found.variables["etcd_backup_lock_timeout"] = "30s"
        yield found


def begin(keeper: Bastion, **variables: t.Any) -> Running:
    return keeper.begin_backup("--limit", "beta", **variables)


def runs_module(host: Host, name: str) -> bool:
    argv = ["pgrep", "-f", f"python.*AnsiballZ_{name}"]
    return host.exec(argv, check=False).returncode == 0


def spools(host: Host) -> bool:
    """Tell whether an unnamed spool with a good part of the image is open on the host."""
    look = "find /proc/[0-9]*/fd -lname '/var/tmp/*(deleted)' -exec stat -Lc %s {} + 2>/dev/null"
    sizes = host.exec(["sh", "-c", look], check=False).stdout.split()
    return any(int(size) > MID_STREAM // 2 for size in sizes)


def fetches(keeper: Bastion) -> bool:
    """Tell whether a part of the sealed snapshot has arrived."""
    found = keeper.archive.glob("beta/.*.part/data.db.zst.age.part")
    with contextlib.suppress(FileNotFoundError):
        return any(path.stat().st_size > 0 for path in found)
    return False


@dataclass(frozen=True)
class Step:
    """A step of the run that a fault can be put into."""

    name: str
    victim: str

    def prepare(self, host: Host) -> None:
        if self.name == "look":
            host.exec(["systemctl", "kill", "-s", "STOP", "etcd.service"])
        elif self.name == "stream":
            host.faults.cut_after(2379, MID_STREAM, reset=False)
        else:
            host.faults.slow(SLOW)

    def reached(self, keeper: Bastion, host: Host) -> bool:
        if self.name == "look":
            return runs_module(host, "etcd_info")
        if self.name == "stream":
            return spools(host)
        return fetches(keeper)

    @staticmethod
    def heal(host: Host) -> None:
        host.exec(["systemctl", "kill", "-s", "CONT", "etcd.service"])
        host.faults.heal()


STEPS = (
    Step("look", "AnsiballZ_etcd_info"),
    Step("stream", "AnsiballZ_etcd_snapshot"),
    Step("fetch", "sftp-server"),
)


def kill(what: str, step: Step, running: Running, host: Host) -> None:
    if what == "controller":
        running.kill()
    elif what == "ssh":
        running.kill_ssh()
    else:
        host.exec(["pkill", "-9", "-f", step.victim])


def wait_for_orphans(host: Host, seconds: float = 60) -> None:
    """Wait until modules that lost their controller have ended by themselves."""
    end = time.monotonic() + seconds
    while runs_module(host, "etcd_"):
        assert time.monotonic() < end, left_on(host)
        time.sleep(0.3)


def holds_no_secret(lab: Lab, host: Host) -> None:
    """Search all that may be left on a host for what the cluster hides."""
    patterns = "\n".join(lab.secrets()).encode()
    argv = ["grep", "-rlFf", "-", "/var/tmp", "/tmp", "/home/ops", "/root", "/dev/shm"]
    assert host.exec(argv, stdin=patterns, check=False).stdout == b""


@pytest.mark.parametrize("what", ["ssh", "module", "controller"])
def test_killed_at_three_steps_then_run_again(
    lab: Lab, keeper: Bastion, host: Host, what: str, reliability: t.Callable[..., None]
) -> None:
    entries = len(keeper.entries("beta"))
    for step in STEPS:
        step.prepare(host)
        try:
            running = begin(keeper)
            running.until(lambda at=step: at.reached(keeper, host), f"step {step.name}")
            kill(what, step, running, host)
        finally:
            step.heal(host)
        run = running.wait()
        lab.cluster("beta").wait_healthy()
        if step.name == "fetch" and run.code == 0 and what != "controller":
            # a transfer that dies is made once more, in another way
            assert run.stats["beta"]["outcome"] == "archived"
            entries += 1
        else:
            assert run.code != 0, f"{step.name}:\n{run.output}"
        assert len(keeper.entries("beta")) == entries
        wait_for_orphans(host)
        holds_no_secret(lab, host)
        assert "(deleted)" not in left_on(host)
    run = begin(keeper).wait()
    assert run.code == 0, run.output
    assert run.stats["beta"]["outcome"] == "archived"
    assert len(keeper.entries("beta")) == entries + 1
    assert keeper.parts("beta") == []
    assert left_of_ours(host) == []
    reliability(
        f"{what} killed (-9) over ssh while looking, streaming, fetching",
        "no entry, nothing readable left; the next run archives and cleans up",
        area="ssh",
    )


def test_stream_cut_in_the_middle(
    lab: Lab, keeper: Bastion, host: Host, reliability: t.Callable[..., None]
) -> None:
    entries = len(keeper.entries("beta"))
    host.faults.cut_after(2379, MID_STREAM)
    try:
        run = begin(keeper).wait()
    finally:
        host.faults.heal()
    assert run.code != 0
    assert run.stats["beta"]["outcome"] == "failed"
    (message,) = run.stats["beta"]["errors"]
    assert "https://" in message
    assert "b1" in message
    assert len(keeper.entries("beta")) == entries
    assert left_of_ours(host) == []
    assert keeper.parts("beta") == []
    reliability("etcd's stream cut off in the middle", "refused", area="ssh", message=message)


def test_connection_reset_in_the_middle_of_the_fetch(
    lab: Lab, keeper: Bastion, host: Host, reliability: t.Callable[..., None]
) -> None:
    entries = len(keeper.entries("beta"))
    host.faults.slow(SLOW)
    try:
        running = begin(keeper)
        running.until(lambda: fetches(keeper), "fetch")
        host.faults.block(22, reset=True)
        time.sleep(1)
    finally:
        host.faults.heal()
    run = running.wait()
    assert run.code != 0, run.output
    assert run.stats["beta"]["outcome"] == "failed"
    message = run.stats["beta"]["errors"][0]
    assert len(keeper.entries("beta")) == entries
    assert keeper.parts("beta") == []
    again = begin(keeper).wait()
    assert again.code == 0, again.output
    assert left_of_ours(host) == []
    reliability(
        "ssh connections reset in the middle of the fetch",
        "no entry; the next run archives and cleans up",
        area="ssh",
        message=message,
    )


def test_spool_on_a_full_disk(
    lab: Lab, keeper: Bastion, host: Host, reliability: t.Callable[..., None]
) -> None:
    entries = len(keeper.entries("beta"))
    with host.faults.small_disk("/srv/spool", mib=16) as path:
        run = begin(keeper, etcd_backup_spool_dir=path).wait()
        kept = host.exec(["sh", "-c", f"ls -A {path} | grep -v lost+found"], check=False).stdout
    assert run.code != 0
    (message,) = run.stats["beta"]["errors"]
    assert "/srv/spool" in message
    assert "MiB" in message
    assert kept == b""
    assert len(keeper.entries("beta")) == entries
    assert left_of_ours(host) == []
    reliability("no room on the host's spool", "refused with figures", area="ssh", message=message)
