# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real runs of the backup playbook on loopback, watched step by step, with faults made on the way.

    with BackupLab() as lab:
        run = lab.backup({"alpha": lab.hosts(alpha)})
        assert run.outcome("alpha")["outcome"] == "archived"
        lab.assert_clean(entries={"alpha": 1})

Each host has its own staging, spool and temporary folder below the lab's root, so that what is
left behind is found, and by whom. A handler that is given to `start` is called at each task's
start, with the run held until it returns: that is where faults are made, without any sleep.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import typing as t
from pathlib import Path

import pyrage
import yaml
from integration.backup.watch import command_line, is_held, processes

from lab import objects, returned
from lab.processes import descendants

if t.TYPE_CHECKING:
    from lab.loopback import Cluster

ROOT = Path(__file__).resolve().parents[3]
BIN = ROOT / ".venv" / "bin"
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(ROOT / ".venv" / "collections"))
CALLBACKS = Path(__file__).with_name("callbacks")
LOCK_FOLDERS = ("/run/lock", os.environ.get("XDG_RUNTIME_DIR", "/run/lock"), "/var/tmp")
BIN_NAME = "ansible-playbook"
PLUGINS = "ansible_collections.controlplane.etcd.plugins"
MINUTE = 60.0
# The name of a group whose hosts belong to no cluster.
NO_CLUSTER = "nocluster"

Variables = dict[str, t.Any]
Handler = t.Callable[[str], None]


OF_ANSIBLE = ("_ansible", "ansible_", "attempts", "failed_when_", "item")
"""What ansible-playbook itself puts into a task's result."""


@dataclasses.dataclass(frozen=True)
class Run:
    """How a run went: its exit status, what each task said, what it handed on."""

    status: int
    results: tuple[dict[str, t.Any], ...]
    stats: dict[str, t.Any]
    text: str

    def outcome(self, cluster: str) -> dict[str, t.Any]:
        """Return what set_stats says of a cluster."""
        found = self.stats.get("etcd_backup", {})
        assert cluster in found, f"{cluster} is not in {sorted(found)}:\n{self.text[-6000:]}"
        return t.cast("dict[str, t.Any]", found[cluster])

    def verdict(self, cluster: str) -> str:
        """Return the message with which the run failed for a cluster, by any of its hosts."""
        said = [each["msg"] for each in self.results if each["how"] == "failed"]
        named = [msg for msg in said if f"luster {cluster} " in msg]
        assert len(named) == 1, f"{len(named)} failures name {cluster}: {said}\n{self.text[-6000:]}"
        return named[0]

    def said(self, host: str, task: str) -> dict[str, t.Any]:
        """Return the result of a task on a host."""
        found = [each for each in self.results if (each["host"], each["task"]) == (host, task)]
        assert found, f"{host} has no result of {task!r}:\n{self.text[-6000:]}"
        return found[-1]


