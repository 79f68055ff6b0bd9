# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Any snapshot, opened for reading: plain, compressed or sealed, a file or an archive's entry."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import mmap
import os
import stat
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import entries, listing
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import (
    IDENTITY_HINT,
    load_identities,
    unseal,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import TrustState
from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import (
    Database,
    image_bytes_of,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    DatabaseInvalid,
    SealError,
    SnapshotInvalid,
    SpaceMissing,
    TrustError,
)

from .take import TRAILER_BYTES, open_spool

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive import names, trust
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        Manifest,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import (
        DirectoryStore,
    )

__all__ = ["Keys", "Opened", "Shelf", "open_entry", "open_path"]

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
_HEAD_BYTES = 256 << 10
_BEHIND_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True)
class Keys:
    """What sealed files are opened with, and where the clear image lies meanwhile, unnamed."""

    identities: tuple[str, ...]
    spool_dir: str


@dataclasses.dataclass(frozen=True)
class Shelf:
    """Where entries are looked up, and whose signatures count."""

    place: DirectoryStore
    prefix: names.Prefix
    signers: trust.Signers | None


@dataclasses.dataclass(frozen=True)
class Opened:
    """A database that can be read while the context lasts, and what it was taken from.

    :param descriptor: the clear file, open as long as the context lasts; for what reads a path it is
        `/proc/self/fd/N`.
    :param trailer: `passed`: the 32 bytes behind the image are its sha256; `failed`: they are not,
        and the caller wanted to read it all the same; `absent`: the file ends with the image, or
        goes on as a file of etcd's own does.
    """

    database: Database
    where: str
    size_bytes: int
    sealed: bool
    compressed: bool
    clear_size_bytes: int
    sha256: str
    trailer: str
    descriptor: int
    manifest: Manifest | None = None


@contextlib.contextmanager
def open_path(path: str, keys: Keys, *, skip_hash_check: bool) -> t.Iterator[Opened]:
    """Open a snapshot or a database file, whatever is wrapped around it.

    :raises SnapshotInvalid: it is no regular file, a running etcd has it open, or it is damaged.
    :raises SealError: it is sealed, and no identity given fits.
    :raises SpaceMissing: the clear image does not fit into the spool folder.
    """
    with _regular(path) as source, _opened(source, path, keys, skip_hash_check, None) as opened:
        yield opened


@contextlib.contextmanager
def open_entry(entry: str, shelf: Shelf, keys: Keys) -> t.Iterator[Opened]:
    """Open the snapshot of an archive's entry, `latest` or by ID, once all its files are trusted.

    :raises ArchiveError: there is no such entry.
    :raises TrustError: signature, manifest or sha256 do not hold.
    """
    found = _trusted(_newest(shelf) if entry == "latest" else entry, shelf)
    name = next((file.name for file in found.files if file.name.startswith("data.db")), None)
    if name is None:
        raise ArchiveError(
            f"Entry {found.id} has no data.db in its manifest.",
            hint="Choose another entry: etcd_archive_info lists them.",
        )
    where = shelf.place.path(shelf.prefix, f"{found.id}/{name}")
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(shelf.place.open(shelf.prefix, f"{found.id}/{name}"))
        opened = stack.enter_context(_opened(source, where, keys, False, found))
        if opened.sha256 != found.snapshot.sha256:
            raise TrustError(
                f"{where} holds an image with sha256 {opened.sha256}; its manifest says "
                f"{found.snapshot.sha256}.",
                hint="Choose another entry, and find out who wrote this one.",
                path=where,
            )
        yield opened


def _newest(shelf: Shelf) -> str:
    found = listing.read_entries(
        shelf.place,
        [shelf.prefix],
        before=None,
        latest=True,
        signers=shelf.signers,
        depth="signature",
    )
    if not found:
        raise ArchiveError(
            f"Archive {shelf.place.location} has no usable entry of {shelf.prefix}.",
            hint="etcd_archive_info tells what is wrong with those that are there.",
            path=shelf.place.location,
        )
    return found[0].id


def _trusted(entry: str, shelf: Shelf) -> Manifest:
    if entry not in shelf.place.entries(shelf.prefix):
        raise ArchiveError(
            f"Archive {shelf.place.location} has no entry {entry} of {shelf.prefix}.",
            hint="Choose another entry: etcd_archive_info lists them.",
            path=shelf.place.path(shelf.prefix, entry),
        )
    judged = entries.read_entry(
        shelf.place, shelf.prefix, entry, signers=shelf.signers, depth="files"
    )
    if judged.trust is not TrustState.TRUSTED or judged.manifest is None:
        raise TrustError(
            f"Entry {entry} of {shelf.prefix} in {shelf.place.location} is {judged.trust.value}: "
            f"{judged.reason}",
            hint="Choose another entry. To look at a file of it all the same, name the file with "
            "path.",
            path=shelf.place.path(shelf.prefix, entry),
        )
    return judged.manifest


