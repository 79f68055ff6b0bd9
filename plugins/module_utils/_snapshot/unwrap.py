# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What is wrapped around a snapshot: age and zstd are taken off, other things are named."""

from __future__ import annotations

import dataclasses
import errno
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import (
    IDENTITY_HINT,
    load_identities,
    unseal,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import (
    image_bytes_of,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    SealError,
    SnapshotInvalid,
    SpaceMissing,
)

__all__ = ["AGAIN", "HEAD_BYTES", "Keys", "Wrapping", "unwrap", "wrapping_of"]

AGAIN = "Copy it again, or choose another one."
_AGE = b"age-encryption.org/v1\n"
_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_ZSTD = b"\x28\xb5\x2f\xfd"
# Other wrappings that people put around a snapshot, and how to take them off.
_WRAPPINGS = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"PK\x03\x04": ("zip", "unzip"),
}
_TAR = (257, b"ustar")
# What opening must leave free where the clear image is spooled, looked at this often.
_RESERVE_BYTES = 256 << 20
_LOOK_BYTES = 64 << 20
# Where both meta pages lie, whatever the page size; and what may stand behind an image: bbolt lets
# a file grow by 16 MiB at a time (db.go, grow).
HEAD_BYTES = 256 << 10
_BEHIND_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True)
class Keys:
    """What sealed files are opened with, and where the clear image lies meanwhile, unnamed."""

    identities: tuple[str, ...]
    spool_dir: str


@dataclasses.dataclass(frozen=True)
class Wrapping:
    """How a file lies there: sealed with age (then zstd is inside), or compressed alone."""

    sealed: bool
    compressed: bool


def wrapping_of(head: bytes, where: str) -> Wrapping:
    """Tell by a file's first bytes what is around its image.

    :raises SealError: age in armor. SnapshotInvalid: something that is not opened here.
    """
    _refuse_foreign(head, where)
    sealed = head.startswith(_AGE)
    return Wrapping(sealed, sealed or head.startswith(_ZSTD))


def _refuse_foreign(head: bytes, where: str) -> None:
    if head.startswith(_ARMOR):
        raise SealError(
            f"Snapshot {where} is age in armor, which is not read here.",
            hint="Take the armor off by decrypting it: age -d -i IDENTITY.",
            path=where,
        )
    found = next((what for magic, what in _WRAPPINGS.items() if head.startswith(magic)), None)
    if head[_TAR[0] : _TAR[0] + len(_TAR[1])] == _TAR[1]:
        found = ("tar", "tar -x")
    if found:
        raise SnapshotInvalid(
            f"Snapshot {where} is a {found[0]} file.",
            hint=f"Unpack it with {found[1]} first; zstd and age are opened here.",
            path=where,
        )


def unwrap(source: t.BinaryIO, spool: t.BinaryIO, where: str, keys: Keys, *, sealed: bool) -> None:
    """Write the clear image of a wrapped file to `spool`.

    :raises SealError: no identity fits, or the file is damaged.
    :raises SpaceMissing: it does not fit there.
    :raises SnapshotInvalid: the file can't be read; DatabaseInvalid: nor is it an image.
    """
    if sealed and not keys.identities:
        raise SealError(
            f"Snapshot {where} is sealed, and no identity is given.",
            hint=f"Set identities. {IDENTITY_HINT}",
            path=where,
        )
    try:
        unseal(
            source,
            _Roomy(spool, keys.spool_dir),
            load_identities(keys.identities) if sealed else (),
        )
    except SealError as exc:
        raise type(exc)(f"Snapshot {where}: {exc.message}", hint=exc.hint, path=where) from exc
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(keys.spool_dir) from exc
        raise SnapshotInvalid(
            f"Snapshot {where} cannot be opened into {keys.spool_dir}: {exc.strerror}.",
            hint=AGAIN,
            path=where,
        ) from exc


class _Roomy:
    """Writes an image to a spool while its file system keeps room for others.

    What does not begin as an image, or goes on long after its end, is given up at once: a few
    kilobytes of zstd can hold a terabyte.
    """

    def __init__(self, raw: t.BinaryIO, directory: str) -> None:
        self._raw = raw
        self._directory = directory
        self._left = 0
        self._written = 0
        self._most = 0

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        self._left -= len(data)
        if self._left < 0:
            if _files.free_bytes(self._directory) < _RESERVE_BYTES + _LOOK_BYTES:
                raise _no_room(self._directory)
            self._left = _LOOK_BYTES
        view = memoryview(data)
        while view:
            view = view[self._raw.write(view) :]
        self._written += len(data)
        if self._written >= HEAD_BYTES:
            self._check_length()
        return len(data)

    def _check_length(self) -> None:
        if not self._most:
            head = os.pread(self._raw.fileno(), HEAD_BYTES, 0)
            self._most = image_bytes_of(head) + _BEHIND_BYTES
        if self._written > self._most:
            raise SnapshotInvalid(
                f"More than {self._written} bytes come out of it; its meta pages say "
                f"{self._most - _BEHIND_BYTES}.",
                hint=AGAIN,
            )

    def flush(self) -> None:
        """Do nothing: what is written is in the file."""


def _no_room(directory: str) -> SpaceMissing:
    return SpaceMissing(
        f"The clear image does not fit into {directory}: {_files.free_bytes(directory)} bytes are "
        f"free, of which {_RESERVE_BYTES} stay so.",
        hint="Free space there, or set spool_dir to a larger file system.",
        path=directory,
    )
