# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real runs of the playbooks drill and extract: scratch nodes are this machine, under other names.

with DrillLab() as lab:
    lab.add("alpha", model)
    run = lab.drill(["alpha"])
    assert outcome(run, "alpha")["outcome"] == "passed"
    lab.assert_nothing_left()
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import typing as t
from pathlib import Path

from integration.backup.backup_lab import BackupLab, Handler, Run, Session, Variables
from integration.backup.watch import command_line, processes

from lab.archived import Keys
from lab.module import run_module

# No host answers there.
DEAD: Variables = {
    "ansible_connection": "ssh",
    "ansible_host": "192.0.2.1",
    "ansible_ssh_common_args": "-o ConnectTimeout=1 -o ConnectionAttempts=1",
}
KEY_FOLDER = Path("/run/controlplane-etcd")


@dataclasses.dataclass(frozen=True)
class Model:
    """An archive with one genuine entry, and the keys to it."""

    archive: Path
    keys: Keys
    entry: Path
    secrets: tuple[str, ...]

    @property
    def cluster(self) -> str:
        return self.entry.parent.name


def outcome(run: Run, cluster: str) -> dict[str, t.Any]:
    """Return what set_stats says of a cluster's drill."""
    found = run.stats.get("etcd_drill", {})
    assert cluster in found, f"{cluster} is not in {sorted(found)}:\n{run.text[-6000:]}"
    return t.cast("dict[str, t.Any]", found[cluster])


class DrillLab(BackupLab):
    """A controller with copies of a model's archive, and scratch nodes on this machine."""

    def __init__(self, model: Model, *, pipelining: bool = True) -> None:
        super().__init__(pipelining=pipelining)
        self.model = model
        self._secrets.update(model.secrets)
        self.keys = model.keys
        self.signing_key = model.keys.signing_key
        self._nodes: list[str] = []

    def add(self) -> Path:
        """Put a copy of the model's archive in place; return its entry."""
        shutil.copytree(self.model.archive, self.archive, dirs_exist_ok=True)
        return self.archive / self.model.entry.relative_to(self.model.archive)

    def scratch(self, name: str, **variables: t.Any) -> Variables:
        """Return a scratch node that is this machine, with folders of its own."""
        folder = self.root / "hosts" / name
        for each in ("work", "tmp"):
            (folder / each).mkdir(parents=True, exist_ok=True)
        self._nodes.append(name)
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_become": False,
            "ansible_remote_tmp": str(folder / "tmp"),
            "etcd_drill_work_dir": str(folder / "work"),
            "etcd_drill_install_runtime": False,
            **variables,
        }

    def begin(
        self,
        clusters: t.Mapping[str, Variables],
        *arguments: str,
        nodes: t.Mapping[str, Variables] | None = None,
        playbook: str = "drill",
        handler: Handler | None = None,
        **variables: t.Any,
    ) -> Session:
        """Start a drill of clusters, each with one host that nobody can reach, and its variables."""
        hosts = {name: {f"{name}-cp1": {**DEAD, **own}} for name, own in clusters.items()}
        nodes = nodes if nodes is not None else {"s1": self.scratch("s1")}
        keys = {
            "etcd_identities": [str(self.keys.identity)],
            "etcd_signing_key": str(self.signing_key),
            "etcd_drill_spool_dir": str(self.root / "tmp"),
            # The role etcd_backup's are none of this role's.
            "etcd_backup_install_runtime": None,
            "etcd_backup_include_tools": None,
        }
        return self.start(
            hosts,
            *arguments,
            playbook=playbook,
            handler=handler,
            groups={"etcd_scratch": {"hosts": dict(nodes)}},
            **{**keys, **variables},
        )

    def drill(self, clusters: t.Mapping[str, Variables], *arguments: str, **more: t.Any) -> Run:
        """Run the playbook to its end."""
        return self.begin(clusters, *arguments, **more).wait()

    def proofs(self, entry: Path) -> list[dict[str, t.Any]]:
        """Return the proofs of an entry, oldest first."""
        return [json.loads(path.read_text()) for path in sorted(entry.glob("drills/*.json"))]

    def info(self, **options: t.Any) -> dict[str, t.Any]:
        """Return what etcd_archive_info tells."""
        signers = [f"{self.signing_key}.pub"]
        return run_module(
            "etcd_archive_info",
            {"archive": str(self.archive), "allowed_signers": signers, **options},
        )

    def node_files(self) -> list[str]:
        """List what lies on the scratch nodes, and what keys to deliveries there are."""
        found = [
            str(path)
            for name in self._nodes
            for each in ("work", "tmp")
            for path in (self.root / "hosts" / name / each).glob("*")
        ]
        ours = [path.name for path in self.archive.glob("*/2*")]
        keys = KEY_FOLDER.glob("*.key") if KEY_FOLDER.is_dir() else ()
        # Others on this machine may drill, too: a key's name has its entry.
        return found + [str(key) for key in keys if any(entry in key.name for entry in ours)]

    def processes(self) -> list[str]:
        """List the processes that have anything to do with this lab's folders."""
        return [
            f"process {pid}: {words}" for pid, words in processes() if str(self.root) in words
        ] + [f"process {pid}: {command_line(pid)}" for pid in _with_folders_below(self.root)]

    def assert_nothing_left(self) -> None:
        """Assert that no run left a process, a file, a key or a secret in clear."""
        assert not self.processes(), self.processes()
        assert not self.node_files(), self.node_files()
        # A module that was killed leaves its own code (AnsiballZ): that is Ansible's, and no secret.
        left = [str(each) for each in (self.root / "tmp").glob("*") if "_payload_" not in each.name]
        left += [str(path) for path in self.archive.rglob(".*")]
        assert not left, left
        self.assert_no_secret()


def _with_folders_below(root: Path) -> list[int]:
    """Return the processes whose working folder lies below `root`."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if str(link.readlink()).startswith(f"{root}/"):
                found.append(int(link.parent.name))
        except OSError:
            continue
    return found
