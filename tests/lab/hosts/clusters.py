# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lay an etcd cluster over its hosts: as kubeadm or as kubespray does."""

from __future__ import annotations

import shutil
import time
import typing as t
from pathlib import Path

from lab import binaries, kubeadm, kubespray, objects, static_pods
from lab.hosts.host import Host
from lab.hosts.machine import LabError, run
from lab.hosts.plan import ClusterPlan, Layout
from lab.pki import ClusterPki

ETCD_ROOT = "/opt/etcd-container"
"""On kubeadm hosts: the root that etcd runs in, as it would in its container."""

ENDPOINT = "k8s-api.example.test"


def binds(plan: ClusterPlan) -> tuple[tuple[str, str], ...]:
    """Return what the hosts mount read-only: the tools where the layout has them."""
    tools = binaries.get(plan.etcd_version).directory
    if plan.layout is Layout.KUBEADM:
        return ((str(tools), f"{ETCD_ROOT}/usr/local/bin"),)
    return tuple((str(tool), f"/usr/local/bin/{tool.name}") for tool in sorted(tools.iterdir()))


def _unit(command: list[str]) -> str:
    """Return a unit that runs etcd in a root of its own, as a container would.

    So /proc/PID/root/usr/local/bin/etcdutl is the running version's, and nothing is on PATH.
    """
    return "\n".join(
        [
            "[Unit]",
            "Description=etcd (stands in for the static pod of /etc/kubernetes/manifests)",
            "After=network.target",
            "[Service]",
            f"RootDirectory={ETCD_ROOT}",
            "BindPaths=/var/lib/etcd",
            "BindReadOnlyPaths=/etc/kubernetes/pki/etcd",
            f"ExecStart=@/usr/local/bin/etcd {' '.join(command)}",
            "Restart=always",
            "RestartSec=1",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def _as_joined(nodes: t.Sequence[static_pods.Node], number: int) -> static_pods.EtcdSettings:
    """Return what kubeadm leaves in a manifest: the members that were there at the join, no more.

    The first host's list has one name and the last one's has all; they stay stale for good.
    """
    there = ",".join(f"{each.name}={each.peer_url}" for each in nodes[: number + 1])
    return static_pods.EtcdSettings(there, joined=number > 0)


class EtcdCluster:
    """One etcd cluster on real hosts."""

    def __init__(self, plan: ClusterPlan, hosts: t.Sequence[Host], state: Path) -> None:
        self.plan = plan
        self.hosts = list(hosts)
        self.trees = state / "trees"

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def endpoints(self) -> list[str]:
        return [f"https://{host.address}:2379" for host in self.hosts]

    def lay(self) -> None:
        """Write every host's tree, push it, start etcd everywhere, fill it with objects."""
        pki = ClusterPki()
        nodes = [
            static_pods.Node(
                name=host.name,
                address=host.address,
                etcd_version=self.plan.etcd_version,
                root=self.trees / host.name,
                seen="",
            )
            for host in self.hosts
        ]
        for number, (host, node) in enumerate(zip(self.hosts, nodes)):
            shutil.rmtree(node.root, ignore_errors=True)
            if self.plan.layout is Layout.KUBEADM:
                kubeadm.write_tree(
                    node, pki, _as_joined(nodes, number), first=number == 0, endpoint=ENDPOINT
                )
                every = ",".join(f"{each.name}={each.peer_url}" for each in nodes)
                settings = static_pods.EtcdSettings(every)
                unit = node.root / "etc/systemd/system/etcd.service"
                unit.parent.mkdir(parents=True, exist_ok=True)
                unit.write_text(_unit(static_pods.etcd_command(node, settings)))
            else:
                kubespray.write_tree(node, pki, nodes, endpoint=ENDPOINT)
            (node.root / "var/lib/etcd").chmod(0o700)
            host.push(node.root)
            host.exec(["systemctl", "daemon-reload"])
        self.start()
        self.wait_healthy()
        objects.fill(self.target(), copies=2, name=self.name)

    def start(self) -> None:
        for host in self.hosts:
            host.exec(["systemctl", "enable", "--now", "--no-block", "etcd.service"])

    def stop_member(self, host: str, *, kill: bool = False) -> None:
        """Stop etcd on one host (it stays down until `start_member`)."""
        if kill:
            self.host(host).exec(["systemctl", "kill", "-s", "KILL", "etcd.service"])
        self.host(host).exec(["systemctl", "stop", "etcd.service"])

    def start_member(self, host: str) -> None:
        self.host(host).exec(["systemctl", "start", "etcd.service"])

    def host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"cluster {self.name} has no host {name}.")

    def wait_healthy(self, *, seconds: float = 60) -> None:
        """Wait until every member answers a linearizable read."""
        end = time.monotonic() + seconds
        while True:
            done = self._etcdctl("endpoint", "health", check=False)
            if done.returncode == 0:
                return
            if time.monotonic() > end:
                said = (done.stdout + done.stderr).decode(errors="replace")[-800:]
                journals = "\n".join(host.journal(lines=5) for host in self.hosts)
                raise LabError(f"cluster {self.name} is not healthy: {said}\n{journals}")
            time.sleep(0.2)

    def _environment(self) -> dict[str, str]:
        tree = self.trees / self.hosts[0].name
        if self.plan.layout is Layout.KUBEADM:
            folder = tree / "etc/kubernetes/pki/etcd"
            names = ("ca.crt", "healthcheck-client.crt", "healthcheck-client.key")
        else:
            folder = tree / "etc/ssl/etcd/ssl"
            first = self.hosts[0].name
            names = ("ca.pem", f"admin-{first}.pem", f"admin-{first}-key.pem")
        keys = ("ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY")
        return {key: str(folder / name) for key, name in zip(keys, names)}

    def target(self) -> objects.Target:
        """Return where and how objects.fill writes."""
        files = {key: Path(value) for key, value in self._environment().items()}
        return objects.Target(
            endpoint=f"{self.hosts[0].address}:2379",
            cacert=files["ETCDCTL_CACERT"],
            cert=files["ETCDCTL_CERT"],
            key=files["ETCDCTL_KEY"],
        )

    def _etcdctl(self, *args: str, check: bool = True, stdin: bytes | None = None) -> t.Any:
        variables = [f"{key}={value}" for key, value in self._environment().items()]
        endpoints = f"ETCDCTL_ENDPOINTS={','.join(self.endpoints)}"
        tool = str(binaries.get(self.plan.etcd_version).etcdctl)
        return run(["env", *variables, endpoints, tool, *args], check=check, stdin=stdin)

    def etcdctl(self, *args: str, stdin: bytes | None = None) -> str:
        """Run etcdctl of the cluster's version on the controller; return what it printed."""
        return str(self._etcdctl(*args, stdin=stdin).stdout.decode())
