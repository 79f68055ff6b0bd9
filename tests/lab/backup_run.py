# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bastion in front of the lab's hosts: keys, an archive, and ansible-playbook over real ssh."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import pyrage
import yaml

from lab import binaries
from lab.hosts.host import Host
from lab.hosts.lab import Lab
from lab.module import COLLECTIONS
from lab.processes import descendants

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SIGNER_NAMESPACE = "controlplane.etcd"
WHEELHOUSE_PLAY = [
    {
        "name": "Make the wheelhouse of the lab's hosts, which have no network",
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Make it for Debian 12",
                "ansible.builtin.import_role": {
                    "name": "controlplane.etcd.etcd_runtime",
                    "tasks_from": "wheelhouse",
                },
                "vars": {"etcd_runtime_wheelhouse_targets": ["cp311-linux-x86_64"]},
            }
        ],
    }
]


@dataclasses.dataclass(frozen=True)
class Run:
    """How one run of ansible-playbook went."""

    code: int
    output: str

    @property
    def stats(self) -> dict[str, t.Any]:
        """What the run handed on by set_stats: one dictionary a cluster."""
        text = self.output.partition("CUSTOM STATS:")[2].partition("RUN: ")[2]
        return dict(json.loads(text).get("etcd_backup", {})) if text else {}

    def recap(self, host: str) -> dict[str, int]:
        """The figures of a host's line of PLAY RECAP."""
        for line in self.output.partition("PLAY RECAP")[2].splitlines():
            name, _mark, figures = line.partition(" : ")
            if name.strip() == host:
                return {k: int(v) for k, v in (word.split("=") for word in figures.split())}
        raise AssertionError(f"no recap of {host} in:\n{self.output}")


