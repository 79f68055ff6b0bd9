# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a whole lab up and down, and describe it as an inventory.

lab = Lab()            # the one that people use; tests take a prefix of their own
lab.up()
lab.inventory()        # a dict; the same lies in lab.inventory_path as YAML
lab.host("cp1").run(["true"], sudo=True)
lab.cluster("alpha").etcdctl("put", "key", "value")
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from lab import binaries
from lab.hosts import clusters
from lab.hosts.clusters import EtcdCluster
from lab.hosts.host import Host
from lab.hosts.image import USER, ensure_image
from lab.hosts.machine import LabError, ensure_host_tools, run
from lab.hosts.network import Network, Port
from lab.hosts.plan import DEFAULT, HostPlan, LabPlan
from lab.planted import secrets_of

STATE = Path("/var/lib/controlplane-etcd-lab")
READY = "/etc/controlplane-etcd-lab"
"""Lies on a host once it was laid completely."""


class Lab:
    """All hosts and clusters under one name prefix, with their state below STATE/PREFIX."""

    def __init__(self, prefix: str = "lab", plan: LabPlan = DEFAULT) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,10}", prefix):
            raise LabError(f"prefix {prefix!r}: wants up to 11 lower-case letters and digits.")
        self.prefix = prefix
        self.plan = plan
        self.state = STATE / prefix
        self.network = Network(prefix)
        self.hosts: dict[str, Host] = {}
        self.clusters: dict[str, EtcdCluster] = {}
        for cluster in plan.clusters:
            members = [self._host(host, clusters.binds(cluster)) for host in cluster.hosts]
            self.clusters[cluster.name] = EtcdCluster(cluster, members, self.state)
        for host in plan.spare:
            self._host(host, ())

    def _host(self, plan: HostPlan, binds: tuple[tuple[str, str], ...]) -> Host:
        host = Host(plan, Port(self.network, plan.name, plan.number), self.state, binds)
        self.hosts[plan.name] = host
        return host

    def host(self, name: str) -> Host:
        return self.hosts[name]

    def cluster(self, name: str) -> EtcdCluster:
        return self.clusters[name]

    @property
    def inventory_path(self) -> Path:
        return self.state / "inventory.yml"

    def __enter__(self) -> Lab:
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_rest: object) -> None:
        self.down()

    def up(self) -> None:
        """Bring up whatever isn't up yet; what is up and whole stays as it is."""
        ensure_host_tools()
        with binaries.cache_lock(f"lab-{self.prefix}"):
            image = ensure_image()
            self.state.mkdir(parents=True, exist_ok=True)
            self.state.chmod(0o700)
            self._key()
            self.network.up()
            with ThreadPoolExecutor(4) as pool:
                fresh = set(filter(None, pool.map(lambda h: self._up(h, image), self._all())))
            self._known_hosts()
            for cluster in self.clusters.values():
                if {host.name for host in cluster.hosts} & fresh:
                    self._lay_again(cluster, fresh, image)
                else:
                    cluster.start()
                    cluster.wait_healthy()
            for host in self._all():
                host.exec(["touch", READY])
            self.inventory_path.write_text(yaml.safe_dump(self.inventory(), sort_keys=False))

    def _all(self) -> list[Host]:
        return list(self.hosts.values())

    def _up(self, host: Host, image: str) -> str:
        """Bring one host up; return its name if it is a new one."""
        condition = host.condition()
        if condition and host.port.exists():
            if condition != "running":
                host.start()
            if host.exec(["test", "-e", READY], check=False).returncode == 0:
                host.faults.heal()
                return ""
        self._make(host, image)
        return host.name

    def _make(self, host: Host, image: str) -> None:
        host.remove()
        host.create(image)
        public = (self.state / "ssh" / "id_ed25519.pub").read_bytes()
        home = f"/home/{USER}/.ssh"
        host.exec(["install", "-d", "-m", "700", "-o", USER, "-g", USER, home])
        keys = f"{home}/authorized_keys"
        host.exec(["install", "-m", "600", "-o", USER, "/dev/stdin", keys], stdin=public)
        host.exec(["tee", "/etc/hosts"], stdin=self._hosts_file(host).encode())

    def _lay_again(self, cluster: EtcdCluster, fresh: set[str], image: str) -> None:
        """Lay a cluster that has a new host: its other hosts are made anew, too."""
        for host in cluster.hosts:
            if host.name not in fresh:
                self._make(host, image)
        self._known_hosts()
        cluster.lay()

    def _hosts_file(self, own: Host) -> str:
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        lines += [f"{host.address} {host.name}" for host in self._all()]
        lines.append(f"{self._all()[0].address} {clusters.ENDPOINT}")
        return "\n".join(lines) + "\n"

    def _key(self) -> None:
        folder = self.state / "ssh"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        key = folder / "id_ed25519"
        if not key.exists():
            comment = f"controlplane.etcd lab {self.prefix}"
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(key)])

    def _known_hosts(self) -> None:
        """Take the hosts' keys past the network, so that they can be trusted."""
        lines = []
        for host in self._all():
            shown = host.read("/etc/ssh/ssh_host_ed25519_key.pub").decode().split()
            lines.append(f"{host.address},{host.name} {shown[0]} {shown[1]}\n")
        (self.state / "ssh" / "known_hosts").write_text("".join(lines))

    def down(self) -> None:
        """Remove everything of this lab; caches stay."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda host: host.remove(), self._all()))
        self.network.down()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.state)

    def inventory(self) -> dict[str, t.Any]:
        """Return the lab as an inventory: group `etcd` with a child a cluster, group `spare`."""
        key = self.state / "ssh" / "id_ed25519"
        known = self.state / "ssh" / "known_hosts"
        trust = f"-o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes"
        children: dict[str, t.Any] = {
            cluster.name: {
                "hosts": {host.name: {"ansible_host": host.address} for host in cluster.hosts},
                "vars": {"etcd_cluster": cluster.name},
            }
            for cluster in self.clusters.values()
        }
        spare = {
            host.name: {"ansible_host": self.host(host.name).address} for host in self.plan.spare
        }
        return {
            "all": {
                "children": {"etcd": {"children": children}, "spare": {"hosts": spare}},
                "vars": {
                    "ansible_user": USER,
                    "ansible_ssh_private_key_file": str(key),
                    "ansible_ssh_common_args": f"{trust} -o IdentitiesOnly=yes",
                },
            }
        }

    def secrets(self) -> list[str]:
        """Return what must never show up anywhere: the key material of all clusters."""
        return sorted(secrets_of(self.state / "trees"))

    def shell(self, host: str) -> t.NoReturn:
        """Become an interactive ssh session on a host."""
        argv = self.host(host).ssh_argv("-t")
        os.execvp(argv[0], argv)
