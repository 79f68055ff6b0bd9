# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller of the demo: an inventory, and ansible-playbook as a user would run it."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import typing as t
from pathlib import Path

import yaml

from demo.children import Failed, run
from demo.keys import Keys
from demo.stages import WIDTH
from lab import binaries, objects
from lab.loopback import Cluster

REPORT = re.compile(r'^    "msg": (\[\n.*?\n    \])$', re.MULTILINE | re.DOTALL)
"""What role etcd_backup says of a cluster, as Ansible prints it."""
NO_CAGE = re.compile(
    r"A throw-away server cannot be run apart on this host: a network namespace[^\"]*"
)
"""What a machine says that has no namespaces for this user."""
TASK = re.compile(r"^TASK \[(?:\S+ : )?(.*?)\] \**$")
Entry = dict[str, t.Any]


class Controller:
    """Runs playbooks with the collection as installed in .venv/collections."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        *,
        scratch: Path,
        keys: Keys,
        clusters: t.Sequence[Cluster],
    ) -> None:
        self.archive = folder / "archive"
        self._folder = folder
        self._clusters = clusters
        self._bin = Path(sys.executable).parent
        self._said: list[str] = []
        self._environment = self._ansible_environment(
            root, folder, binaries.get(clusters[0].version).directory
        )
        self.archive.mkdir(parents=True)
        self._spool = folder.parent / "spool"
        self._spool.mkdir(mode=0o700)
        # Root's throw-away etcd runs as a user of its own, who has to get there.
        self._scratch = scratch
        self._scratch.mkdir(mode=0o711)
        first, *others = clusters
        inventory = first.inventory(
            *others,
            etcd_archive=str(self.archive),
            etcd_recipients=list(keys.recipients),
            etcd_signing_key=str(keys.signing_key),
            etcd_identities=[str(keys.identities["ops"])],
            etcd_backup_spool_dir=str(self._spool),
            etcd_backup_staging_dir=str(self._spool),
        )
        scratch = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "etcd_drill_work_dir": str(self._scratch),
            "etcd_drill_spool_dir": str(self._spool),
        }
        inventory["all"]["children"]["etcd_scratch"] = {"hosts": {"scratch": scratch}}
        inventory["all"]["vars"] = {
            "ansible_become": False,
            "etcd_runtime_path": str(binaries.cache_dir() / "runtime"),
        }
        self._inventory = folder / "inventory.yml"
        self._inventory.write_text(yaml.safe_dump(inventory, sort_keys=False))
        self._variables = {"demo_archive": str(self.archive), "demo_keys": str(keys.signing_key)}

    @staticmethod
    def _ansible_environment(root: Path, folder: Path, tools: Path) -> dict[str, str]:
        """Return an environment in which nobody's own Ansible settings count."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "ETCDCTL_"))}
        configuration = folder / "ansible.cfg"
        (folder / "run").mkdir(parents=True, mode=0o700)
        configuration.write_text(
            "[defaults]\n"
            f"home = {folder / 'ansible'}\n"
            f"remote_tmp = {folder / 'remote'}\n"
            f"collections_path = {root / '.venv' / 'collections'}\n"
            "nocows = true\n"
        )
        clean["XDG_RUNTIME_DIR"] = str(folder / "run")  # locks of one who isn't root lie there
        # a control-plane host has etcd's tools on its PATH, or in etcd's container
        clean["PATH"] = f"{tools}:{clean['PATH']}"
        return {**clean, "ANSIBLE_CONFIG": str(configuration), "ANSIBLE_NOCOLOR": "1"}

    def _playbook(
        self, *arguments: str | Path, progress: t.Callable[[str], None] | None = None
    ) -> str:
        def watch(line: str) -> None:
            found = TASK.match(line)
            if found and progress:
                progress(found[1])

        said = run(
            [self._bin / "ansible-playbook", *arguments],
            env=self._environment,
            cwd=self._folder,
            watch=watch,
        )
        self._said.append(said)
        return said

    def backup(self, progress: t.Callable[[str], None]) -> list[str]:
        """Back up all clusters; return what the role says of each cluster."""
        said = self._playbook("controlplane.etcd.backup", "-i", self._inventory, progress=progress)
        reports = [json.loads(text) for text in REPORT.findall(said)]
        if len(reports) != len(self._clusters):
            raise Failed(f"{said}\n\nThe playbook did not report on each cluster.")
        return [line for report in sorted(reports) for line in report[:2]]

    def look(self) -> dict[str, list[Entry]]:
        """Return each cluster's entries, oldest first, as etcd_archive_info tells them.

        `manifest` is added: what that module leaves to the signed manifest, as objects per kind.
        """
        answer = self._folder / "archived.json"
        variables = {**self._variables, "demo_answer": str(answer)}
        look = Path(__file__).with_name("look.yml")
        self._playbook(look, "-i", "localhost,", "-e", json.dumps(variables))
        found: dict[str, list[Entry]] = {cluster.name: [] for cluster in self._clusters}
        for entry in sorted(json.loads(answer.read_text())["entries"], key=lambda each: each["id"]):
            manifest = self.archive / entry["etcd_cluster"] / entry["id"] / "manifest.json"
            found[entry["etcd_cluster"]].append(
                {**entry, "manifest": json.loads(manifest.read_text())}
            )
        return found

    def inside(self, newest: Entry, older: Entry, identity: Path) -> Entry:
        """Return what etcd_snapshot_info tells of an entry, compared with an older one."""
        answer = self._folder / "inside.json"
        variables = {
            **self._variables,
            "demo_answer": str(answer),
            "demo_cluster": newest["etcd_cluster"],
            "demo_compare_to": older["id"],
            "demo_identity": str(identity),
        }
        play = Path(__file__).with_name("inside.yml")
        self._playbook(play, "-i", "localhost,", "-e", json.dumps(variables))
        told: Entry = json.loads(answer.read_text())
        if told["snapshot"]["revision"] != newest["revision"]:
            raise Failed(f"{newest['id']} holds another revision than its manifest says.")
        return told

    def drill(self, progress: t.Callable[[str], None]) -> list[str]:
        """Drill the newest archive of each cluster; return what the role says, and what was kept.

        Where the kernel lets nobody but root make a private network, that is what is said.
        """
        try:
            said = self._playbook(
                "controlplane.etcd.drill", "-i", self._inventory, progress=progress
            )
        except Failed as exc:
            found = NO_CAGE.search(str(exc))
            if found is None:
                raise
            return [
                "NOT drilled, and no proof is kept, for this machine does not let it:",
                found[0],
            ]
        told = [line for text in REPORT.findall(said) for line in json.loads(text)]
        lines = [part for line in told for part in _wrapped(line)]
        proofs = sorted(self.archive.glob("*/2*/drills/*.json"))
        if len(proofs) != len(self._clusters) or len(told) < 2 * len(proofs):
            raise Failed(f"{said}\n\nThe playbook kept {len(proofs)} proofs.")
        for path in proofs:
            proof = json.loads(path.read_text())
            if proof["verdict"] != "passed":
                raise Failed(f"{path}: {proof['reason']}")
        return lines

    def certificates(self, progress: t.Callable[[str], None]) -> list[str]:
        """Return the table of all hosts' certificates; nobody but etcd serves any of them here."""
        asked = json.dumps({"etcd_cert_check_served": False})
        said = self._playbook(
            "controlplane.etcd.cert_check", "-i", self._inventory, "-e", asked, progress=progress
        )
        return [line for text in REPORT.findall(said) for line in json.loads(text)]

    def rotation(self) -> list[str]:
        """Return what a rotation to a single entry would do, and why."""
        policy = json.dumps({"etcd_retention": {"keep_last": 1}})
        said = self._playbook(
            "controlplane.etcd.rotate", "-i", self._inventory, "--check", "-e", policy
        )
        return [line for text in REPORT.findall(said) for line in json.loads(text)]

    def nothing_left(self) -> str:
        """Say that nothing lies on the hosts and the scratch node, and no secret in clear anywhere.

        Searched for planted ones are the archive, its sealed files too, and all that ansible-playbook printed.
        """
        folders = (self._spool, self._scratch)
        left = sorted(str(path) for folder in folders for path in folder.rglob("*"))
        if left:
            raise Failed(f"The runs left behind: {', '.join(left)}")
        planted = [text.encode() for text in objects.planted_forms()]
        files = [path for path in self.archive.rglob("*") if path.is_file()]
        texts = [("what was printed", "".join(self._said).encode())]
        for name, data in [*texts, *((str(path), path.read_bytes()) for path in files)]:
            for text in planted:
                if text in data:
                    raise Failed(f"{name} contains a secret value: {text.decode()}")
        return (
            f"nothing left there; none of {len(planted)} planted secrets in {len(files)} files of the "
            "archive, nor in any output"
        )


def _wrapped(line: str) -> list[str]:
    """Return a line of a report in as many as it takes; paths stay whole."""
    return textwrap.wrap(
        line, WIDTH - 6, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
