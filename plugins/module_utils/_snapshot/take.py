# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The snapshot stream's way to a spool: drained at full speed, hashed, its trailer compared."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import tempfile
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    OptionInvalid,
    SnapshotInvalid,
    SpaceMissing,
)

__all__ = ["TRAILER_BYTES", "Spooled", "drain", "open_spool"]

# The last 32 bytes of the stream: the raw sha256 of all earlier ones
# (etcd server/etcdserver/api/v3rpc/maintenance.go, Snapshot).
TRAILER_BYTES = 32
_SYNC_BYTES = 32 << 20


@dataclasses.dataclass(frozen=True)
class Spooled:
    """A whole stream on disk: the image's size and sha256, both without the trailer."""

    image_bytes: int
    sha256: str


@contextlib.contextmanager
def open_spool(directory: str) -> t.Iterator[t.BinaryIO]:
    """Give an unnamed file of mode 0600 in `directory`: it is gone with its last descriptor.

    O_TMPFILE where the file system has it; else a named file, unlinked at once.

    :raises OptionInvalid: no file can be made there.
    """
    try:
        descriptor = _unnamed(directory)
    except OSError as exc:
        raise OptionInvalid(
            f"The snapshot cannot be spooled into {directory}: {exc.strerror}.",
            hint="Set spool_dir to a folder that exists, can be written to.",
            path=directory,
        ) from exc
    with os.fdopen(descriptor, "w+b", buffering=0) as spool:
        yield spool


def _unnamed(directory: str) -> int:
    try:
        return os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        if exc.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise
        descriptor, name = tempfile.mkstemp(prefix=".etcd-spool.", dir=directory)
        os.unlink(name)
        return descriptor


def drain(
    blobs: t.Iterable[bytes],
    spool: t.BinaryIO,
    *,
    source: str,
    directory: str,
    reached: t.Callable[[int], object] = lambda size: None,
) -> Spooled:
    """Write a snapshot stream to `spool` as it comes and compare its trailer.

    The stream holds a read transaction in etcd, so this process does nothing else beside it. Every
    32 MiB are synced and dropped from the page cache, so that etcd keeps its own pages.

    :param reached: is told, then, how many bytes of the stream are in the spool.
    :raises SnapshotInvalid: the stream is too short, or its sha256 is not the one etcd sent.
    :raises SpaceMissing: the file system of the spool filled up.
    """
    digest = hashlib.sha256()
    written = synced = 0
    held = b""  # the newest 32 bytes: at the end they are the trailer
    for blob in blobs:
        if not blob:
            continue
        held += blob
        digest.update(memoryview(held)[:-TRAILER_BYTES])
        held = held[-TRAILER_BYTES:]
        try:
            written += _write(spool, blob)
            if written - synced >= _SYNC_BYTES:
                synced = _settle(spool, written)
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise SpaceMissing(
                f"Cannot spool the snapshot from {source} into {directory}: no space left after "
                f"{written} bytes.",
                hint="Free space there, or set spool_dir to a larger file system.",
                path=directory,
            ) from exc
        if written == synced:
            reached(written)
    if written <= TRAILER_BYTES:
        raise SnapshotInvalid(
            f"Snapshot stream from {source} ended after {written} bytes: no image came.",
            hint="Look at that member's log, then run again or let another member be the source.",
            endpoint=source,
        )
    trailer, computed = held.hex(), digest.hexdigest()
    if trailer != computed:
        raise SnapshotInvalid(
            f"Snapshot stream from {source} is damaged or was cut off: its {written} bytes end "
            f"with sha256 {trailer}, the image before it has {computed}.",
            hint="Run again; if it stays, that member's disk or the way to it is at fault.",
            endpoint=source,
        )
    _settle(spool, written)
    return Spooled(image_bytes=written - TRAILER_BYTES, sha256=computed)


def _write(spool: t.BinaryIO, blob: bytes) -> int:
    view = memoryview(blob)
    while view:
        view = view[spool.write(view) :]
    return len(blob)


def _settle(spool: t.BinaryIO, written: int) -> int:
    """Have what is written on disk and out of the page cache."""
    os.fdatasync(spool.fileno())
    os.posix_fadvise(spool.fileno(), 0, written, os.POSIX_FADV_DONTNEED)
    return written
