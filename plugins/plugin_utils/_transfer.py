# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A transfer to the controller: into a part file, with progress, compared before its rename."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import shlex
import threading
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import TransferError

__all__ = [
    "Progress",
    "Wish",
    "already_there",
    "check_offer",
    "in_slices",
    "last_line",
    "no_room",
    "not_offered",
    "out_of_room",
    "receive",
    "size_of",
    "ways",
]

_SLICE_BYTES = 4 << 20
_PROGRESS_SECONDS = 10.0
_MIB = 1 << 20
# What a shared or compressed ssh connection would be told; ours is neither.
_DROPPED_OPTIONS = ("compression", "controlmaster", "controlpath", "controlpersist")
_OWN_OPTIONS = (
    "-o Compression=no -o ControlMaster=no -o ControlPath=none "
    "-o ServerAliveInterval=15 -o ServerAliveCountMax=4"
)


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is to be fetched: a file of a host, its name on the controller, the sha256 if known."""

    host: str
    src: str
    dest: str
    sha256: str | None


def already_there(wish: Wish) -> dict[str, t.Any] | None:
    """Return size and sha256 of `dest` if it is the wished file already."""
    if wish.sha256 is None or not os.path.isfile(wish.dest):
        return None
    if _files.sha256_file(wish.dest) != wish.sha256:
        return None
    return {"size_bytes": os.path.getsize(wish.dest), "sha256": wish.sha256}


def check_offer(wish: Wish, *, size_bytes: int, sha256: str) -> None:
    """Check before the transfer that the host's file is the wished one and has room here.

    :raises TransferError: another sha256, no folder, or no space.
    """
    if wish.sha256 is not None and sha256 != wish.sha256:
        raise TransferError(
            f"{wish.src} on {wish.host} is not the file that was made: its sha256 is {sha256}, "
            f"expected {wish.sha256}.",
            hint="Something wrote to it in between; run again.",
            path=wish.src,
        )
    folder = os.path.dirname(wish.dest) or "."
    if not os.path.isdir(folder):
        raise TransferError(
            f"Cannot fetch {wish.src} from {wish.host}: the controller has no folder {folder}.",
            hint="Make it, or name another dest.",
            path=wish.dest,
        )
    if out_of_room(wish.dest, size_bytes):
        raise no_room(wish, size_bytes)


def out_of_room(path: str, size_bytes: int) -> bool:
    """Tell whether the file system of `path` lacks room for what is still to come."""
    come = os.path.getsize(path) if os.path.exists(path) else 0
    return _files.free_bytes(os.path.dirname(path) or ".") < size_bytes - come


def no_room(wish: Wish, size_bytes: int) -> TransferError:
    """Return the error for a full disk of the controller."""
    folder = os.path.dirname(wish.dest) or "."
    return TransferError(
        f"No room on the controller for {wish.src} from {wish.host}: it takes {size_bytes} bytes, "
        f"the file system of {folder} has {_files.free_bytes(folder)} free.",
        hint="Free space there, or move the archive.",
        path=wish.dest,
    )


def receive(wish: Wish, carry: t.Callable[[str], None], *, size_bytes: int, sha256: str) -> None:
    """Let `carry` bring the file to `dest`.part; compare it, sync it, give it its name.

    :raises TransferError: what came differs from what the host sent.
    """
    part = f"{wish.dest}.part"
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
        carry(part)
        came = _files.sha256_file(part)
        if came != sha256:
            raise TransferError(
                f"{wish.src} from {wish.host} did not arrive whole: sha256 {came} of "
                f"{os.path.getsize(part)} bytes, expected {sha256} of {size_bytes}.",
                hint="Run again; what came was thrown away.",
                path=wish.src,
            )
        with open(part, "rb+") as whole:
            os.fchmod(whole.fileno(), 0o600)
            os.fsync(whole.fileno())
        os.replace(part, wish.dest)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
    _files.fsync_directory(os.path.dirname(wish.dest) or ".")


def ways(connection: t.Any) -> t.Iterator[str]:
    """Set up one way after the other in which `connection` carries files in constant memory."""
    if connection.transport != "ssh":
        yield connection.transport
        return
    wished = connection.get_option("ssh_transfer_method")
    kept = {name: connection.get_option(name) for name in ("ssh_args", "ssh_transfer_method")}
    try:
        connection.set_option("ssh_args", own_ssh_args(kept["ssh_args"] or ""))
        for method in ("sftp", "scp"):
            if wished in (method, "smart", None):
                connection.set_option("ssh_transfer_method", method)
                yield method
    finally:
        for name, value in kept.items():
            connection.set_option(name, value)


def own_ssh_args(ssh_args: str) -> str:
    """Return `ssh_args` for a connection of its own, without compression.

    A shared connection keeps the compression it was opened with, so it can't be used.
    """
    kept: list[str] = []
    words = iter(shlex.split(ssh_args))
    for word in words:
        if word == "-C":
            continue
        value = next(words, "") if word == "-o" else word[2:] if word.startswith("-o") else None
        if value is None:
            kept.append(word)
        elif value.replace("=", " ").split()[:1] and _option(value) not in _DROPPED_OPTIONS:
            kept += ["-o", value]
    return " ".join([_OWN_OPTIONS, *map(shlex.quote, kept)])


def _option(value: str) -> str:
    return value.replace("=", " ").split()[0].lower()


def in_slices(read: t.Callable[[int, int], str], size_bytes: int, target: t.BinaryIO) -> None:
    """Write a file that comes as base64 slices: for connections that can't carry files."""
    for offset in range(0, size_bytes, _SLICE_BYTES):
        target.write(base64.b64decode(read(offset, _SLICE_BYTES)))


def not_offered(error: Exception) -> bool:
    """Tell whether a host's sshd has no sftp, which ssh reports as it does a lost connection."""
    return "subsystem request failed" in str(error)


def last_line(error: Exception) -> str:
    """Return the last line that the transfer program said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


class Progress:
    """Say every ten seconds how far a transfer is.

    `come` tells its bytes so far, or None where that can't be seen.
    """

    def __init__(
        self,
        label: str,
        size_bytes: int,
        say: t.Callable[[str], None],
        *,
        come: t.Callable[[], int | None],
    ) -> None:
        self._label = label
        self._size_bytes = size_bytes
        self._say = say
        self._come = come
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        started = _time.monotonic()
        while not self._done.wait(_PROGRESS_SECONDS):
            come, took = self._come(), _time.monotonic() - started
            if come is None:
                told = f"{self._size_bytes // _MIB} MiB, for {took:.0f} s"
            else:
                told = f"{come // _MIB} of {self._size_bytes // _MIB} MiB"
                told += f", {come / took / _MIB:.0f} MiB/s"
            self._say(f"{self._label}: {told}")


def size_of(path: str) -> int | None:
    """Return a file's size, None where it is not there (yet)."""
    try:
        return os.path.getsize(path)
    except OSError:
        return None
