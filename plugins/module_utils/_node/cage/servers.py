# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Servers inside a cage: as a transient unit of systemd, or as a child of this process."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import select
import shutil
import subprocess
import sys
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import CageRefused

from .leavings import systemctl

__all__ = ["ChildServer", "Limits", "Room", "Server", "UnitServer", "scope_of", "systemd_obstacle"]

_START_SECONDS = 60
_STOP_SECONDS = 20
_TAIL_BYTES = 16 << 10
_UNIT_PREFIX = "controlplane-etcd-drill"
# A log line's own words on when and where, which nobody needs; and what may be a key's body.
_TAKEN = ("level", "ts", "caller", "stacktrace", "logger")
# ExecMainCode: CLD_KILLED and CLD_DUMPED of sigaction(2).
_BY_SIGNAL = ("2", "3")
_BLOB = re.compile(r"[A-Za-z0-9+/=_-]{80,}")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a server may take.

    :param cpu_percent: of one processor.
    :param seconds: how long it may live at all.
    """

    memory_bytes: int = 2 << 30
    cpu_percent: int = 100
    tasks: int = 512
    seconds: int = 7200

    @property
    def processors(self) -> int:
        """How many processors its share is worth, one at least."""
        return max(1, (self.cpu_percent + 99) // 100)


@dataclasses.dataclass(frozen=True)
class Room:
    """Where servers live: the cage's folder, its user (None: this one), and what they may take."""

    folder: str
    token: str
    user: int | None
    limits: Limits
    scope: str | None = None
    """systemd's unit that lasts as long as this process or its keeper does."""


class Server(t.Protocol):
    """A program that runs in a cage."""

    name: str

    def poll(self) -> str | None:
        """Say how it ended; None while it runs."""

    def last_words(self, most: int = 600) -> str:
        """Return the end of its log on one line, as far as it may be shown."""

    def stop(self) -> None:
        """End it now, and wait until it is gone."""

    @property
    def starved(self) -> bool:
        """Tell whether it ended because a limit of the cage was reached."""

    @property
    def unlaunched(self) -> bool:
        """Tell whether it never came to run."""


class _Log:
    """A server's output, which can be read after its file is gone."""

    def __init__(self, path: str) -> None:
        self._source = open(path, "a+b")  # noqa: SIM115

    @property
    def descriptor(self) -> int:
        """What a child may write to."""
        return self._source.fileno()

    def tail(self) -> str:
        """Return its last bytes as text."""
        size = os.fstat(self.descriptor).st_size
        data = os.pread(self.descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        return data.decode("utf-8", "replace")

    def close(self) -> None:
        """Let go of it."""
        self._source.close()


def _words(text: str, most: int) -> str:
    """Return the last lines of a log on one line: their messages, cut."""
    lines = [_plain(line) for line in text.splitlines() if line.strip()]
    told = " / ".join(line for line in lines[-12:] if line)
    return _BLOB.sub("…", told)[-most:]


def _plain(line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError:
        return " ".join(line.split())
    if not isinstance(found, dict):
        return " ".join(line.split())
    rest = [f"{name}: {value}" for name, value in found.items() if name not in (*_TAKEN, "msg")]
    return "; ".join([str(found.get("msg", "")), *rest])


class ChildServer:
    """A child of this process: it dies with it."""

    def __init__(
        self, name: str, argv: t.Sequence[str], *, env: t.Mapping[str, str], log: str, room: Room
    ) -> None:
        self.name = name
        self._log = _Log(log)
        limits = room.limits
        reader, writer = os.pipe()
        told = {
            "parent": os.getpid(),
            "writer": writer,
            "user": room.user,
            "memory": limits.memory_bytes,
            "tasks": limits.tasks,
            "argv": list(argv),
        }
        self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, json.dumps(told)],
            stdin=subprocess.DEVNULL,
            stdout=self._log.descriptor,
            stderr=self._log.descriptor,
            cwd=room.folder,
            env=_environment(env, limits),
            pass_fds=[writer],
            start_new_session=True,
        )
        os.close(writer)
        with os.fdopen(reader, "rb") as answer:
            self._obstacle = answer.read().decode("utf-8", "replace")

    def poll(self) -> str | None:
        """Say how it ended; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        return f"ended by signal {-status}" if status < 0 else f"ended with status {status}"

    def last_words(self, most: int = 600) -> str:
        """Return the end of its log on one line."""
        return self._obstacle or _words(self._log.tail(), most)

    def stop(self) -> None:
        """End it now, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    @property
    def starved(self) -> bool:
        """Tell whether it ended because a limit of the cage was reached."""
        return self.poll() is not None and "out of memory" in self._log.tail()

    @property
    def unlaunched(self) -> bool:
        """Tell whether it never came to run."""
        return bool(self._obstacle)


