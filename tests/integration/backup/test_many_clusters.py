# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One inventory of many clusters, each with a trouble of its own, and the same inventory mended.

All share one run, as they would at night: each must fail by its own name, or be backed up beside
the ones that fail. Then everything is mended and the same command backs them all up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import os
import shutil
import socket
import threading
import typing as t
from pathlib import Path

import pytest
from integration.backup.backup_lab import BackupLab, Run, Variables
from integration.backup.things import NotEtcd, Proxy, SmallDisk, why_no_small_disks

from lab import objects
from lab.loopback import Cluster
from lab.pki import authority, issue

AREA = "playbook"


@dataclasses.dataclass
class Trouble:
    """A cluster with a trouble, and its hosts once that is mended."""

    hosts: dict[str, Variables]
    mended: dict[str, Variables]
    mend: t.Callable[[], None] = lambda: None
    archive: Path | None = None
    at: dict[str, t.Callable[[], None]] = dataclasses.field(default_factory=dict)
    """What to do at the start of which task."""


class Night:
    """The lab, its clusters and what became of them."""

    run: Run

    def __init__(self, lab: BackupLab, stack: contextlib.ExitStack) -> None:
        self.lab = lab
        self.stack = stack
        self.troubles: dict[str, Trouble] = {}

    def cluster(self, name: str, **options: t.Any) -> Cluster:
        """Start a cluster with Kubernetes objects in it."""
        cluster = self.stack.enter_context(Cluster(name, **{"size": 1, **options}))
        objects.fill(cluster, name=name)
        return cluster

    def alone(self, name: str, **variables: t.Any) -> dict[str, Variables]:
        """Start a cluster of one; return its host with `variables`."""
        return self.lab.hosts(self.cluster(name), **variables)

    def add(
        self,
        name: str,
        hosts: dict[str, Variables],
        *,
        bad: Variables | None = None,
        **options: t.Any,
    ) -> None:
        """Add a trouble: `bad` are the variables that make it, gone when mended."""
        troubled = {
            host: self.lab.host(host, {**given, **(bad or {})}) for host, given in hosts.items()
        }
        self.troubles[name] = Trouble(troubled, options.pop("mended", hosts), **options)

    def proxy(self, cluster: Cluster, *, hold: bool) -> Proxy:
        made = Proxy(cluster.endpoints[0], hold=hold)
        self.stack.callback(made.close)
        return made

    def disk(self, name: str, **options: t.Any) -> SmallDisk:
        made = SmallDisk(self.lab.root / "disks" / name, **options)
        self.stack.callback(made.close)
        return made

    def staged(self, host: str) -> Path:
        """Return the sealed snapshot on its host."""
        found = list(self.lab.folder(host, "staging").glob("*/data.db.zst.age"))
        assert len(found) == 1, found
        return found[0]

    def archives(self) -> list[Path]:
        return [each.archive for each in self.troubles.values() if each.archive]

    def backup(self, *, mended: bool = False) -> Run:
        """Back up all clusters, in trouble or mended."""

        def at_task(task: str) -> None:
            for trouble in self.troubles.values():
                if task in trouble.at and not mended:
                    trouble.at[task]()

        clusters = {
            name: trouble.mended if mended else trouble.hosts
            for name, trouble in self.troubles.items()
        }
        return self.lab.backup(clusters, handler=at_task)


@pytest.fixture(scope="module")
def night() -> t.Iterator[Night]:
    """The run of a bad night, looked at by every test here."""
    with contextlib.ExitStack() as stack:
        night = Night(stack.enter_context(BackupLab()), stack)
        night.add("good", night.alone("good"))
        add_certificates(night)
        add_members(night)
        add_streams(night)
        add_files(night)
        if not why_no_small_disks():
            add_disks(night)
        night.run = night.backup()
        yield night


