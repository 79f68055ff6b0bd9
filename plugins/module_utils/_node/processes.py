# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The etcd process of a data folder, and the tools of the version that it runs; its API server.

Several etcds may run on one host, some in containers with mount namespaces of their own. A process
is known by what it holds open or is told to use, compared by device and inode, not by path.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import shutil
import subprocess
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files, _time

__all__ = [
    "EtcdProcess",
    "Started",
    "Tool",
    "find_api_server",
    "find_etcd",
    "find_started",
    "find_tools",
    "go_platform",
]

_PROGRAMS = ("etcd", "k3s", "k3s-server")  # k3s runs etcd inside its own process
_GO_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_TOOLS = ("etcd", "etcdctl", "etcdutl")
_API_SERVER = "kube-apiserver"
_VERSION = re.compile(
    r"^(?:(?:etcd|etcdctl|etcdutl) version:?|Kubernetes)\s*v?(\d+\.\d+\.\d+\S*)", re.I | re.M
)
_VERSION_SECONDS = 10
_MORE_FOLDERS = ("/usr/local/bin", "/usr/bin", "/opt/bin", "/opt/etcd")

Inode = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class EtcdProcess:
    """A running etcd: its pid, and its program's path as it sees it itself."""

    pid: int
    program: str
    own_root: bool
    """Whether it runs in a file tree of its own, as a container does."""

    def reach(self, path: str) -> str:
        """Return where a path of the process lies for us."""
        return f"/proc/{self.pid}/root{path}" if self.own_root else path


@dataclasses.dataclass(frozen=True)
class Tool:
    """A program of the control plane on this host; `version` is None where it can't be run here."""

    name: str
    path: str
    version: str | None
    platform: str
    """What it runs on, in Go's words: linux-amd64, linux-arm64."""
    sha256: str | None
    """An archive has one file for all clusters of a version: this one is known by its bytes."""


@dataclasses.dataclass(frozen=True)
class Started:
    """A file that a running program was told of by a flag when it was started."""

    component: str
    pid: int
    started_at: float
    """Seconds since 1970, by the host's clock."""
    flag: str


def find_started(
    flags: t.Mapping[str, t.Sequence[str]], paths: t.Iterable[str]
) -> dict[str, list[Started]]:
    """Return which of the programs' flags name which of these files, for programs that run.

    `flags`: program -> flags. A file is known by what the process itself finds at the flag's path.
    """
    wanted = {inode: path for path in paths for inode in [_inode(path)] if inode is not None}
    found: dict[str, list[Started]] = {}
    for pid, argv in _running(tuple(flags)):
        component = next(
            (name for name in flags if name in (os.path.basename(argv[0]), _name(pid))), None
        )
        moment = _started_at(pid)
        if component is None or moment is None:
            continue
        for flag in flags[component]:
            for value in _values(argv, flag)[-1:]:
                path = wanted.get(_inode(f"/proc/{pid}/root{value}") or (0, 0))
                if path is not None:
                    found.setdefault(path, []).append(Started(component, pid, moment, flag))
    return found


def _name(pid: int) -> str:
    return os.path.basename(_program(pid))


def _started_at(pid: int) -> float | None:
    """Return when a process was started (proc_pid_stat(5), field 22)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as source:
            # The second field is the program's name, which may hold anything.
            ticks = int(source.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
    return _time.booted() + ticks / os.sysconf("SC_CLK_TCK")


def find_etcd(data_dir: str) -> EtcdProcess | None:
    """Return the process that serves `data_dir`, None where none does, or it can't be seen."""
    folder = _inode(data_dir)
    database = _inode(os.path.join(data_dir, "member", "snap", "db"))
    for pid, argv in _running(_PROGRAMS):
        if _holds(pid, database) or _is_told(pid, argv, folder):
            return _process(pid, argv)
    return None


def find_api_server(endpoints: t.Sequence[str]) -> Tool | None:
    """Return the kube-apiserver whose etcd is at one of `endpoints`, else the one on PATH.

    One that knows its etcd by another name counts by the port, if no other does.
    """
    running = [(pid, argv, _etcd_urls(argv)) for pid, argv in _running((_API_SERVER,))]
    near = {_plain_url(url) for url in endpoints}
    found = [item for item in running if near & item[2]]
    if not found:
        found = [item for item in running if _ports(near) & _ports(item[2])]
        found = found if len(found) == 1 else []
    for pid, argv, _urls in found:
        process = _process(pid, argv)
        for path in (process.reach(process.program), f"/proc/{pid}/exe"):
            if os.path.isfile(path):
                return _tool(_API_SERVER, path)
    on_path = _on_path(_API_SERVER)
    return _tool(_API_SERVER, on_path) if on_path else None


