# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems and processes, on this machine's own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._node import processes, space


def test_file_system_of_a_path_that_is_not_there_yet(tmp_path: Path) -> None:
    found = space.file_system(str(tmp_path / "not" / "yet"))
    assert found.path == os.path.realpath(tmp_path)
    assert found.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert os.path.ismount(found.mount_point)
    assert found.is_same(space.file_system(str(tmp_path)))


def test_file_system_in_memory_is_told() -> None:
    found = space.file_system("/dev/shm")
    assert (found.mount_point, found.kind) == ("/dev/shm", "tmpfs")
    assert found.is_memory
    proc = space.file_system("/proc/self")
    assert proc.kind == "proc"
    assert not proc.is_memory
    assert not proc.is_same(found)


@pytest.fixture
def sleeper(tmp_path: Path) -> t.Iterator[t.Callable[..., subprocess.Popen[bytes]]]:
    """Start a process whose argv[0] is etcd; it opens what it is told to."""
    started: list[subprocess.Popen[bytes]] = []
    code = "import sys, time; f = open(sys.argv[1]); time.sleep(60)"

    def start(opens: Path, *argv: str, name: str = "etcd", **keywords: t.Any) -> t.Any:
        process = subprocess.Popen(
            [name, "-c", code, str(opens), *argv], executable=sys.executable, **keywords
        )
        started.append(process)
        end = time.monotonic() + 10
        wanted = os.stat(opens)
        while not any(
            os.path.samestat(os.stat(entry), wanted)
            for entry in Path(f"/proc/{process.pid}/fd").iterdir()
            if int(entry.name) > 2 and entry.exists()  # standard input may be /dev/null, too
        ):
            assert time.monotonic() < end
            time.sleep(0.05)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def data_dir(root: Path, name: str) -> Path:
    folder = root / name
    (folder / "member" / "snap").mkdir(parents=True)
    (folder / "member" / "snap" / "db").write_bytes(b"db")
    return folder


def test_find_etcd_by_the_db_that_it_holds_open(tmp_path: Path, sleeper: t.Any) -> None:
    one, two = data_dir(tmp_path, "one"), data_dir(tmp_path, "two")
    first = sleeper(one / "member" / "snap" / "db")
    second = sleeper(two / "member" / "snap" / "db")
    for folder, process in ((one, first), (two, second)):
        found = processes.find_etcd(str(folder))
        assert found
        assert found.pid == process.pid
        assert not found.own_root
    (tmp_path / "link").symlink_to(two)
    linked = processes.find_etcd(str(tmp_path / "link"))
    assert linked
    assert linked.pid == second.pid


@pytest.mark.parametrize("how", ["equals", "apart", "relative", "environment"])
def test_find_etcd_by_the_folder_that_it_is_told(tmp_path: Path, sleeper: t.Any, how: str) -> None:
    folder = data_dir(tmp_path, "data")
    argv = {
        "equals": [f"--data-dir={folder}"],
        "apart": ["--data-dir", str(folder)],
        "relative": ["--data-dir", "data"],
        "environment": [],
    }[how]
    env = {**os.environ, "ETCD_DATA_DIR": str(folder)} if how == "environment" else None
    process = sleeper(Path("/dev/null"), *argv, cwd=tmp_path, env=env)
    found = processes.find_etcd(str(folder))
    assert found
    assert found.pid == process.pid


def test_find_etcd_leaves_others_that_hold_the_db(tmp_path: Path, sleeper: t.Any) -> None:
    folder = data_dir(tmp_path, "data")
    sleeper(folder / "member" / "snap" / "db", name="backup-tool")
    assert processes.find_etcd(str(folder)) is None
    assert processes.find_etcd(str(tmp_path / "nowhere")) is None


def test_find_tools_beside_the_program_before_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, version in (("image", "3.5.9"), ("path", "3.6.1")):
        (tmp_path / folder).mkdir()
        for name in ("etcd", "etcdutl"):
            script = tmp_path / folder / name
            script.write_text(f"#!/bin/sh\necho '{name} version: {version}'\n")
            script.chmod(0o755)
    (tmp_path / "image" / "etcdutl").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    process = processes.EtcdProcess(os.getpid(), str(tmp_path / "image" / "etcd"), False)
    found = {tool.name: tool for tool in processes.find_tools(process)}
    assert found["etcd"].path == str(tmp_path / "image" / "etcd")
    assert found["etcd"].version == "3.5.9"
    said = (tmp_path / "image" / "etcd").read_bytes()
    assert found["etcd"].sha256 == hashlib.sha256(said).hexdigest()
    assert found["etcdutl"].path == str(tmp_path / "path" / "etcdutl")
    assert found["etcdutl"].version == "3.6.1"


def test_find_tools_that_cannot_run_have_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "etcdutl"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {tool.name: tool for tool in processes.find_tools(None)}
    assert (found["etcdutl"].path, found["etcdutl"].version) == (str(script), None)


@pytest.fixture
def api_server(tmp_path: Path) -> t.Iterator[t.Callable[..., subprocess.Popen[bytes]]]:
    """Start a process of a program kube-apiserver of its own that does nothing."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *argv: str) -> subprocess.Popen[bytes]:
        program = tmp_path / name / "kube-apiserver"
        program.parent.mkdir()
        shutil.copy("/bin/sh", program)
        words = [str(program), "-c", "read word", *argv]
        started.append(subprocess.Popen(words, stdin=subprocess.PIPE))
        # Popen comes back a moment before the kernel shows the new arguments.
        shown = Path(f"/proc/{started[-1].pid}/cmdline")
        while not shown.read_bytes().startswith(os.fsencode(program)):
            assert started[-1].poll() is None
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_find_api_server_is_the_one_that_uses_the_etcd(tmp_path: Path, api_server: t.Any) -> None:
    theirs = api_server("theirs", "--etcd-servers=https://10.0.0.9:12379")
    api_server("ours", "--etcd-servers", "https://10.0.0.1:12379,https://localhost:12379")
    program = tmp_path / "ours" / "kube-apiserver"
    for endpoint in ("https://127.0.0.1:12379", "https://10.0.0.1:12379/"):
        found = processes.find_api_server([endpoint])
        assert found
        assert (found.name, found.path) == ("kube-apiserver", str(program))
        assert found.sha256 == hashlib.sha256(program.read_bytes()).hexdigest()
        assert found.version is None  # it is no kube-apiserver
    # Of one that knows its etcd by another name, the port tells; of two it tells nothing.
    assert processes.find_api_server(["https://etcd.example:12379"]) is None
    theirs.kill()
    theirs.communicate()
    found = processes.find_api_server(["https://etcd.example:12379"])
    assert found
    assert found.path == str(program)


def test_find_api_server_that_does_not_run_is_the_one_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "kube-apiserver"
    script.write_text("#!/bin/sh\necho 'Kubernetes v1.36.3'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = processes.find_api_server(["https://127.0.0.1:1"])
    assert found
    assert (found.name, found.path, found.version) == ("kube-apiserver", str(script), "1.36.3")
    script.unlink()
    assert processes.find_api_server(["https://127.0.0.1:1"]) is None


def test_reach_goes_through_proc_into_a_tree_of_its_own() -> None:
    inside = processes.EtcdProcess(os.getpid(), "/usr/local/bin/etcd", True)
    path = inside.reach("/usr/local/bin/etcdutl")
    assert path == f"/proc/{os.getpid()}/root/usr/local/bin/etcdutl"