def add_certificates(night: Night) -> None:
    """Hosts that can't even ask: endpoint, CA, certificate, key."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = f"https://127.0.0.1:{closed.getsockname()[1]}"
    hosts = night.alone("refused")
    night.add("refused", hosts, bad={"etcd_endpoints": [refused]})

    cluster = night.cluster("notetcd")
    other = NotEtcd(cluster)
    night.stack.callback(other.close)
    night.add("notetcd", night.lab.hosts(cluster), bad={"etcd_endpoints": [other.endpoint]})

    cluster = night.cluster("wrongca")
    trees = own_certificates(night, cluster)
    authority("etcd-ca").write(trees / "etcd" / "ca")
    night.add("wrongca", night.lab.hosts(cluster), bad={"etcd_certificates_dir": str(trees)})

    cluster = night.cluster("expired")
    trees = own_certificates(night, cluster)
    yesterday = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)
    for name in ("server", "healthcheck-client"):
        issue(cluster.pki.etcd_ca, "expired", not_after=yesterday).write(trees / "etcd" / name)
    night.add("expired", night.lab.hosts(cluster), bad={"etcd_certificates_dir": str(trees)})

    cluster = night.cluster("nokey")
    trees = own_certificates(night, cluster)
    for name in ("server", "healthcheck-client"):
        (trees / "etcd" / f"{name}.key").chmod(0)
    bad = {"etcd_certificates_dir": str(trees)}
    if os.geteuid() == 0:  # who reads everything, but for a root without capabilities
        bad["ansible_python_interpreter"] = str(powerless(night, cluster.python))
    night.add("nokey", night.lab.hosts(cluster), bad=bad)


def own_certificates(night: Night, cluster: Cluster) -> Path:
    """Return a copy of the first member's certificates, to spoil."""
    member = next(iter(cluster.members.values()))
    target = night.lab.root / "trees" / member.name
    shutil.copytree(member.certificates_dir, target)
    return target


def powerless(night: Night, python: str) -> Path:
    """Return an interpreter that root runs without its capabilities."""
    path = night.lab.root / "trees" / "python"
    path.write_text(
        f'#!/bin/sh\nexec setpriv --bounding-set=-all --inh-caps=-all -- {python} "$@"\n'
    )
    path.chmod(0o755)
    return path


def add_members(night: Night) -> None:
    """Clusters that can't be backed up, or only with a warning."""
    cluster = night.cluster("learner")
    cluster.add_learner("learner-cp2")
    only = night.lab.hosts(cluster, "learner-cp2")
    night.add("learner", only, mended=night.lab.hosts(cluster))

    cluster = night.cluster("noquorum", size=2)
    cluster.stop("noquorum-cp2")
    night.add("noquorum", night.lab.hosts(cluster), mend=cluster.up)

    cluster = night.cluster("different", size=3, corrupt_check=False)
    cluster.etcdctl("put", "/registry/configmaps/default/odd", "value-as-it-was-written")
    cluster.stop("different-cp3")
    assert cluster.overwrite("different-cp3", b"value-as-it-was", b"value-as-it-is!") > 0
    cluster.start("different-cp3")

    def mend() -> None:
        cluster.stop("different-cp3")
        assert cluster.overwrite("different-cp3", b"value-as-it-is!", b"value-as-it-was") > 0
        cluster.start("different-cp3")

    night.add("different", night.lab.hosts(cluster), mend=mend)

    full = night.cluster("nospace", extra_flags=["--quota-backend-bytes=4194304"])
    with pytest.raises(Exception, match="space exceeded"):
        for number in range(100):
            full.etcdctl("put", f"filler{number}", "x" * 100_000, json=False)
    night.add("nospace", night.lab.hosts(full))


def add_streams(night: Night) -> None:
    """A stream that is cut, and one that stalls."""
    for name, hold in (("cut", False), ("stalled", True)):
        cluster = night.cluster(name)
        proxy = night.proxy(cluster, hold=hold)
        bad = {"etcd_endpoints": [proxy.endpoint], "etcd_backup_stream_idle_timeout": "3s"}
        night.add(name, night.lab.hosts(cluster), bad=bad)


