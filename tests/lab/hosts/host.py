# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one host: a podman container with systemd, its disks, and the ways to reach it."""

from __future__ import annotations

import shlex
import subprocess
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from lab.hosts.faults import Faults
from lab.hosts.image import USER
from lab.hosts.machine import LabError, run
from lab.hosts.network import Port
from lab.hosts.plan import HostPlan

LIMITS = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096", "--pids-limit", "0")
DATA_MOUNT_MIB = 1024


@dataclass(frozen=True)
class Host:
    """One host of a lab."""

    plan: HostPlan
    port: Port
    state: Path
    binds: tuple[tuple[str, str], ...] = field(default=())

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def address(self) -> str:
        return self.port.address

    @property
    def container(self) -> str:
        return self.port.namespace

    @property
    def faults(self) -> Faults:
        return Faults(self)

    # -- life --------------------------------------------------------------------------------

    def condition(self) -> str:
        """Return podman's word for the container's state, or "" where there is none."""
        form = ["--format", "{{.State.Status}}"]
        done = run(["podman", "container", "inspect", *form, self.container], check=False)
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def create(self, image: str) -> None:
        """Make network and container anew and wait for systemd."""
        self.port.up()
        volumes = ["-v", f"{self.container}-var:/var"]
        if self.plan.own_data_mount:
            volumes += ["-v", f"{self._mount_data()}:/var/lib/etcd"]
        for source, target in self.binds:
            volumes += ["-v", f"{source}:{target}:ro"]
        run(
            [
                *("podman", "--runtime", "runc", "run", "--detach", "--name", self.container),
                *("--hostname", self.name, "--network", f"ns:{self.port.path}"),
                *("--privileged", "--systemd=false", "--cgroupns", "private"),
                *("--tmpfs", "/run:exec,mode=755", "--tmpfs", "/tmp:exec,mode=1777"),
                *("-e", "container=podman", "--stop-signal", "SIGRTMIN+3"),
                *("--no-hosts", "--dns", "none", "--pull", "never"),
                *LIMITS,
                *volumes,
                *(image, "/sbin/init"),
            ]
        )
        self.wait_booted()

    def _mount_data(self) -> Path:
        """Give /var/lib/etcd an ext4 of its own in a file, and return where it is mounted."""
        image = self.state / "disks" / f"{self.name}-etcd.img"
        mount = self.state / "mounts" / f"{self.name}-etcd"
        image.parent.mkdir(parents=True, exist_ok=True)
        mount.mkdir(parents=True, exist_ok=True)
        if not mount.is_mount():
            if not image.exists():
                run(["truncate", "-s", f"{DATA_MOUNT_MIB}M", str(image)])
                run(["mkfs.ext4", "-q", str(image)])
            run(["mount", "-o", "loop", str(image), str(mount)])
            mount.chmod(0o700)
        return mount

    def wait_booted(self, *, seconds: float = 60) -> None:
        """Wait until systemd has started what it starts."""
        end = time.monotonic() + seconds
        while True:
            done = self.exec(["systemctl", "is-system-running"], check=False)
            word = done.stdout.decode().strip()
            if word in ("running", "degraded"):
                return
            if time.monotonic() > end:
                logs = run(["podman", "logs", "--tail", "20", self.container], check=False)
                said = (done.stderr + logs.stdout + logs.stderr).decode(errors="replace")
                raise LabError(f"{self.name}: systemd is {word or 'silent'} after a minute: {said}")
            time.sleep(0.1)

    def start(self) -> None:
        """Boot the host again after a stop."""
        run(["podman", "--runtime", "runc", "start", self.container])
        self.wait_booted()

    def stop(self, *, kill: bool = False) -> None:
        """Shut the host down in order, or cut its power."""
        if kill:
            run(["podman", "kill", "--signal", "KILL", self.container])
            run(["podman", "wait", self.container])
        else:
            run(["podman", "stop", "--time", "20", self.container])

    def remove(self) -> None:
        """Remove container, volumes, mounts and network; what isn't there is no error."""
        run(["podman", "rm", "--force", "--time", "1", "--volumes", self.container], check=False)
        run(["podman", "volume", "rm", "--force", f"{self.container}-var"], check=False)
        mount = self.state / "mounts" / f"{self.name}-etcd"
        if mount.is_mount():
            run(["umount", str(mount)])
        (self.state / "disks" / f"{self.name}-etcd.img").unlink(missing_ok=True)
        self.port.down()

    # -- ways in -----------------------------------------------------------------------------

    def exec(
        self, argv: t.Sequence[str], *, stdin: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command as root past the network (podman exec): works when the cable is out."""
        interactive = ["--interactive"] if stdin is not None else []
        command = ["podman", "exec", *interactive, self.container, *argv]
        return run(command, stdin=stdin, check=check)

    def ssh_argv(self, *options: str) -> list[str]:
        """Return the ssh command up to the destination, for user ops."""
        return [
            *("ssh", "-F", "none", "-i", str(self.state / "ssh" / "id_ed25519")),
            *("-o", f"UserKnownHostsFile={self.state / 'ssh' / 'known_hosts'}"),
            *("-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"),
            *("-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR"),
            *options,
            f"{USER}@{self.address}",
        ]

    def run(
        self,
        argv: t.Sequence[str],
        *,
        sudo: bool = False,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command over ssh as ops, or with sudo as root."""
        command = shlex.join([*(["sudo", "-n"] if sudo else []), *argv])
        return run([*self.ssh_argv(), command], stdin=stdin, check=check, timeout=timeout)

    def read(self, path: str) -> bytes:
        """Return a file's content, read as root."""
        return self.exec(["cat", path]).stdout

    def push(self, tree: Path) -> None:
        """Lay a tree of files over the host's root, owners and modes as they are."""
        packed = run(["tar", "-C", str(tree), "--numeric-owner", "-cf", "-", "."]).stdout
        self.exec(["tar", "--no-overwrite-dir", "-C", "/", "-xpf", "-"], stdin=packed)

    def etcd_pid(self) -> int:
        """Return etcd's process ID as the host itself sees it; 0 where none runs."""
        shown = self.exec(["systemctl", "show", "-P", "MainPID", "etcd.service"], check=False)
        return int(shown.stdout.decode().strip() or 0)

    def journal(self, unit: str = "etcd.service", lines: int = 30) -> str:
        argv = ["journalctl", "--no-pager", "-n", str(lines), "-u", unit]
        return self.exec(argv, check=False).stdout.decode(errors="replace")
