# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Files that are whole or absent: hashing while streaming, atomic writes, free space."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
import typing as t

__all__ = [
    "CHUNK_BYTES",
    "HashingWriter",
    "atomic_write",
    "chunks",
    "free_bytes",
    "fsync_directory",
    "open_regular",
    "part_file",
    "read_small",
    "sha256_file",
    "unnamed",
]

CHUNK_BYTES = 1 << 20


class HashingWriter:
    """Write through to `raw`, counting bytes and taking their sha256."""

    def __init__(self, raw: t.BinaryIO) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        self._raw.write(data)
        self._hash.update(data)
        self.size_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Flush what lies below."""
        self._raw.flush()

    @property
    def sha256(self) -> str:
        """The lower-case hex sha256 of everything written so far."""
        return self._hash.hexdigest()


def chunks(source: t.BinaryIO, size: int = CHUNK_BYTES) -> t.Iterator[bytes]:
    """Yield the rest of `source` in pieces of at most `size` bytes."""
    while True:
        piece = source.read(size)
        if not piece:
            return
        yield piece


def open_regular(path: str, *, follow: bool = True) -> t.BinaryIO:
    """Open a file that somebody named: a pipe would have a run wait for ever, a device never end.

    :raises OSError: it can't be opened, is no regular file, or a link and not `follow`; `strerror`
        says which.
    """
    if "\0" in path:  # what no path can hold
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags | (0 if follow else os.O_NOFOLLOW))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "it is no regular file", path)


def read_small(path: str, *, most: int = 1 << 20) -> bytes:
    """Return the first `most` bytes of a small file.

    :raises OSError: as `open_regular`.
    """
    with open_regular(path) as source:
        return source.read(most)


def sha256_file(path: str) -> str:
    """Return the lower-case hex sha256 of a regular file, read in pieces."""
    digest = hashlib.sha256()
    with open_regular(path) as source:
        for piece in chunks(source):
            digest.update(piece)
    return digest.hexdigest()


def fsync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def part_file(
    path: str, *, mode: int = 0o600, owner: os.stat_result | None = None
) -> t.Iterator[t.BinaryIO]:
    """Give a file to write that takes the name `path` only once it is whole.

    The bytes go to a file of random name beside it, `mode` from creation; on success it is
    fsynced, renamed over `path` and the directory fsynced; on any error it is removed. Root gives it
    to `owner`.
    """
    directory = os.path.dirname(path) or "."
    descriptor, part = tempfile.mkstemp(
        prefix=f".{os.path.basename(path)}.", suffix=".part", dir=directory
    )
    try:
        with os.fdopen(descriptor, "wb") as target:
            os.fchmod(target.fileno(), mode)
            if owner is not None and os.geteuid() == 0:
                os.fchown(target.fileno(), owner.st_uid, owner.st_gid)
            yield target
            target.flush()
            os.fsync(target.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
    fsync_directory(directory)


def atomic_write(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Write a small file so that `path` is the old one or the new one, never a half."""
    with part_file(path, mode=mode) as target:
        target.write(data)


def free_bytes(path: str) -> int:
    """Return the bytes that this user can still write on the file system of `path`."""
    facts = os.statvfs(path)
    return facts.f_bavail * facts.f_frsize


@contextlib.contextmanager
def unnamed(directory: str, *, buffering: int = -1) -> t.Iterator[t.BinaryIO]:
    """Give a file of mode 0600 that is gone with its last descriptor, however this process ends.

    O_TMPFILE where the file system has it; else a named file, unlinked at once.

    :raises OSError: no file can be made there.
    """
    # tempfile would not use O_TMPFILE by way of a link.
    directory = os.path.realpath(directory)
    with tempfile.TemporaryFile(
        buffering=buffering, prefix=".controlplane-etcd-", dir=directory
    ) as made:
        yield t.cast(t.BinaryIO, made)