def add_files(night: Night) -> None:
    """Sealed files that change between their host's module and the transfer."""

    def flip() -> None:
        with night.staged("flipped-cp1").open("r+b") as file:
            file.seek(1000)
            byte = file.read(1)
            file.seek(1000)
            file.write(bytes([byte[0] ^ 1]))

    def truncate() -> None:
        path = night.staged("truncated-cp1")
        os.truncate(path, path.stat().st_size - 1)

    for name, act in (("flipped", flip), ("truncated", truncate)):
        night.add(name, night.alone(name), at={"Fetch the sealed snapshot": act})


def add_disks(night: Night) -> None:
    """Full disks, on the host and on the controller, seen before and met on the way."""
    small = night.disk("spoolsmall", mib=32)
    night.add(
        "spoolsmall",
        night.alone("spoolsmall"),
        bad={"etcd_backup_spool_dir": str(small.path)},
    )

    spool = night.disk("spoolfull", mib=160)
    cluster = night.cluster("spoolfull")
    proxy = night.proxy(cluster, hold=True)

    def fill_under_way() -> None:
        proxy.held.wait()
        spool.fill()
        proxy.release()

    threading.Thread(target=fill_under_way, daemon=True).start()
    night.add(
        "spoolfull",
        night.lab.hosts(cluster, etcd_backup_spool_dir=str(spool.path)),
        bad={"etcd_endpoints": [proxy.endpoint]},
        mend=spool.drain,
    )

    for name, task, leave in (
        (
            "archivesmall",
            "Fetch the sealed snapshot",
            lambda host: night.staged(host).stat().st_size // 2,
        ),
        # room for the bytes, none for the blocks that say where they lie
        (
            "archivefull",
            "Fetch the sealed snapshot",
            lambda host: night.staged(host).stat().st_size + 1023,
        ),
        ("archivelate", "Sign and add the entry", lambda host: 0),
    ):
        disk = night.disk(name, mib=8, kind="ext2")
        archive = disk.path / "archive"

        def fill(disk: SmallDisk = disk, host: str = f"{name}-cp1", leave: t.Any = leave) -> None:
            disk.fill(leave=leave(host))

        night.add(
            name,
            night.alone(name, etcd_archive=str(archive)),
            at={task: fill},
            archive=archive,
            mend=disk.drain,
        )


BEGUN = {"noquorum", "cut", "stalled", "flipped", "truncated"}
BEGUN |= {"spoolfull", "archivesmall", "archivefull", "archivelate"}
needs_disks = pytest.mark.skipif(bool(why_no_small_disks()), reason=why_no_small_disks())

REFUSED = [
    ("refused", "endpoint refused", ["refused-cp1", "https://127.0.0.1:", "refused"]),
    ("notetcd", "not an etcd", ["notetcd-cp1", "https://127.0.0.1:", "not etcd"]),
    ("wrongca", "wrong CA", ["wrongca-cp1", "ca.crt"]),
    ("expired", "expired client certificate", ["expired-cp1", "server.crt", "expired"]),
    ("nokey", "unreadable key", ["nokey-cp1", "server.key", "Permission denied"]),
    ("learner", "learner only", ["learner-cp2", "learner"]),
    ("noquorum", "no quorum", ["noquorum-cp2", "quorum", "emergency"]),
    ("different", "one member's HashKV differs", ["Not to be trusted: different-cp3", "hashkv"]),
    ("cut", "connection cut mid-stream", ["cut-cp1", "https://127.0.0.1:"]),
    ("stalled", "a stream that brings nothing more", ["stalled-cp1", "no bytes came for 3 s"]),
    ("flipped", "a bit flipped in the sealed file on its host", ["flipped-cp1", "sha256"]),
    ("truncated", "the sealed file truncated on its host", ["truncated-cp1", "sha256"]),
]
DISKS = [
    ("spoolsmall", "disk too small on the host's spool", ["spoolsmall-cp1", "MiB", "spool_dir"]),
    ("spoolfull", "disk full on the host's spool, mid-stream", ["spoolfull-cp1", "no space left"]),
    ("archivesmall", "disk too small on the controller's archive", ["archivesmall-cp1", "free"]),
    (
        "archivefull",
        "disk full on the controller's archive, mid-transfer",
        ["archivefull-cp1", "No room on the controller", "free"],
    ),
    ("archivelate", "disk full on the controller's archive, at the manifest", ["no room left"]),
]


