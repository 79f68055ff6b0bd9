# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backup killed (-9) at each of its steps: the controller, and each module on its host."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import typing as t
from pathlib import Path

import pytest
from integration.backup.backup_lab import BackupLab, Session, Variables
from integration.backup.things import Proxy
from integration.backup.watch import until

from lab import objects
from lab.loopback import Cluster

AREA = "playbook"
Look = t.Callable[[], t.Any]

# The tasks that do something, in their order, and what shows that one is under way: nothing (it is
# killed at its start), a module's process, or a file in the entry that is being built.
STEPS = [
    ("Reach the host", ""),
    ("See the cluster as each host sees it", "etcd_info"),
    ("Ask the members for their HashKV, one after the other", "etcd_info"),
    ("Begin an entry in the archive", "etcd_archive_add"),
    ("Make a folder for sealed files, the connection's user's own", ""),
    ("Take the snapshot", "etcd_snapshot"),
    ("Take what etcd does not hold", "etcd_kit"),
    ("Fetch the sealed snapshot", "data.db.zst.age*"),
    ("Fetch the kit", "etcd_fetch"),
    ("Fetch etcd's tools, once a version", ".incoming/etcd*"),
    ("Remove the folder for sealed files", ""),
    ("Sign and add the entry", "etcd_archive_add"),
    ("Put together what became of the cluster", ""),
]
COMMITTED = STEPS[-1][0]


class Accomplice:
    """Waits beside a run for a moment in it, and then acts."""

    def __init__(self, look: Look, act: t.Callable[[t.Any], None]) -> None:
        self._failed: list[BaseException] = []
        self._look, self._act = look, act
        self._thread = threading.Thread(target=self._lurk, daemon=True)
        self._thread.start()

    def _lurk(self) -> None:
        try:
            self._act(until("the moment to kill", self._look, seconds=120))
        except BaseException as exc:  # raised by join()
            self._failed.append(exc)

    def join(self) -> None:
        self._thread.join()
        if self._failed:
            raise self._failed[0]


@pytest.fixture(scope="module")
def alpha() -> t.Iterator[Cluster]:
    with Cluster("alpha", size=1) as cluster:
        objects.fill(cluster)
        yield cluster


@pytest.fixture
def lab() -> t.Iterator[BackupLab]:
    with BackupLab() as lab:
        yield lab


def under_way(lab: BackupLab, host: str, sign: str) -> Look:
    """Return how to see that a step is under way."""
    if sign == "etcd_snapshot":
        return lambda: spooling(lab, host)
    if sign.startswith("etcd_"):
        where = "localhost" if sign == "etcd_archive_add" else host
        return lambda: lab.module_process(where, sign)
    return lambda: list(lab.archive.glob(f"*/.*.part/{sign}"))


def announcing(lab: BackupLab, host: str, variables: Variables) -> Variables:
    """Return a host's variables with an interpreter that says which module it is about to run."""
    folder = lab.folder(host, "started")
    folder.mkdir(exist_ok=True)
    python = folder / "python"
    python.write_text(
        "#!/bin/sh\n"
        'name="${1##*/AnsiballZ_}"\n'
        f'echo $$ > "{folder}/.$$" && mv "{folder}/.$$" "{folder}/${{name%.py}}"\n'
        f'exec {variables["ansible_python_interpreter"]} "$@"\n'
    )
    python.chmod(0o755)
    return {**variables, "ansible_python_interpreter": str(python)}


def announced(lab: BackupLab, host: str, module: str) -> int | None:
    """Return the process of a module that has just been announced."""
    with contextlib.suppress(FileNotFoundError):
        return int((lab.folder(host, "started") / module).read_text())
    return None


def spooling(lab: BackupLab, host: str) -> int | None:
    """Return the process of etcd_snapshot once something is in its unnamed spool."""
    pid = lab.module_process(host, "etcd_snapshot")
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(link)
            if target.startswith(str(lab.folder(host, "spool"))) and link.stat().st_size:
                return pid
    return None


def kill_controller(
    lab: BackupLab, clusters: dict[str, dict[str, Variables]], task: str, look: Look | None
) -> Session:
    """Start a backup, and kill its controller at a task; return once it is dead."""
    begun = threading.Event()
    session_known = threading.Event()
    sessions: list[Session] = []

    def at_task(name: str) -> None:
        if name == task:
            begun.set()
            if look is None:
                session_known.wait()
                sessions[0].kill()

    sessions.append(lab.start(clusters, handler=at_task, etcd_backup_include_tools=True))
    session_known.set()
    if look is not None:
        Accomplice(lambda: begun.is_set() and look(), lambda _found: sessions[0].kill()).join()
    run = sessions[0].wait()
    assert run.status == -signal.SIGKILL, run.text
    assert sessions[0].tasks[-1] == task
    return sessions[0]


