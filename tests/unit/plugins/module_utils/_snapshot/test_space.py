# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for a snapshot."""

from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import SpaceMissing
from ansible_collections.controlplane.etcd.plugins.module_utils._node.space import FileSystem
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.space import plan_space

MIB = 1 << 20
GIB = 1 << 30


def disk(path: str, free: int, *, device: int = 1, in_memory: bool = False) -> FileSystem:
    return FileSystem(
        path=path,
        mount_point="/",
        kind="tmpfs" if in_memory else "ext4",
        device=device,
        size_bytes=2 * free,
        free_bytes=free,
    )


def test_plan_space_enough_gives_figures() -> None:
    spool = disk("/var/tmp", GIB)
    plan = plan_space(100 * MIB, spool=spool, dest=disk("/home", GIB, device=2), etcd=None)
    assert (plan.spool_bytes, plan.spool_free_bytes) == (125 * MIB, GIB)
    assert plan.dest_bytes == 104 * MIB


def test_plan_space_tmpfs_refused() -> None:
    spool = disk("/tmp", 8 * GIB, in_memory=True)
    with pytest.raises(SpaceMissing, match="/tmp: it lies in memory"):
        plan_space(MIB, spool=spool, dest=disk("/home", GIB), etcd=None)


@pytest.mark.parametrize(
    ("free", "fits"), [(1361 * MIB, True), (1361 * MIB - 1, False)], ids=["enough", "a-byte-short"]
)
def test_plan_space_on_etcds_disk_keeps_a_gib_after_spool_and_sealed_file(
    free: int, fits: bool
) -> None:
    place = disk("/var/tmp", free, device=7)
    etcd = disk("/var/lib/etcd", free, device=7)
    size = 148 * MIB  # spool 148 + 37, sealed 152, 1024 kept
    if fits:
        plan_space(size, spool=place, dest=place, etcd=etcd)
    else:
        with pytest.raises(SpaceMissing, match="1024.0 MiB must stay free for etcd"):
            plan_space(size, spool=place, dest=place, etcd=etcd)


def test_plan_space_db_larger_than_a_gib_keeps_its_size() -> None:
    place = disk("/var/tmp", 8 * GIB, device=7)
    with pytest.raises(SpaceMissing, match="3072.0 MiB must stay free for etcd"):
        plan_space(3 * GIB, spool=place, dest=place, etcd=disk("/e", 8 * GIB, device=7))


def test_plan_space_small_dest_names_its_option() -> None:
    with pytest.raises(SpaceMissing, match="/home: 10.0 MiB free.*dest_dir"):
        plan_space(
            100 * MIB,
            spool=disk("/var/tmp", GIB),
            dest=disk("/home", 10 * MIB, device=2),
            etcd=None,
        )
