# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Room for a snapshot: how much the spool and the sealed file may take, and where."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import SpaceMissing

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._node.space import FileSystem

__all__ = ["SpacePlan", "fits_in_cache", "plan_space"]

_MIB = 1 << 20
_GIB = 1 << 30
# Left free on file systems that etcd does not live on.
_RESERVE_BYTES = 64 * _MIB
# What the catalogue and the age and zstd framing take beside the image.
_SEAL_EXTRA_BYTES = 4 * _MIB
# The catalogue's lines beside the image in the spool: a key and its revisions, never the value.
_CATALOG_SHARE = 4


@dataclasses.dataclass(frozen=True)
class SpacePlan:
    """What a snapshot will take, at the worst: an image that doesn't compress."""

    spool_dir: str
    spool_bytes: int
    spool_free_bytes: int
    dest_dir: str
    dest_bytes: int
    dest_free_bytes: int


def fits_in_cache(db_size_bytes: int, *, available_bytes: int) -> bool:
    """Tell whether the page cache has room for the spool beside etcd's own pages of the same size."""
    return available_bytes >= 2 * db_size_bytes + _GIB


def plan_space(
    db_size_bytes: int, *, spool: FileSystem, dest: FileSystem, etcd: FileSystem | None
) -> SpacePlan:
    """Check that spool and sealed file fit, and that etcd keeps room for itself.

    On etcd's own file system the larger of 1 GiB and the db's size must stay free after both.

    :param etcd: where the member's data lies; None if this host doesn't hold it.
    :raises SpaceMissing: with what is there and what is needed.
    """
    if spool.is_memory:
        raise SpaceMissing(
            f"Cannot spool the snapshot in {spool.path}: it lies in memory (tmpfs), and the image "
            f"of {_mib(db_size_bytes)} would take it from etcd.",
            hint="Set spool_dir to a folder on a disk, such as /var/tmp.",
            path=spool.path,
        )
    plan = SpacePlan(
        spool_dir=spool.path,
        spool_bytes=db_size_bytes + db_size_bytes // _CATALOG_SHARE,
        spool_free_bytes=spool.free_bytes,
        dest_dir=dest.path,
        dest_bytes=db_size_bytes + _SEAL_EXTRA_BYTES,
        dest_free_bytes=dest.free_bytes,
    )
    for place, others in ((spool, dest), (dest, spool)):
        need = plan.spool_bytes if place is spool else plan.dest_bytes
        if others.is_same(place):
            need = plan.spool_bytes + plan.dest_bytes
        etcd_lives_here = etcd is not None and etcd.is_same(place)
        reserve = max(_GIB, db_size_bytes) if etcd_lives_here else _RESERVE_BYTES
        if place.free_bytes < need + reserve:
            raise SpaceMissing(
                f"Not enough room on the file system of {place.path}: {_mib(place.free_bytes)} "
                f"free; the snapshot may take {_mib(need)}, and {_mib(reserve)} must stay free"
                f"{' for etcd, whose data lies on it' if etcd_lives_here else ''}.",
                hint=_hint(place, spool),
                path=place.path,
            )
    return plan


def _hint(place: FileSystem, spool: FileSystem) -> str:
    option = "spool_dir" if place is spool else "dest_dir"
    return f"Free space there, or set {option} to another file system."


def _mib(size: float) -> str:
    return f"{size / _MIB:.1f} MiB"
