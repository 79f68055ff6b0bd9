# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A member's folder with old data of a real etcd, and a recorded snapshot to restore over it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import typing as t
from pathlib import Path

from ansible.module_utils import basic

from ansible_collections.controlplane.etcd.plugins.module_utils._restore.apply import Restore
from ansible_collections.controlplane.etcd.plugins.modules import etcd_restore
from lab import binaries, returned, versions

FIXTURES = Path(__file__).resolve().parents[1] / "unit" / "fixtures"
__all__ = ["Bench", "dying_at", "main", "recorded"]

Before = t.Callable[[], None]


def recorded(version: str, scenario: str = "history") -> bytes:
    """Return a snapshot as that etcd made it, with its trailing sha256."""
    return gzip.decompress((FIXTURES / version / f"{scenario}.db.gz").read_bytes())


def dying_at(step: str) -> Before:
    """Return what makes the module kill itself at a step."""

    def prepare() -> None:
        def die(_self: object, name: str) -> None:
            if name == step:
                os.kill(os.getpid(), signal.SIGKILL)

        Restore.step = die  # type: ignore[method-assign]

    return prepare


def main(params: t.Mapping[str, t.Any], *, before: Before | None = None) -> dict[str, t.Any] | None:
    """Run the module's main() in a process of its own; None if that was killed.

    As `lab.module` does, without an interpreter's start each time. `before` is run in it first.
    """
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            _run(params, output.fileno(), before)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            return None
        output.seek(0)
        said = output.read().decode()
    assert os.WEXITSTATUS(status) in (0, 1), said
    answer = t.cast("dict[str, t.Any]", json.loads(said))
    assert bool(answer.get("failed")) is bool(status)
    assert not (wrong := returned.disagreements("etcd_restore", answer)), wrong
    return answer


def _run(params: t.Mapping[str, t.Any], output: int, before: Before | None) -> t.NoReturn:
    """Be the module: this is a process of its own, and does not come back."""
    code = 70
    try:
        sys.stdout = sys.stderr = os.fdopen(output, "w")
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": dict(params)}).encode()
        basic._ANSIBLE_PROFILE = "legacy"
        if before:
            before()
        etcd_restore.main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


class Bench:
    """One member to restore: its folders are below `root`."""

    def __init__(self, root: Path, *, version: str = versions.ETCD_DEFAULT, wal: str = "") -> None:
        self.root = root
        self.version = version
        self.tool = binaries.get(version).snapshot_tool
        self.data = root / "etcd"
        self.wal = root / wal if wal else None
        self.journal_dir = root / "journal"
        self.snapshot = root / "snapshot.db"
        self.snapshot.write_bytes(recorded(version))

    def live(self) -> None:
        """Make old data, as an older restore left it, and mark it."""
        old = self.root / "old.db"
        old.write_bytes(recorded(self.version, "fresh"))
        argv = [str(self.tool), "snapshot", "restore", str(old), f"--data-dir={self.data}"]
        argv += [f"--wal-dir={self.wal}"] if self.wal else []
        argv += ["--name=n1", "--initial-cluster=n1=http://127.0.0.1:2380"]
        argv += ["--initial-advertise-peer-urls=http://127.0.0.1:2380"]
        env = {**os.environ, "ETCDCTL_API": "3"}
        subprocess.run(argv, env=env, check=True, capture_output=True)
        old.unlink()
        (self.data / "member" / "OLD").write_text("old")

    @property
    def params(self) -> dict[str, t.Any]:
        """The module's options that all its states may be given."""
        found = {
            "id": "r1",
            "data_dir": str(self.data),
            "journal_dir": str(self.journal_dir),
            "snapshot": str(self.snapshot),
            "name": "n1",
            "initial_cluster": "n1=http://127.0.0.1:2380",
            "etcdutl": str(self.tool),
        }
        return {**found, "wal_dir": str(self.wal)} if self.wal else found

    def ask(
        self, state: str = "staged", *, before: Before | None = None, **more: t.Any
    ) -> dict[str, t.Any]:
        """Run the module; it may fail."""
        answer = main({**self.params, "state": state, **more}, before=before)
        assert answer is not None
        return answer

    def killed(self, state: str, step: str, **more: t.Any) -> None:
        """Run the module, which is killed at a step."""
        params = {**self.params, "state": state, **more}
        assert main(params, before=dying_at(step)) is None, f"{state} has no step {step}"

    def asked(self, state: str = "staged", **more: t.Any) -> dict[str, t.Any]:
        """Run the module, which succeeds."""
        found = self.ask(state, **more)
        assert not found.get("failed"), found["msg"]
        return found

    def refused(self, state: str = "staged", **more: t.Any) -> dict[str, t.Any]:
        """Run the module, which refuses and changes nothing."""
        before = self.shape()
        found = self.ask(state, **more)
        assert found.get("failed"), found
        assert found["error"]["message"] and found["error"]["hint"], found
        assert self.shape() == before
        return found

    def shape(self) -> dict[str, tuple[int, bytes]]:
        """Return every file and folder below the root with its inode, and the small ones' bytes."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            facts = path.lstat()
            small = path.is_file() and facts.st_size < 1 << 20
            found[str(path.relative_to(self.root))] = (
                facts.st_ino,
                path.read_bytes() if small else b"",
            )
        return found

    @property
    def holds(self) -> str:
        """Say what lies in the data folder: old, new or nothing."""
        member = self.data / "member"
        if not (member / "snap" / "db").exists():
            return "nothing"
        return "old" if (member / "OLD").exists() else "new"

    def leavings(self) -> list[str]:
        """Return what of a restore lies about, beside data folder, snapshot and journal."""
        tops = [self.root, self.data, *([self.wal] if self.wal else [])]
        words = ("restore-r", "before-r", "undone-r")
        return sorted(
            str(path.relative_to(self.root))
            for top in tops
            if top.is_dir()
            for path in top.iterdir()
            if any(word in path.name for word in words)
        )
