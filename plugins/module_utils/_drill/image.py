# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The image before anything is restored: opened, and proven as the backup proved it."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    KeyMissing,
    SealDamaged,
    SealError,
    TrustError,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
    Catalogue,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import read_image
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.opened import (
    Keys,
    open_path,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.verify import (
    counts_compacted_tombstones,
)

from .model import KEYS_A_SPAN, Held

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        Manifest,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.hashing import Batch
    from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.opened import Opened

    from .model import Course, Wish

__all__ = ["open_image", "verify"]

_PREFIX = "/registry"


@contextlib.contextmanager
def open_image(path: str, wish: Wish, manifest: Manifest) -> t.Iterator[Opened]:
    """Open the delivered snapshot into an unnamed file in the work folder.

    :raises SnapshotInvalid: it is none, or its trailer is wrong; DatabaseInvalid.
    :raises TrustError: it is another image than the manifest's.
    :raises KeyMissing: the identity is not the delivery's. SealDamaged: the file is damaged.
    """
    keys = Keys((wish.identity,), wish.work_dir)
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(open_path(path, keys, skip_hash_check=False))
        except (SealDamaged, KeyMissing):
            raise
        except SealError as exc:
            # Of the delivery, not of the archive: what it is sealed to was made for this drill.
            raise KeyMissing(exc.message, hint="Deliver the entry again.", path=path) from exc
        if opened.sha256 != manifest.snapshot.sha256:
            raise TrustError(
                f"The image of entry {manifest.id} has sha256 {opened.sha256}; its manifest says "
                f"{manifest.snapshot.sha256}.",
                hint="Choose another entry, and find out who wrote this one.",
            )
        yield opened


def verify(
    opened: Opened,
    manifest: Manifest,
    course: Course,
    *,
    etcd_version: str,
    visit: t.Callable[[Batch], None] | None = None,
) -> Held:
    """Prove the structure, and hold what the image says of itself against the manifest.

    HashKV is computed at the newest revision, as an etcd of `etcd_version` will.

    :param visit: called with the live keys of some pages, beside the catalogue.
    :raises DatabaseInvalid: the structure is broken.
    """
    prefix = manifest.kubernetes.etcd_prefix or _PREFIX
    catalogue = Catalogue(prefix)

    fences: list[bytes] = []
    passed = 0

    def take(batch: Batch) -> None:
        nonlocal passed
        catalogue.visit_batch(batch)
        fences.extend(batch.keys[-passed % KEYS_A_SPAN :: KEYS_A_SPAN])
        passed += len(batch.keys)
        if visit is not None:
            visit(batch)

    summary = read_image(
        opened.database,
        skip_compacted_tombstones=not counts_compacted_tombstones(etcd_version),
        visit_batch=take,
    )
    told, size_bytes = manifest.snapshot, opened.database.size_bytes
    course.compare("image_sha256", expected=told.sha256, found=opened.sha256)
    course.compare("image_size", expected=told.db_size_bytes, found=size_bytes)
    course.compare("image_revision", expected=told.revision, found=summary.current_revision)
    course.compare("image_key_count", expected=told.key_count, found=summary.key_count)
    course.compare(
        "image_objects",
        expected=manifest.kubernetes.object_count,
        found=catalogue.object_count,
        detail="objects, read from the image itself",
    )
    return Held(summary, catalogue, opened.sha256, size_bytes, prefix, tuple(sorted(fences)))