# Runs between fork and the server itself, so that this process, which may have threads by now, need
# run nothing of its own in the child. The signal that ends it with its parent is asked for last: a
# change of user takes it back (kernel/cred.c, commit_creds).
# What it can't do it says into a pipe, which closes where it can.
_LAUNCHER = """
import ctypes, fcntl, json, os, resource, sys
told = json.loads(sys.argv[1])
user, memory, writer = told["user"], told["memory"], told["writer"]
fcntl.fcntl(writer, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
try:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if user is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (told["tasks"], told["tasks"]))
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    os.umask(0o077)
    os.nice(5)
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL
    if os.getppid() == told["parent"]:
        os.execv(told["argv"][0], told["argv"])
except OSError as exc:
    os.write(writer, f"{exc.strerror}: {exc.filename or 'a limit or the user'}".encode())
"""


class UnitServer:
    """A transient unit of systemd, of a user of its own, in the cage's network."""

    def __init__(
        self,
        name: str,
        argv: t.Sequence[str],
        *,
        env: t.Mapping[str, str],
        log: str,
        room: Room,
        after: str | None,
    ) -> None:
        self.name = name
        self.unit = unit_name(room.token, name)
        self._log = _Log(log)
        environment = _environment(env, room.limits)
        command = ["systemd-run", "--quiet", f"--unit={self.unit}"]
        command += [f"--property={text}" for text in _properties(room, log, after)]
        command += [f"--setenv={key}={value}" for key, value in environment.items()]
        command += ["--", *_as_user(room.user), *argv]
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_START_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise _no_unit(self.unit, f"systemd-run takes over {_START_SECONDS} s") from exc
        if done.returncode:
            said = " ".join(done.stdout.decode("utf-8", "replace").split())
            raise _no_unit(self.unit, said[-400:] or f"exit status {done.returncode}")
        self._pidfd = _pidfd(systemctl("show", "--property=MainPID", "--value", "--", self.unit))

    def poll(self) -> str | None:
        """Say how it ended; None while it runs."""
        if not self._has_ended():
            return None
        code, status = self._told("ExecMainCode"), self._told("ExecMainStatus")
        if code in _BY_SIGNAL:
            return f"ended by signal {status}"
        return f"ended with status {status}" if status else "ended with its unit"

    def last_words(self, most: int = 600) -> str:
        """Return the end of its log on one line."""
        return _words(self._log.tail(), most)

    def stop(self) -> None:
        """End it now, and wait until it is gone."""
        systemctl("kill", "--signal=SIGKILL", "--", self.unit)
        systemctl("stop", "--", self.unit)
        systemctl("reset-failed", "--", self.unit)

    @property
    def starved(self) -> bool:
        """Tell whether it ended because a limit of the cage was reached."""
        return self.poll() is not None and self._told("Result") in ("oom-kill", "timeout")

    @property
    def unlaunched(self) -> bool:
        """Tell whether it never came to run."""
        return self.poll() is not None and "setpriv: " in self._log.tail()

    def _has_ended(self) -> bool:
        if self._pidfd is not None:
            return bool(select.select([self._pidfd], [], [], 0)[0])
        state = systemctl("show", "--property=ActiveState", "--value", "--", self.unit)
        return state.strip() not in ("active", "activating")

    def _told(self, name: str) -> str:
        return systemctl("show", f"--property={name}", "--value", "--", self.unit).strip()