@contextlib.contextmanager
def _regular(path: str) -> t.Iterator[t.BinaryIO]:
    """Open a regular file that no etcd is writing to."""
    try:
        # O_NONBLOCK: a pipe must not hang until somebody writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise SnapshotInvalid(
            f"Snapshot {path} cannot be opened: {exc.strerror}.",
            hint="Check the path, and who may read it.",
            path=path,
        ) from exc
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise SnapshotInvalid(
            f"Snapshot {path} cannot be read: it is {kind}.",
            hint="Name a snapshot or a db file; an archive's entry is named by its id.",
            path=path,
        )
    with os.fdopen(descriptor, "rb", buffering=0) as source:
        try:
            # bbolt's own lock (bbolt, bolt_unix.go): held by an etcd that runs on the file.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise SnapshotInvalid(
                f"Snapshot {path} cannot be read: a running process holds its lock, so it is the "
                "database that an etcd is writing to.",
                hint="Take a snapshot with etcd_snapshot, or stop that etcd.",
                path=path,
            ) from exc
        except OSError as exc:
            if exc.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF):
                raise
        yield source


@contextlib.contextmanager
def _opened(
    source: t.BinaryIO, where: str, keys: Keys, skip_hash_check: bool, manifest: Manifest | None
) -> t.Iterator[Opened]:
    size_bytes = os.fstat(source.fileno()).st_size
    head = source.read(512)
    source.seek(0)
    _refuse_wrapping(head, where)
    sealed, compressed = head.startswith(_AGE), head.startswith(_ZSTD)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_naming(where))
        clear = source
        if sealed or compressed:
            clear = stack.enter_context(open_spool(keys.spool_dir))
            _unwrap(source, clear, where, keys, sealed=sealed)
        clear_bytes = os.fstat(clear.fileno()).st_size
        if not clear_bytes:
            raise SnapshotInvalid(f"Snapshot {where} is empty.", hint=_AGAIN, path=where)
        # Not closed by name: pages, keys and values are views of it, and it goes with their last.
        database = Database(mmap.mmap(clear.fileno(), clear_bytes, access=mmap.ACCESS_READ))
        sha256, trailer = _check_trailer(database, clear_bytes, where, skip_hash_check)
        yield Opened(
            database=database,
            where=where,
            size_bytes=size_bytes,
            sealed=sealed,
            compressed=sealed or compressed,
            clear_size_bytes=clear_bytes,
            sha256=sha256,
            trailer=trailer,
            descriptor=clear.fileno(),
            manifest=manifest,
        )


_AGAIN = "Copy it again, or choose another one."


@contextlib.contextmanager
def _naming(where: str) -> t.Iterator[None]:
    """Have what is found in the database name the file."""
    try:
        yield
    except (DatabaseInvalid, SnapshotInvalid) as exc:
        if exc.path is not None:
            raise
        raise type(exc)(f"Snapshot {where}: {exc.message}", hint=exc.hint, path=where) from exc


def _refuse_wrapping(head: bytes, where: str) -> None:
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


def _unwrap(source: t.BinaryIO, spool: t.BinaryIO, where: str, keys: Keys, *, sealed: bool) -> None:
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
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _no_room(keys.spool_dir) from exc


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
        if self._written >= _HEAD_BYTES:
            self._check_length()
        return len(data)

    def _check_length(self) -> None:
        if not self._most:
            head = os.pread(self._raw.fileno(), _HEAD_BYTES, 0)
            self._most = image_bytes_of(head) + _BEHIND_BYTES
        if self._written > self._most:
            raise SnapshotInvalid(
                f"More than {self._written} bytes come out of it; its meta pages say "
                f"{self._most - _BEHIND_BYTES}.",
                hint=_AGAIN,
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


def _check_trailer(database: Database, clear_bytes: int, where: str, skip: bool) -> tuple[str, str]:
    """Return the image's sha256, and what the 32 bytes behind it are."""
    image_bytes, source = database.size_bytes, database.source
    digest = hashlib.sha256()
    for start in range(0, image_bytes, _files.CHUNK_BYTES):
        digest.update(source[start : min(start + _files.CHUNK_BYTES, image_bytes)])
    rest = clear_bytes - image_bytes
    # A file of etcd's own is of whole pages, and may go on behind the image.
    if rest % database.page_size == 0:
        return digest.hexdigest(), "absent"
    trailer = source[clear_bytes - TRAILER_BYTES : clear_bytes]
    if rest == TRAILER_BYTES and trailer == digest.digest():
        return digest.hexdigest(), "passed"
    if skip:
        return digest.hexdigest(), "failed"
    raise SnapshotInvalid(
        f"Snapshot {where} is damaged: it ends with sha256 {trailer.hex()}, its image of "
        f"{image_bytes} bytes has {digest.hexdigest()}"
        + (
            "." if rest == TRAILER_BYTES else f", and {rest} bytes stand behind that instead of 32."
        ),
        hint=f"{_AGAIN} To see what can still be read of it, set skip_hash_check.",
        path=where,
    )
