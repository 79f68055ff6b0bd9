# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""One snapshot from stream to sealed files."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealed_file import (
    SealedFile,
    sealed_file,
    sealed_part,
    write_sealed,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import sealed_name
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import SpaceMissing
from ansible_collections.controlplane.etcd.plugins.module_utils._node.priority import stand_back

from .catalog import CatalogWriter
from .sealer import Sealer
from .take import TRAILER_BYTES, Spooled, drain, open_spool
from .verify import Check, Expected, Result, Verified, verify

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
        Catalogue,
    )

__all__ = ["Made", "Wish", "make_snapshot"]


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is to be made, and where."""

    expected: Expected
    spool_dir: str
    dest_dir: str
    recipients: tuple[str, ...]
    etcd_prefix: str
    keep_cached: bool = False
    """Leave the spool in the page cache while it is read: there is memory for it."""


@dataclasses.dataclass(frozen=True)
class Made:
    """What came of it."""

    spooled: Spooled
    verified: Verified
    catalogue: Catalogue
    checks: tuple[Check, ...]
    files: tuple[SealedFile, ...]
    stream_seconds: float
    verify_seconds: float
    seal_seconds: float


def make_snapshot(blobs: t.Iterable[bytes | memoryview], wish: Wish) -> Made:
    """Spool the stream, verify the image, seal image and catalogue into `dest_dir`.

    The image is sealed by a process of its own while it still comes and is verified. Either both
    files are there under their names, or none is. What is clear lies only in unnamed files of
    `spool_dir`, gone when this returns, raises or is killed.

    :raises SnapshotInvalid, DatabaseInvalid: a check failed; nothing is kept.
    :raises SpaceMissing: a file system filled up.
    """
    with open_spool(wish.spool_dir) as spool, open_spool(wish.spool_dir) as listing:
        files: list[SealedFile] = []
        try:
            with _sealing(spool, wish, files) as sealer:
                start = _time.monotonic()
                spooled = drain(
                    blobs,
                    spool,
                    source=wish.expected.source,
                    directory=wish.spool_dir,
                    reached=sealer.reached,
                    keep_cached=wish.keep_cached,
                )
                sealer.whole(spooled.image_bytes + TRAILER_BYTES)
                streamed = _time.monotonic()
                stand_back()
                verified, counts = _checked(spool, spooled, listing, wish)
                checked = _time.monotonic()
                files.append(_seal_catalogue(listing, wish))
        except BaseException:
            for file in files:
                os.unlink(file.path)
            raise
        sealed = _time.monotonic()
    detail = f"{counts.object_count} objects of {len(counts.counts)} resources"
    return Made(
        spooled=spooled,
        verified=verified,
        catalogue=counts,
        checks=(*verified.checks, Check("catalogue", Result.PASSED, detail)),
        files=tuple(files),
        stream_seconds=round(streamed - start, 3),
        verify_seconds=round(checked - streamed, 3),
        seal_seconds=round(sealed - checked, 3),
    )


@contextlib.contextmanager
def _sealing(spool: t.BinaryIO, wish: Wish, files: list[SealedFile]) -> t.Iterator[Sealer]:
    """Have the spool sealed beside what is done in the `with` block.

    If the block raises, nothing is kept of it; else its end waits for the sealed file, gives it
    its name and adds it to `files`.
    """
    name = sealed_name("data.db", wish.recipients)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_full_disk(wish.dest_dir, name, "dest_dir"))
        target = stack.enter_context(sealed_part(wish.dest_dir, name=name))
        with Sealer(spool.fileno(), target.fileno(), wish.recipients) as sealer:
            yield sealer
            sealed = sealer.answer()
    found = sealed_file(sealed, wish.dest_dir, name=name, part="data", recipients=wish.recipients)
    files.insert(0, found)


def _checked(
    spool: t.BinaryIO, spooled: Spooled, listing: t.BinaryIO, wish: Wish
) -> tuple[Verified, Catalogue]:
    """Verify the image and write its catalogue to `listing`."""
    with _full_disk(wish.spool_dir, "the catalogue", "spool_dir"):
        catalog = CatalogWriter(listing, prefix=wish.etcd_prefix)
        verified = verify(spool, spooled.image_bytes, wish.expected, catalog.visit_batch)
        catalog.finish(revision=verified.summary.revision)
    return verified, catalog.counts


def _seal_catalogue(listing: t.BinaryIO, wish: Wish) -> SealedFile:
    listing.seek(0)
    name = sealed_name("catalog.json", wish.recipients)
    with _full_disk(wish.dest_dir, name, "dest_dir"):
        return write_sealed(
            listing, wish.dest_dir, name=name, part="data", recipients=wish.recipients
        )


@contextlib.contextmanager
def _full_disk(directory: str, what: str, option: str) -> t.Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SpaceMissing(
            f"Cannot write {what} into {directory}: no space left "
            f"({_files.free_bytes(directory)} bytes free). What was written is removed.",
            hint=f"Free space there, or set {option} to a larger file system.",
            path=directory,
        ) from exc
