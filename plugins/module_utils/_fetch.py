# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The host's half of etcd_fetch: a file made readable for the connection's user."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import stat
import tempfile
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import TransferError

__all__ = ["Staged", "read_slice", "remove_staged", "stage"]

_PREFIX = "etcd_fetch."


@dataclasses.dataclass(frozen=True)
class Staged:
    """What the connection's user can fetch: the file itself, or a private copy of it."""

    path: str
    is_copy: bool
    size_bytes: int
    sha256: str


def stage(path: str, directory: str | None, *, copy: bool) -> Staged:
    """Hash `path`; if this process is another user than the owner of `directory`, copy it there.

    :raises TransferError: it can't be read, is no regular file, or there is no room for a copy.
    """
    with _opened(path) as source:
        facts = os.fstat(source.fileno())
        if directory is None or not copy or os.stat(directory).st_uid == os.geteuid():
            return Staged(path, False, facts.st_size, _files.sha256_file(path))
        free = _files.free_bytes(directory)
        if free < facts.st_size:
            raise TransferError(
                f"Cannot stage {path} for the transfer in {directory}: it takes "
                f"{facts.st_size} bytes, {free} are free.",
                hint="Free space there, or set ansible_remote_tmp to another file system.",
                path=path,
            )
        return _copy(source, directory)


def _copy(source: t.BinaryIO, directory: str) -> Staged:
    descriptor, target = tempfile.mkstemp(prefix=_PREFIX, dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as raw:
            writer = _files.HashingWriter(raw)
            for piece in _files.chunks(source):
                writer.write(piece)
            owner = os.stat(directory)
            os.fchown(raw.fileno(), owner.st_uid, owner.st_gid)
        return Staged(target, True, writer.size_bytes, writer.sha256)
    except BaseException:
        os.unlink(target)
        raise


def remove_staged(path: str) -> None:
    """Remove a copy that `stage` made, and nothing else."""
    if os.path.basename(path).startswith(_PREFIX):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def read_slice(path: str, offset: int, length: int) -> str:
    """Return `length` bytes of a file from `offset`, in base64."""
    with _opened(path) as source:
        source.seek(offset)
        return base64.b64encode(source.read(length)).decode("ascii")


@contextlib.contextmanager
def _opened(path: str) -> t.Iterator[t.BinaryIO]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise TransferError(
            f"Cannot read {path} on the host as user {os.geteuid()}: {exc.strerror}.",
            hint="Check the path, and whether the task needs become.",
            path=path,
        ) from exc
    with os.fdopen(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise TransferError(
                f"Cannot fetch {path} from the host: it is no regular file.",
                hint="Name a file.",
                path=path,
            )
        yield source