def unit_name(token: str, name: str) -> str:
    """Return the unit's name; `*` for `name` stands for all of a cage."""
    return f"{_UNIT_PREFIX}-{token}-{name}.service"


def scope_of(token: str, pids: t.Sequence[int]) -> str | None:
    """Have systemd watch processes; return the unit that ends with the last of them.

    None where systemd does not: units then end after Limits.seconds at the latest.
    """
    name = f"{_UNIT_PREFIX}-{token}.scope"
    # systemd, org.freedesktop.systemd1(5)
    command = ["busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"]
    command += ["org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))"]
    command += [name, "fail", "1", "PIDs", "au", str(len(pids)), *map(str, pids), "0"]
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return name if done.returncode == 0 else None


def systemd_obstacle() -> str | None:
    """Say why no transient unit can be had on this host; None if one can."""
    if os.geteuid() != 0:
        return "only root may start units"
    if not os.path.isdir("/run/systemd/system"):  # sd_booted(3)
        return "systemd does not run here"
    missing = [name for name in ("systemd-run", "systemctl", "setpriv") if not shutil.which(name)]
    return f"{missing[0]} is not there" if missing else None


def _properties(room: Room, log: str, after: str | None) -> t.Iterator[str]:
    """Yield the unit's settings (systemd.exec(5), systemd.resource-control(5)), for systemd 247 on."""
    limits = room.limits
    yield "Type=exec"
    yield "Description=throw-away server of a controlplane.etcd drill"
    yield f"NetworkNamespacePath=/proc/{os.getpid()}/ns/net"
    yield f"MemoryMax={limits.memory_bytes}"
    yield "MemorySwapMax=0"
    yield f"CPUQuota={limits.cpu_percent}%"
    yield f"TasksMax={limits.tasks}"
    yield f"RuntimeMaxSec={limits.seconds}"
    yield "NoNewPrivileges=yes"
    # What it takes to become the cage's user; nothing is left of it after that.
    yield "CapabilityBoundingSet=CAP_SETUID CAP_SETGID"
    yield "ProtectSystem=strict"
    yield "ProtectHome=yes"
    yield "PrivateTmp=yes"
    yield "PrivateDevices=yes"
    yield "ProtectKernelTunables=yes"
    yield "ProtectControlGroups=yes"
    yield "RestrictSUIDSGID=yes"
    yield "LockPersonality=yes"
    yield "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"
    # Of what the lines above hide or lock, the cage's own folder is there as it is.
    yield f"BindPaths={room.folder}"
    yield f"WorkingDirectory={room.folder}"
    yield f"StandardOutput=append:{log}"
    yield f"StandardError=append:{log}"
    yield "UMask=0077"
    yield "LimitCORE=0"
    yield "KillSignal=SIGKILL"
    yield "OOMPolicy=stop"
    bound = after or room.scope
    if bound:
        yield f"BindsTo={bound}"
        yield f"After={bound}"
    if not after:
        # By systemd itself, should nobody else be left to do it.
        yield f"ExecStopPost=+{shutil.which('rm') or '/bin/rm'} -rf -- {room.folder}"


def _as_user(user: int | None) -> list[str]:
    # Not systemd's User=: it takes no number that has no name.
    if user is None:
        return []
    program = shutil.which("setpriv") or "setpriv"
    return [program, f"--reuid={user}", f"--regid={user}", "--clear-groups"]


def _environment(env: t.Mapping[str, str], limits: Limits) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "GOMAXPROCS": str(limits.processors),
        "GOMEMLIMIT": str(limits.memory_bytes * 3 // 4),
        **env,
    }


def _pidfd(text: str) -> int | None:
    """Return a descriptor of the process; None if it has ended, or the kernel has none (5.3)."""
    pid = int(text.strip() or 0)
    with contextlib.suppress(OSError):
        return os.pidfd_open(pid) if pid else None
    return None


def _no_unit(unit: str, why: str) -> CageRefused:
    return CageRefused(
        f"Unit {unit} cannot be started by systemd on this host: {why}.",
        hint="Look into its journal; or set isolation to namespace, which needs no systemd.",
    )
