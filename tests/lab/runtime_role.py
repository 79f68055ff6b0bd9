# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of role etcd_runtime share: the Pythons of this machine, runs, forged wheelhouses."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE_PLAYBOOK = ROOT / ".venv" / "bin" / "ansible-playbook"
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(ROOT / ".venv" / "collections"))
FILES = Path(COLLECTIONS, "ansible_collections/controlplane/etcd/roles/etcd_runtime/files")
MINORS = range(9, 15)
MACHINE = os.uname().machine
# A host without a way to any index.
CLOSED = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_FIND_LINKS": "",
    "PIP_RETRIES": "0",
    "NO_PROXY": "127.0.0.1",
}
PLAYBOOK = [
    {
        "hosts": "all",
        "gather_facts": False,
        "roles": ["controlplane.etcd.etcd_runtime"],
        "tasks": [
            {
                "name": "Say what this task runs in",
                "ansible.builtin.setup": {"gather_subset": ["!all", "!min", "python"]},
                "register": "seen",
            },
            {
                "name": "Show it",
                "ansible.builtin.debug": {
                    "msg": "runs in={{ seen.ansible_facts.ansible_python.executable }}"
                },
            },
        ],
    }
]


def _pythons() -> dict[str, str]:
    """Find the Pythons of this machine: tag -> interpreter."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = ["/usr/bin/python3", *sorted(map(str, pyenv.glob("versions/*/bin/python3")))]
    candidates += filter(None, (shutil.which(f"python3.{minor}") for minor in MINORS))
    found: dict[str, str] = {}
    code = "import sys, platform; print(f'cp3{sys.version_info[1]}', platform.libc_ver()[0])"
    for candidate in candidates:
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [candidate, "-c", code], capture_output=True, text=True, check=False
            )
            tag, _mark, libc = done.stdout.strip().partition(" ")
            if libc == "glibc" and tag in {f"cp3{minor}" for minor in MINORS}:
                found.setdefault(tag, candidate)
    return found


PYTHONS = _pythons()
PYTHON = next(iter(PYTHONS.values()))


@dataclasses.dataclass(frozen=True)
class Ran:
    status: int
    output: str

    def counts(self, host: str) -> dict[str, int]:
        """Return the recap's figures for one host."""
        line = re.search(rf"^{host} +: (ok=.*)$", self.output, re.MULTILINE)
        assert line, self.output
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line[1])}


class Machine:
    """Runs the role on this machine under as many inventory names as asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, host: str = "one") -> Path:
        return self.folder / host

    def run(
        self,
        *arguments: str,
        hosts: t.Sequence[str] = ("one",),
        environment: t.Mapping[str, str] | None = None,
        playbook: t.Sequence[t.Mapping[str, t.Any]] = tuple(PLAYBOOK),
        **variables: object,
    ) -> Ran:
        own = {host: {"etcd_runtime_path": str(self.path(host))} for host in hosts}
        shared = {
            "ansible_connection": "local",
            "etcd_runtime_interpreter": PYTHON,
            **{f"etcd_runtime_{name}": value for name, value in variables.items()},
        }
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"vars": {}, "hosts": own}}))
        play = self.folder / "play.json"
        play.write_text(json.dumps(playbook))
        extra = self.folder / "variables.json"
        extra.write_text(json.dumps(shared))
        done = subprocess.run(
            [
                str(ANSIBLE_PLAYBOOK), "-i", str(inventory), str(play), "-e", f"@{extra}",
                *arguments,
            ],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS, "ANSIBLE_NOCOLOR": "1",
                 **(environment or {})},
            capture_output=True, text=True, check=False, timeout=500,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout + done.stderr)

    def settings(self, wheelhouse: Path) -> dict[str, str]:
        """Return what the role tells runtime.py on the host, for a run that is to be killed."""
        digests = json.loads((FILES / "locks" / "index.json").read_text())
        tag = next(tag for tag, python in PYTHONS.items() if python == PYTHON)
        name = f"{tag}-linux-{MACHINE}-{digests[tag][:12]}"
        return {
            "path": str(self.path()),
            "lock": str(FILES / "locks" / f"{tag}.txt"),
            "digest": digests[tag],
            "name": name,
            "wheelhouse": str(wheelhouse / f"{name}.tar"),
        }


def make_wheelhouses(folder: Path, *arguments: str, **planted: t.Any) -> Ran:
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": planted.get("vars_files", []),
        "tasks": [
            {
                "name": "Make them",
                "ansible.builtin.import_role": {
                    "name": "controlplane.etcd.etcd_runtime",
                    "tasks_from": "wheelhouse",
                },
            }
        ],
    }
    return Machine(folder.parent).run(
        *arguments,
        hosts=(),
        playbook=[play],
        environment=planted.get("environment", {}),
        wheelhouse_folder=str(folder),
        wheelhouse_targets=[f"{tag}-linux-{MACHINE}" for tag in PYTHONS],
    )


def assert_whole(path: Path) -> None:
    """The environment imports what the modules need, and nothing unfinished lies beside it."""
    environment = (path / "venv").resolve(strict=True)
    code = "import etcd3.etcdrpc, google_crc32c, pyrage, zstandard, cryptography.x509; print('ok')"
    done = subprocess.run(
        [str(environment / "bin" / "python"), "-c", code],
        env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "ok\n", done.stderr
    previous = json.loads((environment / "runtime.json").read_text())["previous"]
    kept = {environment.name, previous} - {""}
    assert {entry.name for entry in (path / "environments").iterdir()} == kept
    assert not list(path.glob(".work-*"))


def planted_variables(folder: Path) -> Path:
    """Write variables that hold a password in the index's address and one in pip's environment."""
    variables = folder / "planted.json"
    content = {
        "etcd_runtime_index_url": "http://user:planted-9f2c@127.0.0.1:9/simple",
        "etcd_runtime_environment": {"HTTPS_PROXY": "http://planted-77aa:planted-51be@127.0.0.1:9"},
    }
    variables.write_text(json.dumps(content))
    return variables


def forge(source: Path, target: Path) -> None:
    """Copy a wheelhouse with another six in it, its requirements.txt made to fit."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        digests = {}
        for member in sorted(old.getmembers(), key=lambda one: one.name.endswith(".txt")):
            handle = old.extractfile(member)
            assert handle
            data = handle.read()
            if member.name.startswith("six-"):
                digests[hashlib.sha256(data).hexdigest()] = hashlib.sha256(data + b"!").hexdigest()
                data += b"!"
            for honest, forged in digests.items():
                data = data.replace(honest.encode(), forged.encode())
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
