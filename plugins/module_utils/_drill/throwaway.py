# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A throw-away etcd: restored from the snapshot, started in the cage, waited for."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import time
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    CageRefused,
    EndpointError,
    RestoreFailed,
    SpaceMissing,
    ToolUnusable,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd import etcdutl
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.client import Client
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.connection import Connection
from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage.servers import end_of
from ansible_collections.controlplane.etcd.plugins.module_utils._node.passing_certificates import (
    write_certificates,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage.cage import (
        Cage,
        Server,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.opened import Opened

__all__ = [
    "Unstartable",
    "check_alive",
    "minor",
    "probe_etcd",
    "probe_restorer",
    "restore",
    "start",
    "too_slow",
    "wait",
]

_NAME = "drill"
_HOST, _CLIENT_PORT, _PEER_PORT = "127.0.0.1", 2379, 2380
_CLIENT_URL = f"https://{_HOST}:{_CLIENT_PORT}"
_PEER_URL = f"https://{_HOST}:{_PEER_PORT}"
_LOOK_SECONDS = 0.05
_PROBE_SECONDS = 20
_COMMAND_SECONDS = 60.0
_VERSION = re.compile(r"^etcd Version:\s*v?((\d+\.\d+)\.\d+\S*)", re.M)
# Whom etcd's own users and roles, where they are on, take the client's certificate for
# (server/auth/store.go, AuthInfoFromTLS).
_ROOT = "root"
_KILLED = ("signal 9", "signal 15", "SIGKILL", "SIGTERM")
_FULL = ("no space left on device", "disk quota exceeded")
# errno's words, as Go has them: of the host, never of what an archive holds.
_OF_THE_HOST = (
    ": permission denied",
    ": operation not permitted",
    ": cannot allocate memory",
    ": too many open files",
    ": input/output error",
    ": read-only file system",
    ": exec format error",
    ": address already in use",
)


class Unstartable(RestoreFailed):
    """etcd does not serve what was restored."""


def minor(version: str) -> str:
    """Return `3.6` of 3.6.16."""
    return ".".join(version.split(".")[:2])


def probe_etcd(path: str, *, wanted: str) -> str:
    """Return an etcd's version; it must be of the minor that wrote the snapshot.

    :raises ToolUnusable: it is none, or of another minor.
    """
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            [path, "--version"],
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PROBE_SECONDS,
            check=False,
        )
        said = done.stdout.decode("utf-8", "replace")
    except OSError as exc:
        raise _unusable(path, f"it cannot be run: {exc.strerror}", wanted) from exc
    except subprocess.TimeoutExpired as exc:
        why = f"asked for its version, it says nothing for {_PROBE_SECONDS} s"
        raise _unusable(path, why, wanted) from exc
    found = _VERSION.search(said)
    if found is None:
        words = " ".join(said.split())[:200]
        raise _unusable(path, f"asked for its version, it says {words!r}", wanted)
    if found.group(2) != minor(wanted):
        raise _unusable(path, f"it is {found.group(1)}", wanted)
    return found.group(1)


def probe_restorer(path: str, *, wanted: str) -> etcdutl.Tool:
    """Return the tool that restores; it must be of the minor that wrote the snapshot.

    :raises ToolUnusable: it is none, or of another minor.
    """
    tool = etcdutl.probe(path)
    if tool.minor != minor(wanted):
        raise _unusable(path, f"it is {tool.name} {tool.version}", wanted)
    return tool


def restore(cage: Cage, tool: etcdutl.Tool, opened: Opened, *, seconds: float) -> str:
    """Make a member's data folder in the cage, with a token of its own; return its path.

    :raises RestoreFailed: the tool refuses the snapshot, or breaks off.
    :raises CageRefused: it takes too long; the host ended it, or refused it something.
    """
    data_dir = os.path.join(cage.folder, "data")
    member = etcdutl.NewMember(
        name=_NAME,
        initial_cluster=f"{_NAME}={_PEER_URL}",
        initial_advertise_peer_urls=_PEER_URL,
        initial_cluster_token=f"drill-{secrets.token_hex(8)}",
    )
    try:
        etcdutl.restore(
            tool,
            f"/proc/self/fd/{opened.descriptor}",
            member,
            data_dir=data_dir,
            deadline=seconds,
            pass_fds=[opened.descriptor],
            named=opened.where,
        )
    except RestoreFailed as exc:
        if isinstance(exc.__cause__, subprocess.TimeoutExpired):
            raise too_slow(exc.message) from exc
        if any(text in exc.message for text in (*_KILLED, *_OF_THE_HOST)):
            raise CageRefused(
                exc.message, hint="That is this host's doing: look into its kernel's log."
            ) from exc
        raise
    cage.give(data_dir)
    return data_dir


def start(cage: Cage, program: str, data_dir: str) -> tuple[Server, Connection]:
    """Start etcd on a restored folder, with certificates of its own; return it and the way to it."""
    ca, cert, key = write_certificates(cage.folder, now=_time.now(), common_name=_ROOT)
    argv = [
        program,
        f"--name={_NAME}",
        f"--data-dir={data_dir}",
        f"--listen-client-urls={_CLIENT_URL}",
        f"--advertise-client-urls={_CLIENT_URL}",
        f"--listen-peer-urls={_PEER_URL}",
        f"--initial-advertise-peer-urls={_PEER_URL}",
        f"--initial-cluster={_NAME}={_PEER_URL}",
        # A snapshot may be over any quota already: then the canary could not be written.
        "--quota-backend-bytes=-1",
        # What is thrown away in a minute need not outlive a power cut.
        "--unsafe-no-fsync",
        "--logger=zap",
        "--log-level=warn",
    ]
    for prefix in ("", "peer-"):
        argv += [
            f"--{prefix}cert-file={cert}",
            f"--{prefix}key-file={key}",
            f"--{prefix}trusted-ca-file={ca}",
            f"--{prefix}client-cert-auth",
        ]
    for path in (ca, cert, key):
        cage.give(path)
    connection = Connection(
        endpoints=(_CLIENT_URL,),
        cacert=ca,
        cert=cert,
        key=key,
        dial_timeout=5.0,
        command_timeout=_COMMAND_SECONDS,
    )
    return cage.start("etcd", argv), connection


def wait(server: Server, connection: Connection, *, seconds: float) -> None:
    """Wait until it leads itself and answers a linearizable read.

    :raises Unstartable: it ends by its own doing; says its last words.
    :raises CageRefused: it does not serve in time; the host ended it.
    """
    ends = _time.monotonic() + seconds
    while True:
        check_alive(server)
        if _listens():
            try:
                with Client(connection, _CLIENT_URL) as client:
                    if client.status(timeout=5).leader:
                        client.linearizable_revision()
                        return
            except EndpointError as exc:
                last = exc.message
        else:
            last = "it does not listen"
        if _time.monotonic() > ends:
            check_alive(server, wait=True)
            raise too_slow(
                f"etcd does not serve the restored data within {seconds:g} s: "
                f"{last.rstrip('.')}. Its last words: {server.last_words() or 'none'}"
            )
        time.sleep(_LOOK_SECONDS)


def too_slow(message: str) -> CageRefused:
    """Return the error that nothing was proven in time: a slow host looks as a bad archive does."""
    return CageRefused(
        message,
        hint="Raise start_timeout or cpu_quota if this host is slow; if it is not, drill another "
        "entry: nothing is proven of this one.",
    )


def check_alive(server: Server, *, wait: bool = False) -> None:
    """Tell why etcd has ended, if it has.

    :param wait: it just stopped answering: give a process that dies the time to be dead.
    :raises Unstartable: by its own doing; says its last words.
    :raises CageRefused: the host ended it. SpaceMissing: its disk is full.
    """
    ended = end_of(server) if wait else server.poll()
    if ended is None:
        return
    words = server.last_words()
    if server.unlaunched:
        raise CageRefused(
            f"etcd cannot be run in a drill on this host: {words}.",
            hint="Set work_dir to a folder whose programs other users may run, such as /var/tmp; "
            "look whether the program is one for this platform.",
        )
    if any(text in words for text in _FULL):
        raise SpaceMissing(
            f"etcd {ended} in a drill: the work folder's file system is full.",
            hint="Free space there, or set work_dir to a larger file system.",
        )
    if server.starved:
        raise CageRefused(
            f"etcd {ended} in a drill: it reached a limit that it was given.",
            hint="Raise memory_max.",
        )
    if any(text in words for text in _OF_THE_HOST):
        raise CageRefused(
            f"etcd {ended} in a drill: this host refused it something. Its last words: {words}",
            hint="Mend that on this host; then run the drill again.",
        )
    if any(text in ended for text in _KILLED):
        raise CageRefused(
            f"etcd {ended} in a drill: something on this host killed it.",
            hint="Look for the out-of-memory killer in the kernel's log, and raise memory_max if it "
            "was that; then run the drill again.",
        )
    raise Unstartable(
        f"etcd {ended} on the restored data. Its last words: {words or 'none'}",
        hint="Look at the snapshot with etcd_snapshot_info, and drill another entry.",
    )


def _listens() -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((_HOST, _CLIENT_PORT)) == 0


def _unusable(path: str, why: str, wanted: str) -> ToolUnusable:
    return ToolUnusable(
        f"Program {path} cannot run a snapshot of etcd {wanted}: {why}.",
        hint=f"Name those of etcd {minor(wanted)} with tools: a path on this host, and its sha256.",
        path=path,
    )
