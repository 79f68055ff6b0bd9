# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drills as units of a real systemd, on a host of their own: what they may do, and what kills leave."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from lab import binaries, objects, versions
from lab.archived import Keys, back_up
from lab.delivered import Delivery, deliver
from lab.hosts.host import Host
from lab.hosts.lab import Lab
from lab.hosts.machine import obstacle
from lab.hosts.plan import HostPlan, LabPlan
from lab.loopback import Cluster

if t.TYPE_CHECKING:
    from conftest import Reliability

ROOT = Path(__file__).resolve().parents[2]
MODULE = "ansible_collections.controlplane.etcd.plugins.modules.etcd_drill"
UNITS = "controlplane-etcd-drill-*"
WORK = "/var/tmp/drills"
AREA = "drill"


class Scratch:
    """A scratch node with systemd, on which the modules run with this machine's own Python."""

    def __init__(self, host: Host, entry: Path, keys: Keys, staging: Path) -> None:
        self.host, self._entry, self._keys, self._staging = host, entry, keys, staging
        host.exec(["mkdir", "-p", WORK, "/run/controlplane-etcd"])
        host.exec(["chmod", "755", WORK])

    def deliver(self) -> Delivery:
        """Lay a delivery there, its key in /run."""
        made = deliver(self._entry, self._keys, self._staging)
        packed = subprocess.run(
            ["tar", "-C", str(self._staging), "-cf", "-", made.folder.name],
            check=True,
            capture_output=True,
        ).stdout
        self.host.exec(["tar", "-C", WORK, "-xf", "-"], stdin=packed)
        there = Delivery(
            Path(WORK, made.folder.name), Path("/run/controlplane-etcd", made.identity.name)
        )
        key = made.identity.read_bytes()
        self.host.exec(["sh", "-c", f"umask 077; cat > {there.identity}"], stdin=key)
        shutil.rmtree(made.folder)
        return there

    def program(self, name: str, does: str) -> dict[str, str]:
        """Lay a script in the place of a program; REAL in it is the program itself."""
        found = binaries.get(versions.ETCD_DEFAULT)
        real, path = f"/opt/{name}.real", f"/opt/{name}"
        self.host.exec(["sh", "-c", f"cat > {real}"], stdin=getattr(found, name).read_bytes())
        text = "#!/bin/sh\n" + does.replace("REAL", real) + "\n"
        self.host.exec(["sh", "-c", f"cat > {path}; chmod 755 {real} {path}"], stdin=text.encode())
        return {"name": name, "path": path}

    def start(self, delivery: Delivery, **more: t.Any) -> subprocess.Popen[str]:
        """Start a drill."""
        options = delivery.options(work_dir=WORK, **more)
        process = subprocess.Popen(
            ["podman", "exec", "-i", "-e", f"PYTHONPATH={ROOT}/.venv/dev", self.host.container]
            + [str(Path(sys.executable)), "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
        process.stdin.close()
        process.stdin = None
        return process

    def drill(self, delivery: Delivery, **more: t.Any) -> dict[str, t.Any]:
        """Run a drill to its end."""
        out, err = self.start(delivery, **more).communicate(timeout=180)
        assert out.strip(), err
        return t.cast("dict[str, t.Any]", json.loads(out))

    def said(self, command: str) -> str:
        return self.host.exec(["sh", "-c", command], check=False).stdout.decode().strip()

    def pids(self, pattern: str) -> list[int]:
        return [int(word) for word in self.said(f"pgrep -f -- {shlex.quote(pattern)}").split()]

    def leavings(self) -> list[str]:
        """Return what is there of any drill: units, processes, files, keys."""
        units = self.said(f"systemctl list-units --all --plain --no-legend '{UNITS}'")
        found = [line for line in units.splitlines() if ".scope" not in line]
        found += [f"process {pid}" for pid in self.pids("[d]ata-dir=/var/tmp/drills")]
        found += self.said(f"ls -A {WORK} /run/controlplane-etcd | grep -v :").split()
        # Not into what is mounted there: this checkout, which holds the words, may be.
        look = "find /var/tmp /tmp /run -xdev -type f -exec grep -l 'a value after it' {} +"
        return found + self.said(look).split()

    def clear_left(self) -> list[str]:
        """Return what runs, and what lies there in clear."""
        found = self.pids("[b]in/etcd --name=drill")
        files = self.said("find /var/tmp/drills/controlplane-etcd-drill.* -type f").split()
        return [*map(str, found), *files]

    def wait_clean(self, *, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while found := self.leavings():
            journal = self.said(f"journalctl --no-pager -n 40 -u '{UNITS}'")
            assert time.monotonic() < end, f"{found}\n{journal}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Scratch]:
    """One host, and an entry of a real cluster."""
    if reason := obstacle():
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("scratch")
    keys = Keys.make(root)
    (root / "staging").mkdir()
    with Cluster("systemd", size=1) as cluster:
        objects.fill(cluster, copies=1)
        cluster.etcdctl("put", "/registry/configmaps/default/later", "a value after it")
        entry = Path(back_up(cluster, keys, root / "archive", root / "staging")["path"])
    plan = LabPlan(clusters=(), spare=(HostPlan("scratch", 51),))
    lab = Lab("drillsd", plan)
    here = tuple((path, path) for path in dict.fromkeys((str(ROOT), sys.base_prefix)))
    lab.hosts["scratch"] = dataclasses.replace(lab.hosts["scratch"], binds=here)
    lab.down()
    with lab:
        yield Scratch(lab.host("scratch"), entry, keys, root / "deliveries")


HOLD = 'case "$*" in *--data-dir=*) kill -STOP $$;; esac\nexec REAL "$@"'


def held(scratch: Scratch, delivery: Delivery) -> tuple[subprocess.Popen[str], int]:
    """Start a drill whose etcd is stopped as it starts; return it and etcd's pid on the host."""
    process = scratch.start(delivery, tools=[scratch.program("etcd", HOLD)])
    end = time.monotonic() + 60
    while True:
        for pid in scratch.pids("[b]in/etcd --name=drill"):
            if " T" in scratch.said(f"ps -o pid=,stat= -p {pid}"):
                return process, pid
        assert process.poll() is None, process.communicate()[0][:3000]
        assert time.monotonic() < end, scratch.said("ps auxww")
        time.sleep(0.1)


def test_a_drill_is_a_unit_that_may_do_little(scratch: Scratch, reliability: Reliability) -> None:
    delivery = scratch.deliver()
    process, pid = held(scratch, delivery)
    (unit,) = re.findall(
        r"controlplane-etcd-drill-\S+\.service",
        scratch.said(f"systemctl list-units --plain --no-legend '{UNITS}'"),
    )
    told = dict(
        line.split("=", 1)
        for line in scratch.said(f"systemctl show {unit}").splitlines()
        if "=" in line
    )
    assert told["MemoryMax"] == str(2 << 30)
    assert told["CPUQuotaPerSecUSec"] == "1s"
    assert told["ProtectSystem"] == "strict"
    assert told["NoNewPrivileges"] == told["PrivateTmp"] == "yes"
    status = scratch.said(f"cat /proc/{pid}/status")
    uid = re.search(r"^Uid:\s+(\d+)\s+(\d+)", status, re.M)
    assert uid and uid[1] == uid[2] and int(uid[1]) > 60000
    assert re.search(r"^CapEff:\s+0+$", status, re.M) and re.search(r"^CapPrm:\s+0+$", status, re.M)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    networks = scratch.said(f"readlink /proc/{pid}/ns/net /proc/1/ns/net").split()
    assert networks[0] != networks[1]
    links = scratch.said(f"nsenter -t {pid} -n ip -br link").splitlines()
    assert [line.split()[0] for line in links] == ["lo"]
    assert unit in scratch.said(f"cat /proc/{pid}/cgroup")
    # Nothing of the host can be written but the drill's own folder.
    tries = "for at in / /etc /opt /var/lib /root /run; do touch $at/drill && echo $at; done"
    inside = f"nsenter -t {pid} -m -- sh -c {shlex.quote(tries)} 2>/dev/null"
    assert set(scratch.said(inside).split()) <= {"/run"}
    scratch.said(f"kill -CONT {pid}")
    out, _err = process.communicate(timeout=120)
    record = json.loads(out)["drill"]
    assert (record["verdict"], record["reason"], record["isolation"]) == ("passed", "", "systemd")
    scratch.wait_clean(seconds=1)
    reliability(
        "a drill on a host with systemd",
        "etcd runs as a unit with its own user and network, limited; nothing is left of it",
        area=AREA,
    )


def test_a_plain_drill_passes(scratch: Scratch) -> None:
    record = scratch.drill(scratch.deliver())["drill"]
    assert (record["verdict"], record["isolation"]) == ("passed", "systemd")
    scratch.wait_clean(seconds=1)


@pytest.mark.parametrize("who", ["the module", "the module and its keeper"])
def test_what_is_killed_leaves_nothing(
    who: str, scratch: Scratch, reliability: Reliability
) -> None:
    delivery = scratch.deliver()
    process, _pid = held(scratch, delivery)
    modules = scratch.pids(f"-m {MODULE}$")
    module = next(
        pid for pid in modules if scratch.said(f"ps -o ppid= -p {pid}") not in map(str, modules)
    )
    doomed = modules if "keeper" in who else [module]
    scratch.said("kill -9 " + " ".join(map(str, doomed)))
    process.wait(30)
    if "keeper" in who:
        end = time.monotonic() + 20
        while found := scratch.clear_left():
            assert time.monotonic() < end, found
            time.sleep(0.2)
        # Sealed, and its key in memory: the next delivery removes both. The next drill removes the
        # empty folder.
        scratch.said(f"rm -rf {delivery.folder} {delivery.identity}")
        assert scratch.drill(scratch.deliver())["drill"]["verdict"] == "passed"
    scratch.wait_clean()
    reliability(
        f"kill -9 of {who} on a host with systemd",
        "etcd is ended and its data removed"
        + (", by systemd itself" if "keeper" in who else ", with delivery and key"),
        area=AREA,
    )


def test_a_killed_etcd_proves_nothing(scratch: Scratch, reliability: Reliability) -> None:
    process, pid = held(scratch, scratch.deliver())
    scratch.said(f"kill -9 {pid}")
    out, _err = process.communicate(timeout=120)
    answer = json.loads(out)
    assert answer["failed"] and answer["error"]["kind"] == "cage_refused", answer
    scratch.wait_clean(seconds=1)
    reliability(
        "kill -9 of etcd in a unit of systemd",
        "refused, nothing proven",
        area=AREA,
        message=answer["msg"],
    )


def test_too_little_memory_proves_nothing(scratch: Scratch, reliability: Reliability) -> None:
    eats = 'exec python3 -c "import time; held = bytearray(600 << 20); time.sleep(60)"'
    tool = scratch.program("etcd", f'case "$*" in *--data-dir=*) {eats};; esac\nexec REAL "$@"')
    answer = scratch.drill(scratch.deliver(), memory_max="300M", tools=[tool])
    assert answer["failed"] and answer["error"]["kind"] == "cage_refused", answer
    assert "memory_max" in answer["msg"]
    scratch.wait_clean(seconds=1)
    reliability(
        "an etcd that needs more than memory_max",
        "refused, nothing proven",
        area=AREA,
        message=answer["msg"],
    )


def test_an_etcd_that_ends_is_a_failed_drill(scratch: Scratch) -> None:
    does = (
        'case "$*" in *--data-dir=*) echo "panic: it is broken" >&2; exit 3;; esac\nexec REAL "$@"'
    )
    answer = scratch.drill(scratch.deliver(), tools=[scratch.program("etcd", does)])
    assert "drill" in answer, answer
    record = answer["drill"]
    assert record["verdict"] == "failed" and "it is broken" in record["reason"]
    scratch.wait_clean(seconds=1)
