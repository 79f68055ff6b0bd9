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
import queue
import threading
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    OptionInvalid,
    SnapshotInvalid,
    SpaceMissing,
)

__all__ = ["TRAILER_BYTES", "Spooled", "drain", "open_spool"]

# The last 32 bytes of the stream: the raw sha256 of all earlier ones
# (etcd server/etcdserver/api/v3rpc/maintenance.go, Snapshot).
TRAILER_BYTES = 32
_STEP_BYTES = 32 << 20
# How many such steps the disk may be behind: what is written and not on it is memory.
_STEPS_BEHIND = 4
_PIECE_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Spooled:
    """A whole stream on disk: the image's size and sha256, both without the trailer."""

    image_bytes: int
    sha256: str


@contextlib.contextmanager
def open_spool(directory: str) -> t.Iterator[t.BinaryIO]:
    """Give an unnamed file of mode 0600 in `directory`: it is gone with its last descriptor.

    :raises OptionInvalid: no file can be made there.
    """
    with contextlib.ExitStack() as stack:
        try:
            spool = stack.enter_context(_files.unnamed(directory, buffering=0))
        except OSError as exc:
            raise OptionInvalid(
                f"The snapshot cannot be spooled into {directory}: {exc.strerror}.",
                hint="Set spool_dir to a folder that exists, can be written to.",
                path=directory,
            ) from exc
        yield spool


def drain(
    blobs: t.Iterable[bytes | memoryview],
    spool: t.BinaryIO,
    *,
    source: str,
    directory: str,
    reached: t.Callable[[int], object] = lambda size: None,
    keep_cached: bool = False,
) -> Spooled:
    """Write a snapshot stream to `spool` as it comes and compare its trailer.

    The stream holds a read transaction in etcd, so this thread does nothing else. Every 32 MiB are
    synced by another one.

    :param reached: is told, then, how many bytes of the stream are in the spool.
    :param keep_cached: leave what is synced in the page cache, where whoever reads it finds it;
        else it is dropped from there, so that etcd keeps its own pages.
    :raises SnapshotInvalid: the stream is too short, or its sha256 is not the one etcd sent.
    :raises SpaceMissing: the file system of the spool filled up.
    """
    written = told = 0
    try:
        with _Follower(spool.fileno(), keep_cached=keep_cached) as follower:
            for blob in blobs:
                written += _write(spool, blob)
                if written - told >= _STEP_BYTES:
                    told = written
                    follower.reached(told)
                    reached(told)
            computed = follower.end(written)
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SpaceMissing(
            f"Cannot spool the snapshot from {source} into {directory}: no space left after "
            f"{written} bytes.",
            hint="Free space there, or set spool_dir to a larger file system.",
            path=directory,
        ) from exc
    if written <= TRAILER_BYTES:
        raise SnapshotInvalid(
            f"Snapshot stream from {source} ended after {written} bytes: no image came.",
            hint="Look at that member's log, then run again or let another member be the source.",
            endpoint=source,
        )
    trailer = os.pread(spool.fileno(), TRAILER_BYTES, written - TRAILER_BYTES).hex()
    if trailer != computed:
        raise SnapshotInvalid(
            f"Snapshot stream from {source} is damaged or was cut off: its {written} bytes end "
            f"with sha256 {trailer}, the image before it has {computed}.",
            hint="Run again; if it stays, that member's disk or the way to it is at fault.",
            endpoint=source,
        )
    return Spooled(image_bytes=written - TRAILER_BYTES, sha256=computed)


def _write(spool: t.BinaryIO, blob: bytes | memoryview) -> int:
    view = memoryview(blob)
    while view:
        view = view[spool.write(view) :]
    return len(blob)


class _Follower:
    """A thread behind the writer of the spool: it takes the sha256 of what is written, trailer
    excepted, and has it on disk.

    So the disk never has much to catch up with at once, which etcd's own writes would wait for.
    """

    def __init__(self, descriptor: int, *, keep_cached: bool) -> None:
        self._descriptor = descriptor
        self._keep_cached = keep_cached
        self._sizes: queue.Queue[int | None] = queue.Queue(_STEPS_BEHIND)
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> _Follower:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop()

    def reached(self, size: int) -> None:
        """Let it take the first `size` bytes; waits only where the disk is far behind."""
        if self._error is not None:
            raise self._error
        self._sizes.put(size)

    def end(self, size: int) -> str:
        """Return the sha256 of a stream of `size` bytes, once all of it is on disk."""
        self._sizes.put(size)
        self._stop()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def _stop(self) -> None:
        self._sizes.put(None)
        self._thread.join()

    def _follow(self) -> None:
        for size in iter(self._sizes.get, None):
            if self._error is None:
                try:
                    self._take(size)
                except BaseException as exc:  # the writer's to raise
                    self._error = exc

    def _take(self, size: int) -> None:
        while self._hashed < size - TRAILER_BYTES:
            length = min(_PIECE_BYTES, size - TRAILER_BYTES - self._hashed)
            piece = os.pread(self._descriptor, length, self._hashed)
            if not piece:
                raise AssertionError(f"the spool has no byte {self._hashed} of {size}")
            self._digest.update(piece)
            self._hashed += len(piece)
        os.fdatasync(self._descriptor)
        if not self._keep_cached:
            os.posix_fadvise(self._descriptor, 0, size, os.POSIX_FADV_DONTNEED)