def _etcd_urls(argv: list[str]) -> set[str]:
    return {_plain_url(url) for each in _values(argv, "etcd-servers") for url in each.split(",")}


def _ports(urls: set[str]) -> set[str]:
    return {url.rpartition(":")[2] for url in urls}


def _running(programs: t.Sequence[str]) -> t.Iterator[tuple[int, list[str]]]:
    """Yield pid and arguments of the processes of these programs."""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        argv = _strings(pid, "cmdline")
        names = {os.path.basename(name) for name in (argv[:1] + [_program(pid)]) if name}
        if names.intersection(programs):
            yield pid, argv


def _process(pid: int, argv: list[str]) -> EtcdProcess:
    own_root = _inode(f"/proc/{pid}/root/") != _inode("/")
    return EtcdProcess(pid, _program(pid) or argv[0], own_root)


def _plain_url(url: str) -> str:
    return url.strip().rstrip("/").lower().replace("//localhost:", "//127.0.0.1:")


def find_tools(process: EtcdProcess | None) -> tuple[Tool, ...]:
    """Return etcd, etcdctl and etcdutl: those beside the running program, else those on PATH."""
    found: list[Tool] = []
    for name in _TOOLS:
        path = _beside(process, name) or _on_path(name)
        if path:
            found.append(_tool(name, path))
    return tuple(found)


def _tool(name: str, path: str) -> Tool:
    return Tool(name, path, _version(name, path), go_platform(), _sha256(path))


def _sha256(path: str) -> str | None:
    try:
        return _files.sha256_file(path)
    except OSError:
        return None


def _beside(process: EtcdProcess | None, name: str) -> str | None:
    """Return a tool in the folder of the running program, as seen from here."""
    if process is None or os.path.basename(process.program) != "etcd":
        return None
    folder = os.path.dirname(process.program)
    path = process.reach(os.path.join(folder, name))
    if os.path.isfile(path):
        return path
    # Of a process in a mere chroot, the kernel shows the program's path from our own root.
    plain = os.path.join(folder, name)
    same = _inode(process.program) == _inode(f"/proc/{process.pid}/exe")
    return plain if same and os.path.isfile(plain) else None


def go_platform() -> str:
    """Return what programs run on here, in Go's words: linux-amd64, linux-arm64."""
    machine = platform.machine()
    return f"linux-{_GO_MACHINES.get(machine, machine)}"


def _on_path(name: str) -> str | None:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join([*folders, *_MORE_FOLDERS]))


def _version(name: str, path: str) -> str | None:
    """Ask a program for its version; one that needs libraries of its container can't say."""
    argv = [path, "--version"] if name in ("etcd", _API_SERVER) else [path, "version"]
    environment = {"PATH": os.defpath, "ETCDCTL_API": "3"}  # etcdctl 3.4 and later ignore the rest
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(done.stdout.decode("utf-8", "replace"))
    return found.group(1) if found else None


def _holds(pid: int, database: Inode | None) -> bool:
    """Tell whether the process has the db open."""
    if database is None:
        return False
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    return any(_inode(f"/proc/{pid}/fd/{number}") == database for number in descriptors)


def _is_told(pid: int, argv: list[str], folder: Inode | None) -> bool:
    """Tell whether its --data-dir or ETCD_DATA_DIR is this folder."""
    if folder is None:
        return False
    given = _values(argv, "data-dir")
    if not given:
        entries = (entry.partition("=") for entry in _strings(pid, "environ"))
        given = [value for name, _other, value in entries if name == "ETCD_DATA_DIR"]
    for path in given:
        base = f"/proc/{pid}/root" if path.startswith("/") else f"/proc/{pid}/cwd/"
        if _inode(base + path) == folder:
            return True
    return False


def _values(argv: list[str], flag: str) -> list[str]:
    """Return the values of a flag, however it is written."""
    given: list[str] = []
    for position, word in enumerate(argv):
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name == flag:
            given += [value] if equals else argv[position + 1 : position + 2]
    return given


def _strings(pid: int, name: str) -> list[str]:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as source:
            return [os.fsdecode(part) for part in source.read().split(b"\0") if part]
    except OSError:
        return []


def _program(pid: int) -> str:
    try:
        path = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
    return path[: -len(" (deleted)")] if path.endswith(" (deleted)") else path


def _inode(path: str) -> Inode | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