class Session:
    """A run that is going on."""

    def __init__(self, lab: BackupLab, argv: list[str], handler: Handler | None) -> None:
        self.tasks: list[str] = []
        self._handler = handler
        self._results: list[dict[str, t.Any]] = []
        self._stats: dict[str, t.Any] = {}
        self._failed: BaseException | None = None
        self._wrong: list[str] = []
        self._reached: dict[str, threading.Event] = {}
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=lab.root / "runs"))
        self._output = folder / "output"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / "events"))
        self._server.listen(1)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                argv,
                cwd=lab.root,
                env=lab.environment(LAB_EVENTS=str(folder / "events")),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            peer, _address = self._server.accept()
            with peer, peer.makefile("rw", encoding="utf-8") as stream:
                for line in stream:
                    self._take(json.loads(line))
                    stream.write("go\n")
                    stream.flush()

    def _take(self, event: dict[str, t.Any]) -> None:
        kind = event.pop("kind")
        if kind == "result":
            self._judge(event.pop("module"), event.pop("answer"))
            self._results.append(event)
        elif kind == "stats":
            self._stats = event["custom"]
        else:
            self.tasks.append(event["task"])
            try:
                if self._handler:
                    self._handler(event["task"])
            except BaseException as exc:  # shown by wait(): it belongs to the test
                self._failed = exc
            self._reached.setdefault(event["task"], threading.Event()).set()

    def _judge(self, action: str, answer: dict[str, t.Any]) -> None:
        """Compare what a module of ours answered with its RETURN; wait() shows what is wrong."""
        collection, _dot, module = action.rpartition(".")
        answers = answer.get("results", [answer])
        if collection != "controlplane.etcd" or any("censored" in each for each in answers):
            return
        for each in answers:
            if each.get("skipped"):
                continue
            own = {k: v for k, v in each.items() if not k.startswith(OF_ANSIBLE)}
            self._wrong += returned.disagreements(module, own)

    def wait_for(self, task: str, *, seconds: float = MINUTE) -> None:
        """Wait until a task begins."""
        assert self._reached.setdefault(task, threading.Event()).wait(seconds), (
            f"{task!r} did not begin; last was {self.tasks[-1:]}:\n{self._output.read_text()}"
        )

    def kill(self) -> None:
        """End the controller and all its workers by SIGKILL, as when its machine dies.

        Modules live on, as they do on a host.
        """
        ours = [self.process.pid]
        for pid in descendants(self.process.pid):
            if "AnsiballZ" not in command_line(pid) and BIN_NAME in command_line(pid):
                ours.append(pid)
        for pid in ours:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait(self, *, seconds: float = 5 * MINUTE) -> Run:
        """Wait for the end; raise what a handler raised."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
            raise
        finally:
            self._server.close()
        self._thread.join(MINUTE)
        if self._failed:
            raise self._failed
        assert not self._wrong, self._wrong
        text = self._output.read_text(errors="replace")
        return Run(status, tuple(self._results), self._stats, text)


class BackupLab:
    """A controller with keys and an archive, and the folders of its loopback hosts.

    `pipelining` is quicker; without it each module is a process that names its host and itself.
    """

    def __init__(self, *, pipelining: bool = False) -> None:
        # For other users to come through: some faults are what an unprivileged user meets.
        self.root = Path(tempfile.mkdtemp(prefix="backup-lab-"))
        self.root.chmod(0o755)
        self.archive = self.root / "archive"
        self._secrets: set[str] = set(objects.planted_forms())
        self._known: dict[str, Variables] = {}
        for name in ("keys", "runs", "hosts", "tmp"):
            (self.root / name).mkdir(mode=0o755)
        identities = [pyrage.x25519.Identity.generate() for _turn in range(2)]
        self.recipients = [str(each.to_public()) for each in identities]
        self.identity = self.root / "keys" / "identity"
        self.identity.touch(mode=0o600)
        self.identity.write_text(f"{identities[0]}\n")
        self.signing_key = self.new_key("sign")
        (self.root / "ansible.cfg").write_text(
            "[defaults]\n"
            f"home = {self.root / 'ansible'}\n"
            f"collections_path = {COLLECTIONS}\n"
            f"callback_plugins = {CALLBACKS}\n"
            "callbacks_enabled = lab_events\n"
            "forks = 12\n"
            "nocows = true\n"
            f"remote_tmp = {self.root / 'hosts' / 'localhost' / 'tmp'}\n"
            f"[connection]\npipelining = {pipelining}\n"
        )

    def __enter__(self) -> BackupLab:
        return self

    def __exit__(self, *_rest: object) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def new_key(self, name: str) -> Path:
        """Make a signing key."""
        path = self.root / "keys" / name
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
        subprocess.run(argv, check=True)
        return path

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment in which nobody's own settings count."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "ETCDCTL_"))}
        own = {
            "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "TMPDIR": str(self.root / "tmp"),
        }
        return {**kept, **own, **more}

    def hosts(self, cluster: Cluster, *names: str, **variables: t.Any) -> dict[str, Variables]:
        """Return inventory hosts for members of a cluster (all, or those named)."""
        self._secrets.update(cluster.secrets())
        return {
            name: self.host(name, {**cluster.host_variables(name), **variables})
            for name in names or cluster.members
        }

    def host(self, name: str, variables: Variables) -> Variables:
        """Return a host's variables, with folders of its own to leave things in."""
        folder = self.root / "hosts" / name
        for each in ("staging", "spool", "tmp"):
            (folder / each).mkdir(parents=True, exist_ok=True)
        self._known[name] = {
            "ansible_become": False,
            "ansible_remote_tmp": str(folder / "tmp"),
            "etcd_backup_staging_dir": str(folder / "staging"),
            "etcd_backup_spool_dir": str(folder / "spool"),
            **variables,
        }
        return self._known[name]

    def folder(self, host: str, name: str) -> Path:
        """Return a host's staging, spool or tmp folder."""
        return self.root / "hosts" / host / name

    def start(
        self,
        clusters: t.Mapping[str, t.Mapping[str, Variables]],
        *arguments: str,
        handler: Handler | None = None,
        playbook: str = "backup",
        groups: t.Mapping[str, t.Any] | None = None,
        **variables: t.Any,
    ) -> Session:
        """Start a playbook of the collection; `variables` are set for all hosts.

        :param groups: further groups of the inventory, beside `etcd`.
        """
        children = {
            name: {
                "hosts": dict(hosts),
                "vars": {} if name == NO_CLUSTER else {"etcd_cluster": name},
            }
            for name, hosts in clusters.items()
        }
        for_all = {
            "etcd_archive": str(self.archive),
            "etcd_recipients": self.recipients,
            "etcd_signing_key": str(self.signing_key),
            # .venv has what etcd_runtime would install
            "etcd_backup_install_runtime": False,
            "etcd_backup_include_tools": False,
            **variables,
        }
        for_all = {name: value for name, value in for_all.items() if value is not None}
        all_groups = {"etcd": {"children": children}, **(groups or {})}
        inventory = {"all": {"vars": for_all, "children": all_groups}}
        descriptor, path = tempfile.mkstemp(suffix=".yml", dir=self.root / "runs")
        with os.fdopen(descriptor, "w") as target:
            yaml.safe_dump(inventory, target)
        command = [str(BIN / "ansible-playbook"), f"controlplane.etcd.{playbook}", "-i", path]
        return Session(self, [*command, *arguments], handler)

    def backup(
        self,
        clusters: t.Mapping[str, t.Mapping[str, Variables]],
        *arguments: str,
        handler: Handler | None = None,
        **variables: t.Any,
    ) -> Run:
        """Run the playbook to its end."""
        return self.start(clusters, *arguments, handler=handler, **variables).wait()

    def module_process(self, host: str, module: str) -> int | None:
        """Return the process in which a module runs on a host; without pipelining only."""
        for pid, words in processes():
            named = f"AnsiballZ_{module}.py" in words and f"/hosts/{host}/" in words
            if named and "python" in words.partition(" ")[0]:
                return pid
        return None

    def trust(self, cluster: str) -> list[str]:
        """Return how far each entry of a cluster can be trusted, every file read."""
        params = {
            "archive": str(self.archive),
            "etcd_cluster": cluster,
            "allowed_signers": [f"{self.signing_key}.pub"],
            "verify": "files",
        }
        done = subprocess.run(
            [sys.executable, "-m", f"{PLUGINS}.modules.etcd_archive_info"],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": params}),
            env={**os.environ, "PYTHONPATH": COLLECTIONS},
            capture_output=True,
            text=True,
            timeout=MINUTE,
            check=False,
        )
        return [entry["trust"] for entry in json.loads(done.stdout)["entries"]]

    # What is left

    def entries(self, cluster: str, *, archive: Path | None = None) -> list[str]:
        """List the entries of a cluster in the archive."""
        return sorted(path.name for path in (archive or self.archive).glob(f"{cluster}/2*"))

    def left(self, *, archives: t.Sequence[Path] = (), killed: bool = False) -> list[str]:
        """List what no run may leave: half entries, sealed or clear files, locks, processes.

        :param killed: Ansible's own temporary folders, which it leaves when killed, don't count.
        """
        found = [
            str(path)
            for archive in (self.archive, *archives)
            for path in [*archive.rglob(".*"), *archive.rglob("*.part")]
        ]
        folders = [self.root / "tmp"]
        for host, variables in self._known.items():
            folders += [Path(variables[f"etcd_backup_{each}_dir"]) for each in ("staging", "spool")]
            folders += [self.folder(host, "tmp")]
        for path in [path for folder in folders for path in folder.glob("*")]:
            ansibles = killed and path.name.startswith(("ansible-tmp-", "ansible_"))
            if path.name != "lost+found" and not ansibles:
                found.append(str(path))
        return found + self.held()

    def held(self) -> list[str]:
        """List what is still held in memory: processes, unnamed files, locks."""
        return self.modules() + self._deleted_open() + self._locked()

    def modules(self) -> list[str]:
        """List the module processes of this lab's runs that still live."""
        return [f"process {pid}: {words}" for pid, words in processes() if str(self.root) in words]

    def _deleted_open(self) -> list[str]:
        """List unnamed files below the hosts' folders that some process still holds open."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                for link in (process / "fd").iterdir():
                    found += self._deleted(link)
        return found

    def _deleted(self, link: Path) -> list[str]:
        with contextlib.suppress(OSError):
            target = os.readlink(link)
            if target.startswith(str(self.root)) and target.endswith(" (deleted)"):
                return [f"{link} -> {target}"]
        return []

    def _locked(self) -> list[str]:
        return [
            str(path)
            for folder in {*LOCK_FOLDERS}
            for path in Path(folder).glob("**/controlplane.etcd-snapshot-*.lock")
            if is_held(path, str(self.root))
        ]

    def assert_clean(
        self,
        *,
        entries: t.Mapping[str, int] | None = None,
        archives: t.Sequence[Path] = (),
        killed: bool = False,
    ) -> None:
        """Assert that nothing is left behind, and how many entries each cluster has."""
        left = self.left(archives=archives, killed=killed)
        assert not left, left
        for cluster, count in (entries or {}).items():
            assert len(self.entries(cluster)) == count, cluster
        self.assert_no_secret()

    def assert_no_secret(self) -> None:
        """Assert that no planted secret, no key and no password can be read in any file here."""
        wanted = [text.encode() for text in self._secrets]
        for path in self.root.rglob("*"):
            below = path.relative_to(self.root).parts[0]
            # an image is a disk: its free blocks still hold what an unnamed file had
            if below in ("keys", "trees") or path.name == "image" or not path.is_file():
                continue
            data = path.read_bytes()
            for text in wanted:
                assert text not in data, f"{path} holds a secret"
