# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret is written or shown anywhere: at -vvv, by tasks that fail, on the oldest core and the newest.

Secrets are what Kubernetes' Secrets hide, every private key of the PKI, the encryption keys, etcd's
password, age identities, the signing key, and private keys given by mistake where public ones belong.
They are looked for in all that is printed, logged and archived, in processes' arguments and
environments, and in temporary folders while the runs go on and after them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import typing as t
import warnings
from pathlib import Path

import cores
import pyrage
import pytest
import yaml
import zstandard

from lab import binaries, objects
from lab.loopback import Cluster
from lab.watch import MADE, Secrets, Watch

COLLECTIONS = os.environ.get(
    "ANSIBLE_COLLECTIONS_PATH", str(Path(__file__).resolve().parents[2] / ".venv" / "collections")
)
PLAY = Path(__file__).with_name("leaks.yml")
# Where programs put things unasked.
KEY_FOLDER = Path("/run/controlplane-etcd")
SHARED_FOLDERS = tuple(Path(name) for name in ("/tmp", "/var/tmp", "/dev/shm"))
# A mistake -> what the run says of that cluster.
MISTAKES = {
    "wrong-ca": "certificate",
    "wrong-password": "invalid user ID or password",
    "garbled-key": "key",
    "bad-recipient": "not a valid age X25519 public key",
    "private-recipient": "Cluster private-recipient is refused: one of etcd_recipients",
    "key-for-path": "ssh",
    "no-signing-key": "Signing key",
}
# What the role etcd_drill refuses, and before anything goes to the scratch node.
DRILL_MISTAKES = ("identity-text", "tool-key")