def assert_refused(night: Night, cluster: str, words: list[str]) -> str:
    """Assert that a cluster failed in words that name it, and has no entry; return them."""
    outcome = night.run.outcome(cluster)
    assert outcome["outcome"] == "failed", outcome
    assert not outcome["id"] and not outcome["path"]
    said = night.run.verdict(cluster)
    assert said.startswith(f"Cluster {cluster} was NOT backed up. "), said
    for word in words:
        assert word in said, said
    assert "Traceback" not in said and "MODULE FAILURE" not in said, said
    trouble = night.troubles[cluster]
    assert not night.lab.entries(cluster, archive=trouble.archive)
    return said


@pytest.mark.parametrize(("cluster", "fault", "words"), REFUSED, ids=[each[0] for each in REFUSED])
def test_one_cluster_fails_by_its_own_name(
    night: Night, cluster: str, fault: str, words: list[str], reliability: t.Any
) -> None:
    said = assert_refused(night, cluster, words)
    reliability(
        fault,
        "that cluster fails, nothing is left, the others are backed up",
        area=AREA,
        message=said,
    )


@needs_disks
@pytest.mark.parametrize(("cluster", "fault", "words"), DISKS, ids=[each[0] for each in DISKS])
def test_a_full_disk_fails_with_figures(
    night: Night, cluster: str, fault: str, words: list[str], reliability: t.Any
) -> None:
    said = assert_refused(night, cluster, words)
    assert any(char.isdigit() for char in said)
    reliability(fault, "that cluster fails with figures, nothing is left", area=AREA, message=said)


def test_the_others_are_backed_up_and_the_exit_status_tells(
    night: Night, reliability: t.Any
) -> None:
    assert night.run.status == 2
    assert night.run.outcome("good")["outcome"] == "archived"
    assert len(night.lab.entries("good")) == 1
    reliability("one cluster of many fails", "the others are archived, exit status 2", area=AREA)


def test_nospace_is_backed_up_and_said(night: Night, reliability: t.Any) -> None:
    assert night.run.outcome("nospace")["outcome"] == "archived"
    warned = night.run.said("nospace-cp1", "Take the snapshot")["warnings"]
    assert any("NOSPACE" in each for each in warned), warned
    assert "NOSPACE" in str(night.run.outcome("nospace")["alarms"])
    shown = night.run.said("nospace-cp1", "Show it")["msg"]
    assert "ALARM in etcd: NOSPACE" in shown
    reliability("NOSPACE alarm", "backed up, and said", area=AREA, message=warned[0])


def test_nothing_is_left_behind(night: Night) -> None:
    night.lab.assert_clean(entries={"good": 1, "nospace": 1}, archives=night.archives())


def test_mended_they_are_all_backed_up(night: Night, reliability: t.Any) -> None:
    # Of those that had begun nothing, none could leave anything: the others tell.
    night.troubles = {name: night.troubles[name] for name in night.troubles if name in BEGUN}
    for trouble in night.troubles.values():
        trouble.mend()
    run = night.backup(mended=True)
    outcomes = {name: run.outcome(name)["outcome"] for name in night.troubles}
    assert outcomes == dict.fromkeys(night.troubles, "archived"), run.text[-20000:]
    assert run.status == 0
    for name, trouble in night.troubles.items():
        assert len(night.lab.entries(name, archive=trouble.archive)) == 1, name
    night.lab.assert_clean(archives=night.archives())
    reliability("run again after each of these", "all clusters are archived", area=AREA)
