# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The keeper: a process that removes what a module would leave behind when it is killed.

It is forked first, and holds one end of a pipe. When the other end closes without a word that all
is done, the module is dead, by whatever means, and the keeper does what its `finally` would have.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import signal
import typing as t

from .leavings import Leavings, clear

__all__ = ["Keeper"]

_DONE = b"done\n"


class Keeper:
    """The module's side of the pipe."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self._pipe = pipe

    @classmethod
    def start(cls) -> Keeper:
        """Fork the keeper; it knows of nothing yet."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _keep(reader)
            finally:
                os._exit(0)
        os.close(reader)
        return cls(pid, writer)

    def note(self, left: Leavings) -> None:
        """Tell it what is to be removed; takes the place of what it was told before."""
        self._say(json.dumps(dataclasses.asdict(left)).encode() + b"\n")

    def dismiss(self) -> None:
        """Let it go: all is removed."""
        self._say(_DONE)
        self.take_over()

    def take_over(self) -> None:
        """Have it remove what it was told of last, as if this process were dead, and wait for it."""
        os.close(self._pipe)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _say(self, line: bytes) -> None:
        # It was killed: what it would have done, the module's own end does.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, line)


def _keep(reader: int) -> t.NoReturn:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    _let_go(reader)
    os.chdir("/")
    left = Leavings()
    held: int | None = None
    with os.fdopen(reader, "rb") as notes:
        for line in notes:
            if line == _DONE:
                os._exit(0)
            if not line.endswith(b"\n"):
                break
            left = _left(json.loads(line))
            if left.network and held is None:
                held = _hold(left)
    # Without a hold on it, the kernel may have given its number to another network by now.
    clear(left if held is not None else dataclasses.replace(left, network=0))
    os._exit(0)


def _left(told: dict[str, t.Any]) -> Leavings:
    return Leavings(
        network=told["network"],
        owner=told["owner"],
        units=tuple(told["units"]),
        paths=tuple(told["paths"]),
    )


def _hold(left: Leavings) -> int | None:
    """Keep the owner's network from going away; None where it is not that one any more."""
    try:
        held = os.open(f"/proc/{left.owner}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    # A parent that still is one cannot have left its number to another process.
    if os.fstat(held).st_ino == left.network and os.getppid() == left.owner:
        return held
    os.close(held)
    return None


def _let_go(reader: int) -> None:
    """Hold nothing of the module's: who reads its output waits for every copy to close."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 65536)
    os.closerange(3, reader)
    os.closerange(reader + 1, most)
