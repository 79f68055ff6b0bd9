# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wire the hosts: one bridge a lab, one network namespace a host, no way out.

A namespace outlives its container, so that a host keeps its address over a stop and a start.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lab.hosts.machine import run


@dataclass(frozen=True)
class Network:
    """A lab's bridge; its addresses follow from the lab's name."""

    prefix: str

    @property
    def bridge(self) -> str:
        return f"{self.prefix[:11]}-br"

    @property
    def subnet(self) -> str:
        """Return the first three numbers: 10.213.77 for `lab`, others by their name's hash."""
        if self.prefix == "lab":
            return "10.213.77"
        return f"10.213.{78 + hashlib.sha256(self.prefix.encode()).digest()[0] % 170}"

    def address(self, number: int) -> str:
        return f"{self.subnet}.{number}"

    def up(self) -> None:
        """Make the bridge, with the controller's address .1 on it."""
        if run(["ip", "link", "show", self.bridge], check=False).returncode:
            run(["ip", "link", "add", self.bridge, "type", "bridge"])
            run(["ip", "address", "add", f"{self.address(1)}/24", "dev", self.bridge])
        run(["ip", "link", "set", self.bridge, "up"])

    def down(self) -> None:
        run(["ip", "link", "del", self.bridge], check=False)


@dataclass(frozen=True)
class Port:
    """One host's namespace and its cable to the bridge."""

    network: Network
    host: str
    number: int

    @property
    def namespace(self) -> str:
        return f"{self.network.prefix}-{self.host}"

    @property
    def path(self) -> str:
        return f"/run/netns/{self.namespace}"

    @property
    def cable(self) -> str:
        """Return the name of the bridge's end; at most 15 characters."""
        digest = hashlib.sha256(self.namespace.encode()).hexdigest()[:6]
        return f"{self.network.prefix[:5]}-{digest}"

    @property
    def address(self) -> str:
        return self.network.address(self.number)

    def exists(self) -> bool:
        listed = run(["ip", "netns", "list"]).stdout.decode().split()
        return self.namespace in listed

    def up(self) -> None:
        """Make namespace, cable and address; no default route."""
        inside = ["ip", "-n", self.namespace]
        run(["ip", "netns", "add", self.namespace])
        peer = ["type", "veth", "peer", "name", "eth0", "netns", self.namespace]
        run(["ip", "link", "add", self.cable, *peer])
        run(["ip", "link", "set", self.cable, "master", self.network.bridge, "up"])
        run([*inside, "address", "add", f"{self.address}/24", "dev", "eth0"])
        run([*inside, "link", "set", "eth0", "up"])
        run([*inside, "link", "set", "lo", "up"])

    def down(self) -> None:
        run(["ip", "link", "del", self.cable], check=False)
        run(["ip", "netns", "del", self.namespace], check=False)

    def plug(self, *, connected: bool) -> None:
        """Pull the cable, or put it back."""
        run(["ip", "link", "set", self.cable, "up" if connected else "down"])

    def inside(self, *argv: str) -> str:
        """Run a command of the machine inside the host's network."""
        return run(["ip", "netns", "exec", self.namespace, *argv]).stdout.decode()
