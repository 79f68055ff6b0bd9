# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Servers inside a cage as transient units of systemd."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import CageRefused

from .leavings import systemctl
from .servers import Log, Room, environment_of, words_of

__all__ = ["UnitServer", "scope_of", "systemd_obstacle", "unit_name"]

_START_SECONDS = 60
_SETTLE_SECONDS = 10.0
_LOOK_SECONDS = 0.02
_UNIT_PREFIX = "controlplane-etcd-drill"
# ExecMainCode: CLD_KILLED and CLD_DUMPED of sigaction(2).
_BY_SIGNAL = ("2", "3")


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
        self._log = Log(log)
        environment = environment_of(env, room.limits)
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
        # A program that ends at once makes systemd-run fail, too.
        if done.returncode and not self._has_run():
            said = " ".join(done.stdout.decode("utf-8", "replace").split())
            raise _no_unit(self.unit, said[-400:] or f"exit status {done.returncode}")
        self._pidfd = _pidfd(systemctl("show", "--property=MainPID", "--value", "--", self.unit))

    def poll(self) -> str | None:
        """Say how it ended; None while it runs."""
        if not self._has_ended():
            return None
        self._settle()
        code, status = self._told("ExecMainCode"), self._told("ExecMainStatus")
        if code in _BY_SIGNAL:
            return f"ended by signal {status}"
        return f"ended with status {status}" if status else "ended with its unit"

    def last_words(self, most: int = 600) -> str:
        """Return the end of its log on one line."""
        return words_of(self._log.tail(), most)

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

    def _settle(self) -> None:
        """Wait until systemd knows of the end, too: only then it tells how it came."""
        ends = _time.monotonic() + _SETTLE_SECONDS
        while self._told("ActiveState") not in ("inactive", "failed", ""):
            if _time.monotonic() > ends:
                return
            time.sleep(_LOOK_SECONDS)

    def _has_run(self) -> bool:
        """Tell whether systemd came to run the program: its own failures are 200 and above."""
        status = self._told("ExecMainStatus")
        return self._told("ExecMainCode") in ("1", *_BY_SIGNAL) and int(status or 200) < 200

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
        # By systemd itself, should nobody else be left to do it. The folder stays, empty, for the
        # next drill to remove: it is the unit's own mount point.
        yield f"ExecStopPost=+{shutil.which('rm') or '/bin/rm'} -rf -- {room.folder}"


def _as_user(user: int | None) -> list[str]:
    # Not systemd's User=: it takes no number that has no name.
    if user is None:
        return []
    program = shutil.which("setpriv") or "setpriv"
    return [program, f"--reuid={user}", f"--regid={user}", "--clear-groups"]


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
