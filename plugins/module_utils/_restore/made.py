# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What etcd's tool made, looked at with our own eyes before anything is swapped."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import RestoreFailed
from ansible_collections.controlplane.etcd.plugins.module_utils._mapped import mapped
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.facts import read_facts

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.etcdutl import Tool

    from .members import Membership
    from .places import Places

__all__ = ["check_made"]


def check_made(places: Places, membership: Membership, tool: Tool) -> tuple[str, ...]:
    """Check that folders are a whole member's, of the cluster that was asked for.

    Return the IDs of members that the tool left in the db beside the new ones. 3.4's leaves all old
    ones, and has the new ones in WAL and .snap alone.

    :raises RestoreFailed: they are not.
    """
    wal = places.wal_staging or os.path.join(places.staging, "member", "wal")
    for folder, ending in ((wal, ".wal"), (_snap(places), ".snap")):
        if not any(name.endswith(ending) for name in _names(folder)):
            raise _not_whole(places, f"{folder} has no file {ending}")
    path = os.path.join(_snap(places), "db")
    with open(path, "rb") as source, mapped(source.fileno(), os.path.getsize(path)) as mapping:
        facts = read_facts(dict(Database(mapping.memory).buckets()))
    found = [each.id for each in facts.members]
    wanted = {each.id for each in membership.members}
    if not wanted <= set(found) and tool.minor != "3.4":
        raise _not_whole(
            places,
            f"its db has members {', '.join(found) or 'none'}, and these URLs and this token give "
            f"{', '.join(sorted(wanted))}",
        )
    return tuple(sorted(set(found) - wanted))


def _snap(places: Places) -> str:
    return os.path.join(places.staging, "member", "snap")


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _not_whole(places: Places, why: str) -> RestoreFailed:
    return RestoreFailed(
        f"etcd's tool said that it restored {places.staging}, but {why}.",
        hint="Please report this, with the version of the tool.",
        path=places.staging,
    )
