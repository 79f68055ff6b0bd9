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
import os
import stat
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import entries, listing
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import TrustState
from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    DatabaseInvalid,
    SnapshotInvalid,
    TrustError,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mapped import Mapped, mapped

from .take import TRAILER_BYTES, open_spool
from .unwrap import AGAIN, HEAD_BYTES, Keys, unwrap, wrapping_of

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive import names, trust
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        Manifest,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import (
        DirectoryStore,
    )

__all__ = ["Keys", "Opened", "Shelf", "open_entry", "open_path"]


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
    :param stamp: what the file looked like before the reading; None for a copy that nobody else has.
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
    stamp: tuple[int, ...] | None = None
    mapping: Mapped | None = None

    def check_unchanged(self) -> None:
        """Refuse a file that was written to since it was opened, or could not be read; for after
        the reading.

        :raises SnapshotInvalid: so what was read is of no file that there ever was.
        """
        if self.stamp is not None and self.stamp != _stamp(os.fstat(self.descriptor)):
            raise _changed(self.where)
        if self.mapping is not None:
            self.mapping.check()


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
    except (OSError, ValueError) as exc:  # the latter: it holds a NUL
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise SnapshotInvalid(
            f"Snapshot {path} cannot be opened: {why}.",
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
    before = os.fstat(source.fileno())
    with _reading(where):
        head = os.pread(source.fileno(), HEAD_BYTES, 0)
    wrapping = wrapping_of(head, where)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_naming(where, source.fileno(), _stamp(before)))
        clear = source
        if wrapping.compressed:
            clear = stack.enter_context(open_spool(keys.spool_dir))
            unwrap(source, clear, where, keys, sealed=wrapping.sealed)
        clear_bytes = os.fstat(clear.fileno()).st_size
        mapping = stack.enter_context(_mapped(clear.fileno(), clear_bytes, where))
        with _reading(where):
            database = Database(mapping.memory)
            trailer = read_trailer(clear.fileno(), database, where, skip=skip_hash_check)
        yield Opened(
            database=database,
            where=where,
            size_bytes=before.st_size,
            sealed=wrapping.sealed,
            compressed=wrapping.compressed,
            clear_size_bytes=clear_bytes,
            sha256=trailer.sha256,
            trailer=trailer.state,
            descriptor=clear.fileno(),
            manifest=manifest,
            stamp=_stamp(before) if clear is source else None,
            mapping=mapping,
        )


@contextlib.contextmanager
def _mapped(descriptor: int, size_bytes: int, where: str) -> t.Iterator[Mapped]:
    if not size_bytes:
        raise SnapshotInvalid(f"Snapshot {where} is empty.", hint=AGAIN, path=where)
    with contextlib.ExitStack() as stack:
        try:
            with _reading(where):
                mapping = stack.enter_context(mapped(descriptor, size_bytes))
        except ValueError as exc:  # shorter by now
            raise _changed(where) from exc
        yield mapping


def _stamp(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _changed(where: str) -> SnapshotInvalid:
    return SnapshotInvalid(
        f"Snapshot {where} was changed while it was read.",
        hint="Copy it first, once nobody writes to it, then read the copy.",
        path=where,
    )


@contextlib.contextmanager
def _reading(where: str) -> t.Iterator[None]:
    """Have what the kernel says of a file that can't be read name the file."""
    try:
        yield
    except OSError as exc:
        raise SnapshotInvalid(
            f"Snapshot {where} cannot be read: {exc.strerror}.",
            hint=f"{AGAIN} Of a failing disk the kernel's log tells more.",
            path=where,
        ) from exc


@contextlib.contextmanager
def _naming(where: str, descriptor: int, before: tuple[int, ...]) -> t.Iterator[None]:
    """Have what is found in the database name the file, or that it was changed meanwhile."""
    try:
        yield
    except (DatabaseInvalid, SnapshotInvalid) as exc:
        if _stamp(os.fstat(descriptor)) != before:
            raise _changed(where) from exc
        if exc.path is not None:
            raise
        raise type(exc)(f"Snapshot {where}: {exc.message}", hint=exc.hint, path=where) from exc


@dataclasses.dataclass(frozen=True)
class Trailer:
    """An image's sha256, and what stands behind it: `state` is `Opened.trailer`."""

    sha256: str
    state: str


def read_trailer(descriptor: int, database: Database, where: str, *, skip: bool) -> Trailer:
    """Take the sha256 of the image in an open file, and look at what stands behind it.

    Reads by the descriptor alone, at places of its own: beside whatever else reads there.

    :raises OSError: a part of it can't be read.
    :raises SnapshotInvalid: what stands there is not that sha256, unless `skip`; or it got shorter.
    """
    image_bytes, clear_bytes = database.size_bytes, len(database.source)
    digest = hashlib.sha256()
    for piece in _pieces(descriptor, 0, image_bytes, where):
        digest.update(piece)
    rest = clear_bytes - image_bytes
    # A file of etcd's own is of whole pages, and may go on behind the image.
    if rest % database.page_size == 0:
        return Trailer(digest.hexdigest(), "absent")
    trailer = b"".join(_pieces(descriptor, clear_bytes - TRAILER_BYTES, clear_bytes, where))
    if rest == TRAILER_BYTES and trailer == digest.digest():
        return Trailer(digest.hexdigest(), "passed")
    if skip:
        return Trailer(digest.hexdigest(), "failed")
    raise SnapshotInvalid(
        f"Snapshot {where} is damaged: it ends with sha256 {trailer.hex()}, its image of "
        f"{image_bytes} bytes has {digest.hexdigest()}"
        + (
            "." if rest == TRAILER_BYTES else f", and {rest} bytes stand behind that instead of 32."
        ),
        hint=f"{AGAIN} To see what can still be read of it, set skip_hash_check.",
        path=where,
    )


def _pieces(descriptor: int, start: int, end: int, where: str) -> t.Iterator[bytes]:
    while start < end:
        piece = os.pread(descriptor, min(_files.CHUNK_BYTES, end - start), start)
        if not piece:
            raise _changed(where)
        start += len(piece)
        yield piece
