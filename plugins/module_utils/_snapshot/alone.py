# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A dead member's data folder, brought up alone: a copy, on loopback, for nobody but us.

For the day when no member answers any more. The copy gets its own throw-away certificates, so that
no other user of the host can speak to it, and etcd's --force-new-cluster, so that it waits for
nobody. The folder itself is only read.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EndpointTimeout,
    EndpointUnreachable,
    LayoutError,
    OptionInvalid,
    SnapshotInvalid,
    SpaceMissing,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.client import Client
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.connection import Connection
from ansible_collections.controlplane.etcd.plugins.module_utils._node.passing_certificates import (
    write_certificates,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node.processes import (
    find_etcd,
    find_tools,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node.space import file_system

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import (
        Layout,
    )


__all__ = ["DeadMember", "brought_up", "dead_member", "reached"]

_PREFIX = "controlplane-etcd-emergency."
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1


@dataclasses.dataclass(frozen=True)
class DeadMember:
    """What is left of a member, and the program to read it with (None: etcd on PATH)."""

    data_dir: str
    wal_dir: str | None
    etcd: str | None


def dead_member(params: t.Mapping[str, t.Any]) -> DeadMember | None:
    """Read the options that name a dead member's data; None where a live one is asked.

    :raises OptionInvalid: it is asked for outside an emergency.
    """
    if params["emergency_source"] != "data_dir":
        return None
    if not params["emergency"]:
        raise OptionInvalid(
            "Option emergency_source: data_dir is for an emergency: what a dead member has can be "
            "older than what the cluster had confirmed.",
            hint="Set emergency: true too, if no member answers any more.",
        )
    return DeadMember(data_dir=params["data_dir"] or "", wal_dir=None, etcd=params["etcd"])


@contextlib.contextmanager
def reached(
    connection: Connection, dead: DeadMember | None, layout: Layout | None, spool_dir: str
) -> t.Iterator[Connection]:
    """Give a way to the source: `connection` itself, or one to a copy of a dead member's data."""
    if dead is None:
        yield connection
        return
    if layout is not None:
        dead = dataclasses.replace(dead, data_dir=layout.data_dir, wal_dir=layout.wal_dir)
    with brought_up(dead, spool_dir, asked=connection) as alive:
        yield alive


@contextlib.contextmanager
def brought_up(member: DeadMember, spool_dir: str, *, asked: Connection) -> t.Iterator[Connection]:
    """Give a connection to a throw-away etcd on a copy of the member's data.

    User, password and timeouts are taken from `asked`. etcd dies with this process, and the copy
    is removed at the end; one that a killed run left is removed here too.

    :raises LayoutError: there is no data, or etcd still runs on it, or no program is found.
    :raises SpaceMissing: the copy does not fit.
    :raises SnapshotInvalid: etcd can't be brought up on the copy; says what it said.
    """
    program = _program(member)
    _sweep(spool_dir)
    _check_room(member, spool_dir)
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=spool_dir)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        copy = _copied(member, folder)
        ca, cert, key = write_certificates(folder, now=_time.now())
        connection = dataclasses.replace(
            asked, endpoints=(f"https://127.0.0.1:{_free_port()}",), cacert=ca, cert=cert, key=key
        )
        with _running(program, copy, connection, folder):
            yield connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _program(member: DeadMember) -> str:
    if not os.path.isfile(os.path.join(member.data_dir, "member", "snap", "db")):
        raise LayoutError(
            f"Folder {member.data_dir} on this host holds no etcd data: there is no "
            "member/snap/db in it.",
            hint="Name the dead member's data folder in data_dir.",
            path=member.data_dir,
        )
    running = find_etcd(member.data_dir)
    if running is not None:
        raise LayoutError(
            f"etcd still runs on {member.data_dir} (pid {running.pid}): a copy of it made now "
            "would be torn.",
            hint="Take that member's own state with emergency_source: member, or stop it first.",
            path=member.data_dir,
        )
    if member.etcd is not None:
        return member.etcd
    for tool in find_tools(None):
        if tool.name == "etcd":
            return tool.path
    raise LayoutError(
        f"No etcd program is on this host's PATH to read {member.data_dir} with.",
        hint="Name one of the same minor version in etcd: the archive keeps it under tools/.",
        path=member.data_dir,
    )


def _sweep(spool_dir: str) -> None:
    """Remove copies whose runs are dead: nobody holds their lock any more."""
    with os.scandir(spool_dir) as found:
        mine = [
            entry.path
            for entry in found
            if entry.name.startswith(_PREFIX)
            and entry.is_dir(follow_symlinks=False)
            and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
        ]
    for path in mine:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)


