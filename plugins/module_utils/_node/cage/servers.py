# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Servers inside a cage: what they have in common, and those that are children of this process."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time

__all__ = [
    "ChildServer",
    "Limits",
    "Log",
    "Room",
    "Server",
    "end_of",
    "environment_of",
    "words_of",
]

_TAIL_BYTES = 16 << 10
_LOOK_SECONDS = 0.02
# A process that dies closes its sockets before its end can be asked for (kernel/exit.c, do_exit).
_DYING_SECONDS = 2.0
# A log line's own words on when and where, which nobody needs; and what may be a key's body.
_TAKEN = ("level", "ts", "caller", "stacktrace", "logger")
_BLOB = re.compile(r"[A-Za-z0-9+/=_-]{80,}")
# Names of objects are secrets to some, and what a server says may end in a proof, which is clear.
_KEY = re.compile(r"/registry/[^\s\"'\\,;]+")


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


class Ending(t.Protocol):
    """What can be asked for its end."""

    def poll(self) -> str | None:
        """Say how it ended; None while it runs."""


def end_of(server: Ending, *, seconds: float = _DYING_SECONDS) -> str | None:
    """Say how a server that just stopped answering ended; None where it still runs after `seconds`."""
    ends = _time.monotonic() + seconds
    while (ended := server.poll()) is None and _time.monotonic() < ends:
        time.sleep(_LOOK_SECONDS)
    return ended


class Log:
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


def words_of(text: str, most: int) -> str:
    """Return the last lines of a log on one line: their messages, cut."""
    lines = [_plain(line) for line in text.splitlines() if line.strip()]
    told = " / ".join(line for line in lines[-12:] if line)
    return _BLOB.sub("…", _KEY.sub("/registry/…", told))[-most:]


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
        self._log = Log(log)
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
            env=environment_of(env, limits),
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
        return self._obstacle or words_of(self._log.tail(), most)

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


def environment_of(env: t.Mapping[str, str], limits: Limits) -> dict[str, str]:
    """Return a server's whole environment: Go's own limits in it."""
    return {
        "PATH": os.defpath,
        "GOMAXPROCS": str(limits.processors),
        "GOMEMLIMIT": str(limits.memory_bytes * 3 // 4),
        **env,
    }
