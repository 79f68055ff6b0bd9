# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller of the bench: our playbook and the engineer's pipeline, each run and watched."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pyrage
import yaml

from bench.hosts import SSH_OPTIONS, Host, Site
from bench.watch import Memory
from lab import binaries

ROOT = Path(__file__).resolve().parents[1]
BENCH = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(ROOT / ".venv" / "collections"))
DATA_PATH = ("Take the snapshot", "Fetch the sealed snapshot")
"""The tasks of role etcd_backup that do what the pipeline does."""
CONTROLLER = "controller"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a playbook or of the pipeline, and what it took."""

    began: float
    ended: float
    tasks: tuple[tuple[str, float], ...]
    """Each task's name and when it began, by the time of day; the last one is the end."""
    controller_bytes: int
    host_bytes: int
    """The peak of anonymous memory on the host that took the most."""

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def window(self, *names: str) -> list[tuple[float, float]]:
        """Return from when till when the tasks of these names ran."""
        pairs = zip(self.tasks, self.tasks[1:])
        return [(began, ended) for (name, began), (_next, ended) in pairs if name in names]

    def spent_in(self, *names: str) -> float:
        return sum(ended - began for began, ended in self.window(*names))


class Controller:
    """Keys, an archive and an inventory; all its files lie in `folder`.

    `up` are all sites that run, also such as are no part of a run: their servers stand below the
    bench, as the controller does, and are not counted as its.
    """

    def __init__(self, folder: Path, up: t.Mapping[str, Site]) -> None:
        self.folder = folder
        self._up = up
        self.ssh_key = folder / "ssh"
        self._signing_key = folder / "sign"
        self._archive = folder / "archive"
        folder.mkdir(mode=0o700)
        for path in (self.ssh_key, self._signing_key):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
            subprocess.run(argv, check=True)
        identities = [pyrage.x25519.Identity.generate() for _turn in range(2)]
        self._recipients = [str(identity.to_public()) for identity in identities]
        self._identity = folder / "identity"
        self._identity.touch(0o600)
        self._identity.write_text(f"{identities[0]}\n")
        (folder / "ansible.cfg").write_text(
            f"[defaults]\nhome = {folder}/a\ncollections_path = {COLLECTIONS}\nnocows = true\n"
            f"callback_plugins = {BENCH}/callbacks\ncallbacks_enabled = bench_times\n"
            f"[ssh_connection]\ncontrol_path_dir = {folder}/cp\n"
        )
        self._turn = 0

    @property
    def public_key(self) -> str:
        return self.ssh_key.with_suffix(".pub").read_text()

    def inventory(self, sites: t.Sequence[Site]) -> Path:
        """Write an inventory of the sites with what a first backup needs."""
        first, *others = sites
        found = first.cluster.inventory(
            *(site.cluster for site in others),
            ansible_become=False,
            etcd_archive=str(self._archive),
            etcd_recipients=self._recipients,
            etcd_signing_key=str(self._signing_key),
            etcd_runtime_path=str(binaries.cache_dir() / "runtime"),
        )
        for site in sites:
            hosts = found["all"]["children"]["etcd"]["children"][site.cluster.name]["hosts"]
            for name, host in site.hosts.items():
                hosts[name] = host.variables(site.cluster, self.ssh_key)
        # One of them is the scratch node of a drill, too, under a name of its own.
        host = next(iter(first.hosts.values()))
        scratch = {
            **host.variables(first.cluster, self.ssh_key),
            "etcd_identities": [str(self._identity)],
        }
        found["all"]["children"]["etcd_scratch"] = {"hosts": {"scratch": scratch}}
        path = self.folder / "inventory.yml"
        path.write_text(yaml.safe_dump(found, sort_keys=False))
        return path

    def play(self, playbook: str, sites: t.Sequence[Site]) -> Run:
        """Run a playbook on the sites."""
        times = self._next("times")
        times.touch()
        # A bastion keeps what Python has compiled, unlike some machines that tests run on.
        unset = ("ANSIBLE_", "ETCDCTL_", "PYTHONDONTWRITEBYTECODE")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(unset)}
        own = {"ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), "BENCH_TIMES": str(times)}
        inventory = self.inventory(sites)
        argv = [str(BIN / "ansible-playbook"), "-i", str(inventory), playbook]
        run = self._watched(argv, sites, env={**kept, **own, "ANSIBLE_NOCOLOR": "1"})
        lines = [json.loads(line) for line in times.read_text().splitlines()]
        tasks = tuple((line["task"], line["at"]) for line in lines)
        return dataclasses.replace(run, tasks=tasks)

    def backup(self, *sites: Site, keep: bool = False) -> Run:
        """Run `ansible-playbook controlplane.etcd.backup`; then forget the entries it made."""
        run = self.play("controlplane.etcd.backup", sites)
        for site in sites:
            entries = list((self._archive / site.cluster.name).glob("2*/manifest.json"))
            if len(entries) != 1:
                raise SystemExit(f"{site.cluster.name}: the backup left {len(entries)} entries.")
            if not keep:
                shutil.rmtree(self._archive / site.cluster.name)
        return run

    def drill(self, site: Site) -> tuple[Run, dict[str, t.Any]]:
        """Run `ansible-playbook controlplane.etcd.drill` on the site's host, an entry being there.

        Returns the run and the proof, which is then forgotten.
        """
        run = self.play("controlplane.etcd.drill", [site])
        [proof] = (self._archive / site.cluster.name).glob("2*/drills/*.json")
        told = json.loads(proof.read_text())
        if told["verdict"] != "passed":
            raise SystemExit(f"{site.cluster.name}: the drill failed: {told['reason']}")
        shutil.rmtree(proof.parent)
        return run, told

    def ansible_alone(self, *sites: Site) -> Run:
        """Run a playbook of Ansible's own modules on the same hosts, by the same connection."""
        return self.play(str(BENCH / "ansible_alone.yml"), sites)

    def pipeline(self, site: Site, host: Host) -> Run:
        """Let the careful engineer back up by hand."""
        dest = self._next("piped")
        dest.mkdir()
        config = self.folder / "ssh_config"
        options = [word.partition("-o ")[2].replace("=", " ") for word in SSH_OPTIONS[1:]]
        target = ["Host peer", "HostName 127.0.0.1", f"Port {host.port}"]
        target += [f"User {getpass.getuser()}", f"IdentityFile {self.ssh_key}", *options]
        config.write_text("\n".join([*target, ""]))
        files = site.cluster.environment([host.member.endpoint])
        argv = [str(BENCH / "pipeline.sh"), str(config), "peer"]
        argv += [str(host.folder / "work" / "piped"), str(dest), host.member.endpoint]
        argv += [files[f"ETCDCTL_{name}"] for name in ("CACERT", "CERT", "KEY")]
        run = self._watched([*argv, *self._recipients], [site])
        shutil.rmtree(dest)
        return run

    def _next(self, name: str) -> Path:
        self._turn += 1
        return self.folder / f"{name}-{self._turn}"

    def _watched(
        self, argv: list[str], sites: t.Sequence[Site], env: dict[str, str] | None = None
    ) -> Run:
        os.sync()  # what was written before is not this one's to wait for
        roots = {name: host.sshd.pid for site in sites for name, host in site.hosts.items()}
        servers = [pid for site in self._up.values() for pid in site.pids()]
        began = time.time()
        with self._next("log").open("w+b") as log:
            # Everything below the bench but etcds, sshds and what `but` names: its children are
            # adopted (run.py), so that ssh's shared connections count as well.
            with Memory({CONTROLLER: os.getpid(), **roots}, but=[*servers, *self.beside]) as memory:
                done = subprocess.run(
                    argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
                )
                ended = time.time()
            if done.returncode:
                log.seek(0)
                said = log.read().decode(errors="replace")
                raise SystemExit(f"{said}\n{' '.join(argv)}: exit status {done.returncode}")
        hosts = max(peak for name, peak in memory.peaks.items() if name != CONTROLLER)
        return Run(began, ended, (), memory.peaks[CONTROLLER], hosts)

    beside: t.ClassVar[list[int]] = []
    """Processes of the bench that are no part of what is measured: the load generator."""