def _check_room(member: DeadMember, spool_dir: str) -> None:
    need = sum(
        os.lstat(os.path.join(folder, name)).st_size
        for root in (os.path.join(member.data_dir, "member"), member.wal_dir)
        if root
        for folder, _folders, names in os.walk(root)
        for name in names
    )
    place = file_system(spool_dir)
    if place.free_bytes < need or place.is_memory:
        why = "it lies in memory (tmpfs)" if place.is_memory else f"{place.free_bytes} bytes free"
        raise SpaceMissing(
            f"Cannot copy {member.data_dir} ({need} bytes) into {spool_dir}: {why}.",
            hint="Set spool_dir to a folder on a disk with enough room.",
            path=spool_dir,
        )


def _copied(member: DeadMember, folder: str) -> list[str]:
    """Copy the data and return etcd's flags for it."""
    data_dir = os.path.join(folder, "data")
    os.mkdir(data_dir, 0o700)
    shutil.copytree(os.path.join(member.data_dir, "member"), os.path.join(data_dir, "member"))
    flags = [f"--data-dir={data_dir}"]
    if member.wal_dir:
        wal_dir = os.path.join(folder, "wal")
        shutil.copytree(member.wal_dir, wal_dir)
        flags.append(f"--wal-dir={wal_dir}")
    return flags


@contextlib.contextmanager
def _running(
    program: str, data_flags: list[str], connection: Connection, folder: str
) -> t.Iterator[None]:
    client_url, peer_url = connection.endpoints[0], f"https://127.0.0.1:{_free_port()}"
    argv = [
        program,
        "--name=alone",
        *data_flags,
        "--force-new-cluster",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=alone={peer_url}",
    ]
    for prefix in ("", "peer-"):
        argv += [
            f"--{prefix}cert-file={connection.cert}",
            f"--{prefix}key-file={connection.key}",
            f"--{prefix}trusted-ca-file={connection.cacert}",
            f"--{prefix}client-cert-auth",
        ]
    log = os.path.join(folder, "etcd.log")
    with open(log, "wb") as output:
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={"PATH": os.defpath},
            preexec_fn=_die_with_parent,
        )
    try:
        _wait(process, connection, program, log)
        yield
    finally:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes], connection: Connection, program: str, log: str) -> None:
    ends = _time.monotonic() + _START_SECONDS
    while True:
        try:
            with Client(connection, connection.endpoints[0]) as client:
                if client.status().leader:
                    return
        except (EndpointUnreachable, EndpointTimeout):
            pass
        if process.poll() is not None or _time.monotonic() > ends:
            what = "hangs" if process.poll() is None else f"ended with status {process.returncode}"
            with open(log, "rb") as source:
                lines = source.read().decode("utf-8", "replace").strip().splitlines()
            raise SnapshotInvalid(
                f"A copy of the data folder cannot be brought up: {program} {what}. It said: "
                f"{' / '.join(lines[-2:])[-600:]}",
                hint="Use an etcd of the minor version that wrote the data; if that fails too, the "
                "data is damaged: look at the other members' folders.",
                path=program,
            )
        time.sleep(_LOOK_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
