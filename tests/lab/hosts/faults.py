# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do to a host what happens to hosts: cut cables and connections, slow lines, full disks."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t
from dataclasses import dataclass

from lab.hosts.machine import LabError, run

if t.TYPE_CHECKING:
    from lab.hosts.host import Host


@dataclass(frozen=True)
class Faults:
    """The faults of one host; `heal` takes all but full disks back."""

    host: Host

    def disconnect(self) -> None:
        """Pull the network cable."""
        self.host.port.plug(connected=False)

    def connect(self) -> None:
        self.host.port.plug(connected=True)

    @contextlib.contextmanager
    def disconnected(self) -> t.Iterator[None]:
        self.disconnect()
        try:
            yield
        finally:
            self.connect()

    def _iptables(self, *rule: str) -> None:
        self.host.port.inside("iptables", *rule)

    def block(self, port: int, *, reset: bool = False) -> None:
        """Drop what comes in for a TCP port, or answer it with a reset: loopback too."""
        verdict = ["REJECT", "--reject-with", "tcp-reset"] if reset else ["DROP"]
        self._iptables("-I", "INPUT", "-p", "tcp", "--dport", str(port), "-j", *verdict)

    def cut_after(self, port: int, byte_count: int, *, reset: bool = True) -> None:
        """Let each connection to a TCP port die once it has carried so many bytes.

        With `reset` the client gets an RST; without, the line goes silent.
        """
        self.host.port.inside("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1")
        bytes_ = ["--connbytes", f"{byte_count}:", "--connbytes-mode", "bytes"]
        match = ["-m", "connbytes", *bytes_, "--connbytes-dir", "both"]
        verdict = ["REJECT", "--reject-with", "tcp-reset"] if reset else ["DROP"]
        self._iptables("-I", "INPUT", "-p", "tcp", "--dport", str(port), *match, "-j", *verdict)
        if not reset:
            rule = ["-p", "tcp", "--sport", str(port), *match, "-j", "DROP"]
            self._iptables("-I", "OUTPUT", *rule)

    def slow(self, rate: str = "2mbit") -> None:
        """Limit what the host sends, so that a test can step in while a transfer runs."""
        shape = ["tbf", "rate", rate, "burst", "32kbit", "latency", "400ms"]
        self.host.port.inside("tc", "qdisc", "replace", "dev", "eth0", "root", *shape)

    def heal(self) -> None:
        """Put the cable back, drop all packet rules and the line's limit."""
        self.connect()
        for chain in ("INPUT", "OUTPUT"):
            self._iptables("-F", chain)
        with contextlib.suppress(LabError):
            self.host.port.inside("tc", "qdisc", "del", "dev", "eth0", "root")

    @contextlib.contextmanager
    def small_disk(self, path: str, *, mib: int, mode: str = "1777") -> t.Iterator[str]:
        """Mount an ext4 of `mib` MiB (real blocks, no tmpfs) on the host at `path`."""
        host = self.host
        image = host.state / "disks" / f"{host.name}-{path.strip('/').replace('/', '-')}.img"
        image.parent.mkdir(parents=True, exist_ok=True)
        run(["truncate", "-s", f"{mib}M", str(image)])
        run(["mkfs.ext4", "-q", "-m", "0", str(image)])
        device = run(["losetup", "--find", "--show", str(image)]).stdout.decode().strip()
        try:
            number = os.stat(device).st_rdev
            if not stat.S_ISBLK(os.stat(device).st_mode):
                raise LabError(f"{device} is no block device.")
            node = ["mknod", device, "b", str(os.major(number)), str(os.minor(number))]
            host.exec(["sh", "-c", f"test -b {device} || {' '.join(node)}"])
            host.exec(["mkdir", "-p", path])
            host.exec(["mount", device, path])
            host.exec(["chmod", mode, path])
            try:
                yield path
            finally:
                host.exec(["umount", "--lazy", path], check=False)
        finally:
            run(["losetup", "--detach", device], check=False)
            image.unlink(missing_ok=True)

    def fill(self, path: str, *, leave_kib: int = 0) -> str:
        """Fill the file system at `path` but for `leave_kib`; return the file that fills it."""
        filler = f"{path}/.filler"
        free = self.host.exec(["df", "--output=avail", "-k", path]).stdout.decode().split()[-1]
        size = max(0, int(free) - leave_kib)
        self.host.exec(["fallocate", "-l", f"{size}K", filler])
        return filler
