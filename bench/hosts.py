# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of the bench: a real etcd on loopback, and a real sshd in front of each of its members."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

from bench.data import QUOTA, Data
from lab import binaries
from lab.loopback import Cluster
from lab.member import Member, free_port

_SSHD = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
SetEnv PATH={tools}:/usr/local/bin:/usr/bin:/bin XDG_RUNTIME_DIR={folder}/run
"""


SSH_OPTIONS = (
    "-F none",
    "-o StrictHostKeyChecking=no",
    "-o UserKnownHostsFile=/dev/null",
    "-o LogLevel=ERROR",
)


class Host:
    """One member's host: what runs on it by ssh is below its own sshd."""

    def __init__(self, member: Member, folder: Path, *, public_key: str) -> None:
        self.member = member
        self.folder = folder
        self.port = free_port(set())
        folder.mkdir(mode=0o700)
        (folder / "run").mkdir(mode=0o700)
        (folder / "work").mkdir(mode=0o700)
        (folder / "authorized").write_text(public_key)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")]
        subprocess.run(argv, check=True)
        config = folder / "sshd_config"
        tools = member.binaries.directory
        config.write_text(_SSHD.format(port=self.port, folder=folder, tools=tools))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd of root separates
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        log = folder / "sshd.log"
        self.sshd = subprocess.Popen([str(sshd), "-D", "-f", str(config), "-E", str(log)])
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self.sshd.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"sshd does not start:\n{(self.folder / 'sshd.log').read_text()}")
            time.sleep(0.05)

    def close(self) -> None:
        self.sshd.terminate()
        self.sshd.wait()

    def variables(self, cluster: Cluster, ssh_key: Path) -> dict[str, t.Any]:
        """Return the host's inventory variables, ssh instead of the local connection."""
        return {
            **cluster.host_variables(self.member.name),
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_private_key_file": str(ssh_key),
            "ansible_ssh_common_args": " ".join(SSH_OPTIONS),
            "ansible_remote_tmp": str(self.folder / "ansible"),
            "etcd_backup_staging_dir": str(self.folder / "work"),
            "etcd_backup_spool_dir": str(self.folder / "work"),
        }


class Site:
    """A cluster that holds the given data, if any, and its hosts."""

    def __init__(self, name: str, *, size: int, data: Data | None, root: Path, public_key: str):
        self.cluster = Cluster(name, size=size, root=root / name, extra_flags=(QUOTA,))
        self.data = data
        self.hosts: dict[str, Host] = {}
        try:
            if data:
                self._restore(data)
            self.cluster.up()
            for member_name, member in self.cluster.members.items():
                folder = root / f"{member_name}-ssh"
                self.hosts[member_name] = Host(member, folder, public_key=public_key)
        except BaseException:
            self.close()
            raise

    def _restore(self, data: Data) -> None:
        tool = binaries.get(self.cluster.version).etcdutl
        members = self.cluster.members.values()
        initial = ",".join(f"{member.name}={member.node.peer_url}" for member in members)
        for member in members:
            shutil.rmtree(member.data_dir)
            options = {
                "name": member.name,
                "initial-cluster": initial,
                "initial-advertise-peer-urls": member.node.peer_url,
                "data-dir": member.data_dir,
            }
            flags = [f"--{name}={value}" for name, value in options.items()]
            argv = [str(tool), "snapshot", "restore", str(data.path), *flags]
            subprocess.run(argv, check=True, capture_output=True)

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()
        self.cluster.close()

    @property
    def leader(self) -> Host:
        return self.hosts[self.cluster.leader()]

    @property
    def follower(self) -> Host:
        """A member that does not lead; of a cluster of one that one."""
        leader = self.leader
        return next((host for host in self.hosts.values() if host is not leader), leader)

    def pids(self) -> list[int]:
        """Return etcds and sshds: what is no part of the controller."""
        servers = [member.pid for member in self.cluster.members.values()]
        return servers + [host.sshd.pid for host in self.hosts.values()]


@contextlib.contextmanager
def workspace() -> t.Iterator[Path]:
    """Give a folder on a disk (/tmp is often memory), and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    try:
        yield folder.resolve()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
