# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run real TLS etcd clusters on 127.0.0.1, each member with a host tree as kubeadm leaves it.

    with Cluster("alpha", size=3) as alpha:
        alpha.etcdctl("put", "key", "value")
        inventory = alpha.inventory()

Needs neither root nor Docker. etcd dies with the *thread* that started it (PR_SET_PDEATHSIG), so
start clusters in a thread that lives as long as they shall: the main one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json as jsonlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from lab import binaries, kubeadm, static_pods, versions
from lab.member import LoopbackError, Member, free_port
from lab.pki import CertificateFiles, ClusterPki, authority, issue
from lab.planted import secrets_of


class Cluster:
    """A real etcd cluster of 1 or more members on loopback."""

    def __init__(
        self,
        name: str = "alpha",
        *,
        size: int = 3,
        version: str = versions.ETCD_DEFAULT,
        hosts: t.Sequence[str] | None = None,
        root: Path | None = None,
        extra_flags: t.Sequence[str] = (),
        auth: bool = False,
        corrupt_check: bool = True,
        python: str = sys.executable,
    ) -> None:
        self.name = name
        self.version = binaries.get(version).version
        self.pki = ClusterPki()
        self.auth = auth
        self.password = secrets.token_hex(12) if auth else ""
        self.python = python
        self.corrupt_check = corrupt_check
        self.extra_flags = tuple(extra_flags)
        self.members: dict[str, Member] = {}
        self._own_root = root is None
        self.root = root or Path(tempfile.mkdtemp(prefix=f"etcd-{name}-"))
        self._ports: set[int] = set()
        self._auth_on = False
        names = list(hosts or [f"{name}-cp{number + 1}" for number in range(size)])
        nodes = [self._node(host) for host in names]
        initial = ",".join(f"{node.name}={node.peer_url}" for node in nodes)
        for number, node in enumerate(nodes):
            self._lay(node, initial, joined=False, first=number == 0)

    def _node(self, host: str) -> static_pods.Node:
        root = self.root / host
        ports = [free_port(self._ports) for _turn in range(4)]
        return static_pods.Node(host, "127.0.0.1", self.version, root, str(root), *ports)

    def _lay(self, node: static_pods.Node, initial: str, *, joined: bool, first: bool) -> Member:
        settings = static_pods.EtcdSettings(initial, joined, self.corrupt_check, self.extra_flags)
        kubeadm.write_tree(node, self.pki, settings, first=first)
        self.members[node.name] = Member(node, settings)
        return self.members[node.name]

    def __enter__(self) -> Cluster:
        try:
            self.up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_rest: object) -> None:
        self.close()

    def up(self) -> None:
        """Start every member that doesn't run, and wait until all are healthy."""
        for member in self.members.values():
            if not member.running:
                member.spawn()
        for name in self.members:
            self.wait_healthy(name)
        if self.auth and not self._auth_on:
            self.etcdctl("user", "add", "root", "--new-user-password", self.password)
            self.etcdctl("user", "grant-role", "root", "root")
            self.etcdctl("auth", "enable", json=False)
            self._auth_on = True

    def close(self) -> None:
        """Stop every member and remove the trees (if the root was made here)."""
        for member in self.members.values():
            member.stop(kill=True)
        if self._own_root:
            shutil.rmtree(self.root, ignore_errors=True)

    def member(self, name: str) -> Member:
        return self.members[name]

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members.values()]

    def wait_healthy(self, name: str, *, seconds: float = 60) -> None:
        """Wait until the member answers linearizable reads; say what its log says if it doesn't."""
        member = self.member(name)
        end = time.monotonic() + seconds
        while not member.healthy():
            if not member.running or time.monotonic() > end:
                tail = "\n".join(member.log.read_text(errors="replace").splitlines()[-8:])
                raise LoopbackError(f"{name}: etcd is not healthy after its start:\n{tail}")
            time.sleep(0.05)

    def start(self, name: str, *, wait: bool = True) -> None:
        """Start one member; `wait=False` where there will be no quorum."""
        self.member(name).spawn()
        if wait:
            self.wait_healthy(name)

    def stop(self, name: str, kill: bool = False) -> None:
        self.member(name).stop(kill=kill)

    def pause(self, name: str) -> None:
        """Let a member hang: its ports accept, nothing answers."""
        os.kill(self.member(name).pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        os.kill(self.member(name).pid, signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self, name: str) -> t.Iterator[None]:
        self.pause(name)
        try:
            yield
        finally:
            self.resume(name)

    def add_learner(self, host: str) -> Member:
        """Add and start a learner, with a host tree of its own."""
        node = self._node(host)
        self._retry("member", "add", host, "--learner", f"--peer-urls={node.peer_url}")
        nodes = [member.node for member in self.members.values()] + [node]
        initial = ",".join(f"{each.name}={each.peer_url}" for each in nodes)
        member = self._lay(node, initial, joined=True, first=False)
        member.spawn()
        end = time.monotonic() + 30
        while not self.is_serving(host):
            if time.monotonic() > end:
                raise LoopbackError(f"{host}: the learner doesn't answer; see {member.log}.")
            time.sleep(0.1)
        return member

    def _retry(self, *args: str) -> None:
        """Run etcdctl until it works: etcd changes members only 5 s after the last one came up."""
        end = time.monotonic() + 20
        while True:
            try:
                self.etcdctl(*args)
                return
            except LoopbackError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def is_serving(self, name: str) -> bool:
        """Say whether the member answers a status call (a learner does, it is never `healthy`)."""
        try:
            answer = self.etcdctl("endpoint", "status", endpoints=[self.member(name).endpoint])
        except LoopbackError:
            return False
        return bool(answer)

    def overwrite(self, name: str, old: bytes, new: bytes) -> int:
        """Replace bytes in the database of a stopped member, and return how often.

        Makes that member's HashKV differ. Needs `corrupt_check=False`, else it won't start again.
        """
        member = self.member(name)
        if member.running or len(old) != len(new):
            raise LoopbackError(f"{name}: overwrite needs a stopped member and equal lengths.")
        data = member.db.read_bytes()
        member.db.write_bytes(data.replace(old, new))
        return data.count(old)

    def status(self, name: str) -> dict[str, t.Any]:
        """Return etcdctl's `endpoint status` of one member."""
        answer = self.etcdctl("endpoint", "status", endpoints=[self.member(name).endpoint])
        return t.cast("dict[str, t.Any]", answer[0]["Status"])

    def leader(self, *, seconds: float = 10) -> str:
        """Return the leader's host; an election may be on its way."""
        end = time.monotonic() + seconds
        while True:
            for name, member in self.members.items():
                if member.running:
                    status = self.status(name)
                    if status["header"]["member_id"] == status.get("leader"):
                        return name
            if time.monotonic() > end:
                raise LoopbackError(f"{self.name}: no member leads.")
            time.sleep(0.2)

    def environment(self, endpoints: t.Sequence[str] | None = None) -> dict[str, str]:
        """Return etcdctl's variables, with the healthcheck client's certificate."""
        pki = next(iter(self.members.values())).certificates_dir / "etcd"
        env = {key: value for key, value in os.environ.items() if not key.startswith("ETCD")}
        env["ETCDCTL_ENDPOINTS"] = ",".join(endpoints or self.endpoints)
        env["ETCDCTL_CACERT"] = str(pki / "ca.crt")
        env["ETCDCTL_CERT"] = str(pki / "healthcheck-client.crt")
        env["ETCDCTL_KEY"] = str(pki / "healthcheck-client.key")
        if self._auth_on:
            env["ETCDCTL_USER"] = f"root:{self.password}"
        return env

    def etcdctl(
        self,
        *args: str,
        json: bool = True,
        endpoints: t.Sequence[str] | None = None,
        stdin: bytes | None = None,
        timeout: float = 60,
    ) -> t.Any:
        """Run etcdctl of the cluster's version; return its JSON, or its text with `json=False`."""
        tool = binaries.get(self.version).etcdctl
        argv = [str(tool), *args, *(["--write-out=json"] if json else [])]
        text = self._tool(argv, self.environment(endpoints), stdin, timeout)
        return jsonlib.loads(text.splitlines()[-1]) if json else text

    def etcdctl_bare(self, *args: str, endpoints: t.Sequence[str] | None = None) -> str:
        """Run etcdctl with nothing but the endpoints set: certificates come as flags."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("ETCD")}
        env["ETCDCTL_ENDPOINTS"] = ",".join(endpoints or self.endpoints)
        return self._tool([str(binaries.get(self.version).etcdctl), *args], env, None, 30)

    def etcdutl(self, *args: str, json: bool = False, timeout: float = 120) -> t.Any:
        """Run etcdutl (3.4: etcdctl, which knows its `snapshot` commands) of the version."""
        tool = binaries.get(self.version).snapshot_tool
        argv = [str(tool), *args, *(["--write-out=json"] if json else [])]
        env = {key: value for key, value in os.environ.items() if not key.startswith("ETCD")}
        text = self._tool(argv, env, None, timeout)
        return jsonlib.loads(text.splitlines()[-1]) if json else text

    def _tool(
        self, argv: list[str], env: dict[str, str], stdin: bytes | None, timeout: float
    ) -> str:
        done = subprocess.run(
            argv, env=env, input=stdin, capture_output=True, timeout=timeout, check=False
        )
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise LoopbackError(f"{' '.join(argv[:3])}: exit status {done.returncode}: {said}")
        return done.stdout.decode()

    def cert(
        self,
        name: str = "client",
        *,
        common_name: str = "kube-etcd-healthcheck-client",
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
        foreign: bool = False,
    ) -> CertificateFiles:
        """Issue a client certificate into files; `foreign`: of a CA that etcd doesn't know."""
        ca = authority("etcd-ca") if foreign else self.pki.etcd_ca
        base = self.root / "issued" / name
        issue(ca, common_name, not_before=not_before, not_after=not_after).write(base)
        ca.write(self.root / "issued" / f"{name}-ca")
        folder = base.parent
        return CertificateFiles(
            folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}-ca.crt"
        )

    def host_variables(self, name: str) -> dict[str, t.Any]:
        """Return the inventory variables of one host."""
        member = self.member(name)
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": self.python,
            "etcd_certificates_dir": str(member.certificates_dir),
            "etcd_static_pod_path": str(member.static_pod_path),
            "etcd_data_dir": str(member.data_dir),
        }

    def inventory(self, *others: Cluster, **variables: t.Any) -> dict[str, t.Any]:
        """Return an inventory with group `etcd` of this cluster and `others`, one child group each.

        `variables` are set on the group `etcd`. Write it with yaml.safe_dump.
        """
        children = {
            cluster.name: {
                "hosts": {name: cluster.host_variables(name) for name in cluster.members},
                "vars": {"etcd_cluster": cluster.name},
            }
            for cluster in (self, *others)
        }
        return {"all": {"children": {"etcd": {"children": children, "vars": dict(variables)}}}}

    def secrets(self) -> list[str]:
        """Return what must never show up anywhere: key material, encryption keys, the password."""
        found = secrets_of(self.root)
        return sorted({*found, self.password} - {""})