@dataclasses.dataclass(frozen=True)
class Running:
    """A run of ansible-playbook that goes on."""

    process: subprocess.Popen[bytes]
    log: Path
    folder: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, *, seconds: float = 600) -> Run:
        """Wait for its end; a run that takes longer is killed and an error."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.output}") from None
        return Run(code, self.output)

    def until(self, happened: t.Callable[[], t.Any], what: str, *, seconds: float = 120) -> None:
        """Wait until something happened while the run goes on."""
        end = time.monotonic() + seconds
        while not happened():
            if self.process.poll() is not None or time.monotonic() > end:
                ended = self.process.poll()
                self.kill()
                raise AssertionError(f"no {what} (exit status {ended}):\n{self.output}")
            time.sleep(0.05)

    def peak_kib(self) -> int:
        """Return the most memory that a process of the run has had so far, of those that live."""
        peak = 0
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, IndexError, ValueError):
                # proc_pid_stat(5): field 6 is the session
                session = (path / "stat").read_text().rpartition(")")[2].split()[3]
                if int(session) == self.process.pid:
                    status = (path / "status").read_text()
                    peak = max(peak, int(status.split("VmHWM:")[1].split()[0]))
        return peak

    def ssh_processes(self) -> list[int]:
        """Return the ssh, sftp and scp processes of this controller, shared connections too."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (path / "cmdline").read_bytes()
                if str(self.folder).encode() in words and b"ssh" in words.split(b"\0")[0]:
                    found.append(int(path.name))
        return found

    def kill_ssh(self) -> None:
        """Kill (-9) every connection to a host."""
        for pid in self.ssh_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kill (-9) the controller: ansible-playbook with its workers and connections.

        Workers of ansible-core 2.19 and later have sessions of their own; one that lived on would
        clean up what its connection left.
        """
        workers = descendants(self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kill_ssh()
        self.process.wait()


class Bastion:
    """The controller: all its files lie in `folder`, its inventory is the lab's."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        # Short, for ssh's control sockets are below it; private, for it holds keys.
        self.folder = Path(tempfile.mkdtemp(prefix="bastion-", dir="/var/tmp"))
        self.archive = self.folder / "archive"
        self.identity = self.folder / "identity"
        self.escrow = self.folder / "escrow"
        self.signing_key = self.folder / "sign"
        recipients = []
        for path in (self.identity, self.escrow):
            key = pyrage.x25519.Identity.generate()
            path.write_text(f"{key}\n")
            path.chmod(0o600)
            recipients.append(str(key.to_public()))
        self.recipients = recipients
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bastion"]
        subprocess.run([*argv, "-f", str(self.signing_key)], check=True)
        self.inventory_path = self.folder / "inventory.yml"
        self.variables: dict[str, t.Any] = {
            "etcd_archive": str(self.archive),
            "etcd_recipients": recipients,
            "etcd_signing_key": str(self.signing_key),
        }
        (self.folder / "ansible.cfg").write_text(
            "[defaults]\n"
            f"home = {self.folder}/a\n"
            f"collections_path = {COLLECTIONS}\n"
            "nocows = true\nshow_custom_stats = true\ntimeout = 10\n"
            f"[ssh_connection]\ncontrol_path_dir = {self.folder}/cp\n"
        )

    def close(self) -> None:
        """End the shared ssh connections, and forget everything."""
        for socket in (self.folder / "cp").glob("*"):
            argv = ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "none"]
            subprocess.run(argv, capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def signer(self) -> str:
        return self.signing_key.with_suffix(".pub").read_text().strip()

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment in which nobody's own settings count."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "ETCDCTL_"))}
        own = {"ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        return {**kept, **own, **more}

    def write_inventory(self, **variables: t.Any) -> Path:
        """Write the lab's inventory with what a first backup needs, and `variables`."""
        inventory = self.lab.inventory()
        inventory["all"]["vars"].update({**self.variables, **variables})
        self.inventory_path.write_text(yaml.safe_dump(inventory, sort_keys=False))
        return self.inventory_path

    def argv(self, playbook: str, *arguments: str) -> list[str]:
        return [
            str(BIN / "ansible-playbook"),
            *("-i", str(self.inventory_path)),
            playbook,
            *arguments,
        ]

    def begin(self, playbook: str, *arguments: str, **variables: t.Any) -> Running:
        """Start a playbook in a session of its own."""
        self.write_inventory(**variables)
        log = self.folder / f"{time.monotonic_ns()}.log"
        with log.open("w") as target:
            process = subprocess.Popen(
                self.argv(playbook, *arguments),
                env=self.environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(process, log, self.folder)

    def play(self, playbook: str, *arguments: str, **variables: t.Any) -> Run:
        """Run a playbook to its end."""
        return self.begin(playbook, *arguments, **variables).wait()

    def begin_backup(self, *arguments: str, **variables: t.Any) -> Running:
        """Start `ansible-playbook controlplane.etcd.backup`."""
        return self.begin("controlplane.etcd.backup", *arguments, **variables)

    def backup(self, *arguments: str, **variables: t.Any) -> Run:
        """Run `ansible-playbook controlplane.etcd.backup`."""
        return self.play("controlplane.etcd.backup", *arguments, **variables)

    def use_wheelhouse(self) -> Path:
        """Have the wheelhouse made by the role, in the cache, and let the hosts take it."""
        folder = binaries.cache_dir() / "wheelhouse"
        playbook = self.folder / "wheelhouse.yml"
        playbook.write_text(yaml.safe_dump(WHEELHOUSE_PLAY))
        with binaries.cache_lock("wheelhouse"):
            wish = json.dumps({"etcd_runtime_wheelhouse_folder": str(folder)})
            run = self.play(str(playbook), "-e", wish)
        if run.code:
            raise AssertionError(run.output)
        self.variables["etcd_runtime_wheelhouse"] = str(folder)
        return folder

    def entries(self, cluster: str) -> list[Path]:
        """Return the entries of a cluster as they lie in the archive, oldest first."""
        folder = self.archive / cluster
        return sorted(path.parent for path in folder.glob("2*/manifest.json"))

    def parts(self, cluster: str) -> list[Path]:
        """Return what unfinished entries left in the archive."""
        return sorted(path for path in (self.archive / cluster).glob(".*"))

    @staticmethod
    def manifest(entry: Path) -> dict[str, t.Any]:
        return dict(json.loads((entry / "manifest.json").read_bytes()))


# /run/lock/*.lock are flock'ed files: they stay, the locks don't.
_LOOK = r"""
find /var/tmp /tmp /home/ops /root /run /dev/shm -xdev \
  \( -name 'controlplane-etcd*' -o -name 'etcd_*' -o -name 'ansible-tmp-*' -o -name '.etcd-spool*' \
     -o -name '*.age' -o -name '*.part' -o -name '{{*' \) ! -path '/run/systemd/*'
for pid in /proc/[0-9]*; do
  tr '\0' ' ' < $pid/cmdline 2>/dev/null | sed 's/^/args /'; echo
  ls -l $pid/fd 2>/dev/null | sed 's/^/open /'
done
true
"""
_OURS = re.compile(
    r"^/|^args .*(AnsiballZ|ansible-tmp|controlplane)|^open .*(/var/tmp/|controlplane)"
)


def left_on(host: Host) -> str:
    """Return files, processes, open unnamed files and held locks that a run left on a host."""
    lines = host.exec(["sh"], stdin=_LOOK.encode()).stdout.decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if _OURS.search(line))


def left_of_ours(host: Host) -> list[str]:
    """Return what is left on a host but for Ansible's own temporary folders.

    Those (modules, no secrets) stay where Ansible itself dies or is cut off, in every playbook.
    """
    lines = left_on(host).splitlines()
    host.exec(["sh", "-c", "rm -rf /home/ops/.ansible/tmp/ansible-tmp-*"])
    return [line for line in lines if "/.ansible/tmp/ansible-tmp-" not in line]


@contextlib.contextmanager
def bastion(lab: Lab) -> t.Iterator[Bastion]:
    """Lend a bastion and clean up after it."""
    found = Bastion(lab)
    try:
        yield found
    finally:
        found.close()