class Controller:
    """A controller's files, a cluster to back up, and everything that must stay secret."""

    def __init__(self, root: Path, etcd: Cluster) -> None:
        self.root = root
        self.etcd = etcd
        for name in ("keys", "archive", "home", "remote", "staging", "tmp", "log"):
            (root / name).mkdir(mode=0o700)
        # The user of a drill's servers passes through, and reads nothing there.
        root.chmod(0o711)
        self.work = root / "work"
        self.work.mkdir()
        self.work.chmod(0o711)
        self.identities = {
            name: pyrage.x25519.Identity.generate()
            for name in ("ops", "escrow", "for the role", "for a module", "for a kit")
        }
        self.wrong_password = f"WRONG-{secrets.token_hex(12)}"
        self.signing_key = self._ssh_key("signing")
        self.other_key = self._ssh_key("other")
        self.tool_key = self._ssh_key("tool")
        self.foreign = etcd.cert("foreign", foreign=True)
        self.garbled = etcd.root / "garbled.key"
        intact = next(iter(etcd.members.values())).certificates_dir / "etcd" / "server.key"
        self.garbled.write_text(intact.read_text().replace("-----BEGIN EC", "-----BEGIN A"))
        self.password_file = root / "keys" / "password"
        self.password_file.write_text(etcd.password)
        self.secrets = Secrets.of(
            etcd.root,
            self.signing_key,
            self.other_key,
            self.tool_key,
            extra={
                "password": etcd.password,
                "wrong password": self.wrong_password,
                **{name: str(identity) for name, identity in self.identities.items()},
            },
        )

    def _ssh_key(self, name: str) -> Path:
        path = self.root / "keys" / name
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
        subprocess.run(argv, check=True)
        return path

    @property
    def own_folders(self) -> list[Path]:
        return [self.root / name for name in ("home", "remote", "staging", "tmp", "work")]

    def inventory(self) -> dict[str, t.Any]:
        """Return the cluster, and for each mistake a cluster of its own with one host that has it."""
        found = self.etcd.inventory(
            ansible_become=False,
            etcd_archive=str(self.root / "archive"),
            etcd_recipients=[str(self.identities[name].to_public()) for name in ("ops", "escrow")],
            etcd_signing_key=str(self.signing_key),
            etcd_identities=[str(self._file("ops", str(self.identities["ops"])))],
            etcd_backup_install_runtime=False,
            etcd_backup_include_tools=False,
            etcd_backup_staging_dir=str(self.root / "staging"),
            etcd_backup_spool_dir=str(self.root / "staging"),
            leaks_password=f"{{{{ lookup('ansible.builtin.file', '{self.password_file}') }}}}",
            leaks_identity_module=self._lookup(
                "for a module", str(self.identities["for a module"])
            ),
            leaks_identity_kit=self._lookup("for a kit", str(self.identities["for a kit"])),
            leaks_identity_file=str(self._file("ops", str(self.identities["ops"]))),
            leaks_key_text=f"{{{{ lookup('ansible.builtin.file', '{self.other_key}') }}}}",
        )
        children = found["all"]["children"]["etcd"]["children"]
        name = next(iter(self.etcd.members))
        for mistake, variables in self._mistakes().items():
            host = {**self.etcd.host_variables(name), **variables}
            children[mistake] = {"hosts": {mistake: host}, "vars": {"etcd_cluster": mistake}}
        found["all"]["children"] |= self._of_drills()
        return found

    def _of_drills(self) -> dict[str, t.Any]:
        """Return a scratch node that is this machine, and clusters with mistakes, to be drilled."""
        made = binaries.get(self.etcd.version)
        tools = [
            {
                "name": path.name,
                "path": str(path),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in (made.etcd, made.snapshot_tool)
        ]
        scratch = {
            "ansible_connection": "local",
            "ansible_python_interpreter": self.etcd.python,
            "ansible_become": False,
            "etcd_drill_work_dir": str(self.work),
            "etcd_drill_spool_dir": str(self.root / "tmp"),
            "etcd_drill_install_runtime": False,
            "etcd_drill_isolation": "namespace",
            "etcd_drill_tools": tools,
        }
        text = self._lookup("for the role", str(self.identities["for the role"]))
        key = f"{{{{ lookup('ansible.builtin.file', '{self.tool_key}') }}}}"
        of_mistakes = {
            "identity-text": {"etcd_identities": [text]},
            "tool-key": {"etcd_drill_tools": [{**tools[0], "sha256": key}]},
        }
        own = {
            "etcd_archive": str(self.root / "archive"),
            "etcd_signing_key": str(self.signing_key),
        }
        return {
            "etcd_scratch": {"hosts": {"scratch": scratch}},
            "drill_mistakes": {
                "hosts": {
                    name: {"etcd_cluster": name, **of_mistakes[name]} for name in of_mistakes
                },
                "vars": own,
            },
        }

    def _mistakes(self) -> dict[str, dict[str, t.Any]]:
        role = self._lookup("for the role", str(self.identities["for the role"]))
        wrong = self._lookup("wrong", self.wrong_password)
        escrow = str(self.identities["escrow"].to_public())
        certificate = str(self.etcd.cert("own").cert)
        return {
            "wrong-ca": {"leaks_cacert": str(self.foreign.ca)},
            "wrong-password": {"leaks_password": wrong},
            "garbled-key": {"leaks_cert": certificate, "leaks_key": str(self.garbled)},
            "bad-recipient": {"etcd_recipients": [escrow, "age1notakey"]},
            "private-recipient": {"etcd_recipients": [escrow, role]},
            "key-for-path": {"etcd_signing_key": "{{ leaks_key_text }}"},
            "no-signing-key": {"etcd_signing_key": str(self.root / "keys" / "none")},
        }

    def _file(self, name: str, text: str) -> Path:
        path = self.root / "keys" / name.replace(" ", "-")
        path.write_text(text)
        return path

    def _lookup(self, name: str, text: str) -> str:
        return f"{{{{ lookup('ansible.builtin.file', '{self._file(name, text)}') }}}}"

    def run(self, core: cores.Core, *arguments: str | Path, **environment: str) -> Run:
        """Run ansible-playbook at -vvv, watched."""
        inventory = self.root / "keys" / "inventory.yml"
        inventory.write_text(yaml.safe_dump(self.inventory()))
        (self.root / "keys" / "ansible.cfg").write_text(
            "[defaults]\n"
            f"home = {self.root}/home\n"
            f"remote_tmp = {self.root}/remote\n"
            f"collections_path = {COLLECTIONS}\n"
            f"log_path = {self.root}/log/ansible.log\n"
            "nocows = true\nshow_custom_stats = true\nforks = 10\n"
        )
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "ETCDCTL_"))}
        own = {
            "ANSIBLE_CONFIG": f"{self.root}/keys/ansible.cfg",
            "ANSIBLE_NOCOLOR": "1",
            # From 2.21 on, options are shown only when asked for.
            "ANSIBLE_INJECT_INVOCATION": "1",
            "TMPDIR": f"{self.root}/tmp",
        }
        argv = [core.playbook, "-i", inventory, "-vvv", *arguments]
        # What the environment was given by us is no leak of it.
        given = [
            name
            for name, text in self.secrets.named.items()
            if text.decode() in environment.values()
        ]
        folders = [*self.own_folders, KEY_FOLDER]
        watched = Watch(self.secrets.without(*given), folders=folders)
        alone = Secrets(
            {k: v for k, v in self.secrets.named.items() if not k.startswith("planted")}
        )
        shared = Watch(alone, folders=SHARED_FOLDERS)
        with watched:
            done = subprocess.run(
                [str(word) for word in argv],
                cwd=self.root,
                env={**kept, **own, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=400,
                check=False,
            )
        left = [path for path in shared.new() if path not in (self.root, self.etcd.root)]
        return Run(done.returncode, done.stdout, watched, alone.below(*left))


@dataclasses.dataclass(frozen=True)
class Run:
    """How a run went, what was seen meanwhile, and secrets left in folders that all programs share."""

    code: int
    text: str
    watch: Watch
    left: dict[str, list[str]]

    def stats(self, name: str = "etcd_backup") -> dict[str, t.Any]:
        """What the run handed on by set_stats."""
        text = self.text.partition("CUSTOM STATS:")[2].partition("RUN: ")[2]
        assert text, self.text[-3000:]
        found: dict[str, t.Any] = json.JSONDecoder().raw_decode(text)[0][name]
        return found


@contextlib.contextmanager
def system_log() -> t.Iterator[list[bytes]]:
    """Be this machine's syslog while it has none: that is where modules log their arguments."""
    lines: list[bytes] = []
    path = "/dev/log"
    if os.path.exists(path) or os.geteuid() != 0:
        warnings.warn(
            f"{path} is not ours to listen on: what modules log is not looked at", stacklevel=1
        )
        lines.append(b"unwatched")
        yield lines
        return

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                lines.append(server.recv(1 << 16))

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        threading.Thread(target=listen, daemon=True).start()
        try:
            yield lines
        finally:
            os.unlink(path)


@pytest.fixture(scope="module")
def etcd() -> t.Iterator[Cluster]:
    with Cluster("alpha", size=3) as cluster:
        objects.fill(cluster)
        cluster.auth, cluster.password = True, f"PASSWORD-{secrets.token_hex(12)}"
        cluster.up()
        yield cluster


@pytest.fixture(params=cores.wanted(), ids=lambda wish: wish.label)
def core(request: pytest.FixtureRequest) -> cores.Core:
    wish: cores.Wish = request.param
    return cores.make(wish)


@pytest.fixture
def controller(etcd: Cluster) -> t.Iterator[Controller]:
    root = Path(tempfile.mkdtemp(prefix="leaks-"))
    try:
        yield Controller(root, etcd)
    finally:
        shutil.rmtree(root)


def assert_no_leak(controller: Controller, run: Run, log: list[bytes]) -> None:
    """Assert that nothing printed, logged, kept or left behind holds a secret, nor did a process."""
    found = controller.secrets.within(run.text.encode())
    assert not found, [
        line for line in run.text.splitlines() if controller.secrets.within(line.encode())
    ]
    assert '"invocation"' in run.text  # it was as talkative as it gets
    assert log, "no module logged anything: nothing was looked at"
    assert not controller.secrets.within(b"\n".join(log))
    assert (controller.root / "log" / "ansible.log").stat().st_size
    kept = [controller.root / name for name in ("archive", "log")]
    assert not controller.secrets.below(*kept, *controller.own_folders)
    assert not run.left
    assert not run.watch.processes
    assert run.watch.rounds > 50
    ids = [path.name for path in (controller.root / "archive").glob("*/2*")]
    for path, seen in run.watch.files.items():
        if not seen.secrets or (is_key(path) and not any(entry in path for entry in ids)):
            continue  # others on this machine drill, too
        assert seen.private, (path, seen)
        assert not Path(path).exists()
        if is_restored(controller, path):
            assert all(name.startswith("planted") for name in seen.secrets), (path, seen)
        elif is_key(path):
            assert seen.secrets == (MADE,), (path, seen)
            assert not seen.mode & 0o077, (path, seen)
        else:
            # Arguments lie in the module's file while it runs, and nobody else can read that.
            assert "AnsiballZ_" in path or "/ansible-local-" in path, (path, seen)
            assert MADE not in seen.secrets, (path, seen)


def is_key(path: str) -> bool:
    """Tell whether it is the key to a delivery, which lies in memory while that does."""
    return path.startswith(f"{KEY_FOLDER}/")


def is_restored(controller: Controller, path: str) -> bool:
    """Tell whether it belongs to the data that a drill restored, which is there in clear."""
    cage, _slash, below = path.removeprefix(f"{controller.work}/").partition("/")
    return cage.startswith("controlplane-etcd-drill.") and below.startswith("data/")


def test_backup_succeeds_and_leaks_nothing(controller: Controller, core: cores.Core) -> None:
    with system_log() as log:
        run = controller.run(
            core,
            *("controlplane.etcd.backup", "--limit", "alpha"),
            # The other tests here go without, and so write modules with their arguments to files.
            ANSIBLE_PIPELINING="True",
            ETCDCTL_USER="root",
            ETCDCTL_PASSWORD=controller.etcd.password,
        )
    assert run.code == 0, run.text[-6000:]
    outcome = run.stats()["alpha"]
    assert outcome["outcome"] == "archived"
    assert_no_leak(controller, run, log)
    # The search is not in vain: opened, the entry holds what was searched for.
    [entry] = (controller.root / "archive" / "alpha").glob("2*")
    for name, planted in (("data.db", "planted"), ("pki/alpha-cp1.tar", "sa.key")):
        packed = pyrage.decrypt(
            (entry / f"{name}.zst.age").read_bytes(), [controller.identities["escrow"]]
        )
        clear = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        assert any(planted in held for held in controller.secrets.within(clear)), name
    drill_leaks_nothing(controller, core, entry)


def drill_leaks_nothing(controller: Controller, core: cores.Core, entry: Path) -> None:
    """Deliver and drill what a backup just made; assert where secrets were meanwhile."""
    with system_log() as log:
        run = controller.run(core, "controlplane.etcd.drill", "-e", "etcd_hosts=alpha")
    assert run.code == 0, run.text[-6000:]
    assert run.stats("etcd_drill")["alpha"]["outcome"] == "passed"
    assert [*entry.glob("drills/*.json")]
    assert_no_leak(controller, run, log)
    # The watch looked where a secret was: the key is there as long as the delivery. The restored
    # data is there too shortly to be seen each time; where it was, it was looked at.
    held = {path for path, seen in run.watch.files.items() if seen.secrets}
    assert [path for path in held if is_key(path) and entry.name in path], held


def test_mistakes_leak_nothing(controller: Controller, core: cores.Core) -> None:
    with system_log() as log:
        run = controller.run(core, PLAY)
    assert run.code == 2, run.text[-6000:]
    stats = run.stats()
    assert stats["alpha"]["outcome"] == "archived", run.text[-6000:]
    entries = sorted(path.parent.name for path in (controller.root / "archive").glob("*/2*"))
    assert entries == ["alpha"]
    for cluster, said in MISTAKES.items():
        told = [line for line in run.text.splitlines() if said in line]
        assert told, (cluster, said)
        assert cluster not in stats or stats[cluster]["outcome"] == "failed"
    drills = run.stats("etcd_drill")
    for cluster in DRILL_MISTAKES:
        assert drills[cluster]["outcome"] == "not_drilled"
        assert "PRIVATE key" in drills[cluster]["errors"][0], drills[cluster]
    assert "Option identities holds a PRIVATE key's text" in run.text
    assert "is not 64 lower-case hex digits" in run.text
    # Each task that must fail says so by ignore_errors: they are counted, not listed.
    assert run.text.count("...ignoring") == PLAY.read_text().count("ignore_errors: true")
    assert_no_leak(controller, run, log)
    assert any("AnsiballZ_" in command for command in run.watch.commands)
    # A private key given to the role by mistake was not even sent to the host.
    sent = {name for seen in run.watch.files.values() for name in seen.secrets}
    assert "for the role" not in sent
    assert not [name for name in sent if name.startswith(str(controller.tool_key))]


def test_module_files_are_private(controller: Controller, core: cores.Core) -> None:
    """Kept on purpose (ANSIBLE_KEEP_REMOTE_FILES), to look at them at leisure."""
    run = controller.run(
        core,
        *(PLAY, "--limit", "alpha-cp1", "--tags", "password", "--skip-tags", "always"),
        ANSIBLE_KEEP_REMOTE_FILES="1",
    )
    assert run.code == 0, run.text[-6000:]
    holding = controller.secrets.below(*controller.own_folders)
    assert len(holding) == 2, holding
    for path, held in holding.items():
        assert "AnsiballZ_etcd_" in path
        assert held == ["password"]
        assert not Path(path).parent.stat().st_mode & 0o077
    assert not controller.secrets.within(run.text.encode())


def test_search_finds_what_is_there(tmp_path: Path) -> None:
    """The watch sees a secret in arguments, in an environment, and in a file that is gone again."""
    wanted = Secrets(
        {"one": b"secret-of-arguments", "two": b"secret-of-environment", "three": b"secret-of-file"}
    )
    code = (
        "import pathlib, sys, time; p = pathlib.Path(sys.argv[1]); p.touch(0o644);"
        "p.write_text('secret-of-' + 'file'); time.sleep(1); p.unlink()"
    )
    with Watch(wanted, folders=[tmp_path]) as watch:
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "gone"), "secret-of-arguments"],
            env={**os.environ, "X": "secret-of-environment"},
            check=True,
        )
    found = {name for held in watch.processes.values() for name in held}
    assert found == {"one", "two"}
    seen = watch.files[str(tmp_path / "gone")]
    assert seen.secrets == ("three",)
    assert not seen.private


def test_every_core_is_here() -> None:
    """A Python that this machine lacks is said, and is no failure."""
    for line in cores.missing():
        warnings.warn(line, stacklevel=1)
    assert cores.wanted()