def test_the_controller_is_killed_at_each_step(
    lab: BackupLab, alpha: Cluster, reliability: t.Any
) -> None:
    """Each run gets past the task at which the one before it died; the last one ends well."""
    hosts = {"alpha": lab.hosts(alpha)}
    for task, sign in STEPS:
        proxy = Proxy(alpha.endpoints[0], hold=task == "Take the snapshot")
        held = {"alpha": lab.hosts(alpha, etcd_endpoints=[proxy.endpoint])}
        look = under_way(lab, "alpha-cp1", sign) if sign else None
        kill_controller(lab, held if proxy.holds else hosts, task, look)
        proxy.close()  # what lives on without its controller comes to its end
        until("the end of the killed run's modules", lambda: not lab.modules())
        lab.assert_no_secret()
        assert not lab.held()
        # the module that signs lives on, and ends what it does
        expected = {"Sign and add the entry": 1, COMMITTED: 2}.get(task, 0)
        assert len(lab.entries("alpha")) == expected, task
    run = lab.backup(hosts)
    assert run.status == 0, run.text
    assert set(lab.trust("alpha")) == {"trusted"}
    assert not lab.left(killed=True)
    for task, _sign in STEPS:
        signed = task in ("Sign and add the entry", COMMITTED)
        outcome = "the entry is there and whole" if signed else "no entry"
        reliability(
            f"the controller is killed (-9) at: {task}",
            f"{outcome}; nothing clear, no lock; the next run gets past it and removes what is left",
            area=AREA,
        )


MODULES = [
    ("kinfo", "See the cluster as each host sees it", "etcd_info"),
    ("khash", "Ask the members for their HashKV, one after the other", "etcd_info"),
    ("ksnapshot", "Take the snapshot", "etcd_snapshot"),
    ("kkit", "Take what etcd does not hold", "etcd_kit"),
    ("kfetch", "Fetch the sealed snapshot", "etcd_fetch"),
]


def moment(lab: BackupLab, host: str, module: str) -> Look:
    """Return how to see that a module runs: its pid, of the snapshot's once bytes are spooled."""
    for old in lab.folder(host, "started").glob("etcd_*"):
        old.unlink()  # of an earlier task
    if module == "etcd_snapshot":
        return lambda: spooling(lab, host)
    return lambda: announced(lab, host, module)


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_each_module_is_killed_on_its_host(
    lab: BackupLab, alpha: Cluster, reliability: t.Any
) -> None:
    """One run, five clusters, in each another module dies; a sixth is backed up."""
    with contextlib.ExitStack() as stack:
        hosts: dict[str, dict[str, Variables]] = {"alpha": lab.hosts(alpha)}
        mended = dict(hosts)
        accomplices: list[Accomplice] = []
        for name, _task, module in MODULES:
            cluster = stack.enter_context(Cluster(name, size=1))
            objects.fill(cluster, name=name)
            mended[name] = lab.hosts(cluster)
            host = f"{name}-cp1"
            hosts[name] = {host: announcing(lab, host, mended[name][host])}
            if module == "etcd_snapshot":
                proxy = Proxy(cluster.endpoints[0], hold=True)
                stack.callback(proxy.close)
                hosts[name] = lab.hosts(cluster, etcd_endpoints=[proxy.endpoint])

        def at_task(task: str) -> None:
            for name, when, module in MODULES:
                if when == task:
                    accomplices.append(Accomplice(moment(lab, f"{name}-cp1", module), end))

        run = lab.backup(hosts, handler=at_task)
        for each in accomplices:
            each.join()
        assert run.status == 2
        assert run.outcome("alpha")["outcome"] == "archived"
        for name, task, module in MODULES:
            degraded = module == "etcd_kit" or name == "khash"
            said = "" if name == "khash" else run.verdict(name)
            if not degraded:
                assert run.outcome(name)["outcome"] == "failed", name
                assert not lab.entries(name)
            if said:
                assert f"{name}-cp1: the module gave no answer" in said, said
            became = {
                "archived": "archived, its hash compared with no other",
                "degraded": "archived without the kit, exit status 2",
                "failed": "that cluster fails, the others are backed up",
            }
            reliability(
                f"{module} is killed (-9) at: {task}",
                f"{became[run.outcome(name)['outcome']]}; run again works",
                area=AREA,
                message=said,
            )
        lab.assert_clean(entries={"alpha": 1}, killed=True)
        run = lab.backup(mended)
        assert run.status == 0, run.text
        lab.assert_clean(entries={"alpha": 2, "kinfo": 1, "ksnapshot": 1, "kfetch": 1}, killed=True)


def test_the_archives_module_is_killed(lab: BackupLab, alpha: Cluster, reliability: t.Any) -> None:
    """On the controller itself: while it begins an entry, and while it signs one."""
    hosts = {"alpha": lab.hosts(alpha)}
    for task in ("Begin an entry in the archive", "Sign and add the entry"):
        accomplices: list[Accomplice] = []

        def at_task(waiting: list[Accomplice], awaited: str, name: str) -> None:
            if name == awaited:
                look = under_way(lab, "localhost", "etcd_archive_add")
                waiting.append(Accomplice(look, end))

        run = lab.backup(hosts, handler=functools.partial(at_task, accomplices, task))
        for each in accomplices:
            each.join()
        said = run.verdict("alpha")
        assert run.status == 2
        assert "the module gave no answer" in said, said
        assert not lab.entries("alpha")
        lab.assert_no_secret()
        assert not lab.held()
        reliability(
            f"etcd_archive_add is killed (-9) at: {task}",
            "no entry; run again works, and removes what is left",
            area=AREA,
            message=said,
        )
    assert lab.backup(hosts).status == 0
    lab.assert_clean(entries={"alpha": 1}, killed=True)
