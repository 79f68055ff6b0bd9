# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Which entries an archive has: selected by cluster and time, queried, the newest good one."""

from __future__ import annotations

import datetime as dt
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _query
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import entries, names
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import (
    Signers,
    TrustState,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import Store

__all__ = ["compile_query", "is_usable", "read_entries"]


def read_entries(
    place: Store,
    prefixes: t.Sequence[names.Prefix],
    *,
    before: dt.datetime | None,
    latest: bool,
    signers: Signers | None,
    depth: entries.Depth,
) -> list[entries.Entry]:
    """Return the entries of `prefixes` that were started before a time, newest first.

    `latest`: only the newest usable one of each prefix; older ones are then not even read.
    """
    found: list[entries.Entry] = []
    for prefix in prefixes:
        for entry in reversed(place.entries(prefix)):
            if before is not None and names.entry_time(entry) >= before:
                continue
            judged = entries.read_entry(place, prefix, entry, signers=signers, depth=depth)
            if not latest:
                found.append(judged)
            elif is_usable(judged):
                found.append(judged)
                break
    return sorted(found, key=lambda entry: (entry.id, str(entry.prefix)), reverse=True)


def is_usable(entry: entries.Entry) -> bool:
    """Tell whether an entry is a regular backup to go back to, as far as it was looked at."""
    return (
        entry.trust in (TrustState.TRUSTED, TrustState.NOT_CHECKED)
        and entry.manifest is not None
        and entry.manifest.checks_passed
        and entry.manifest.mode == "regular"
    )


def compile_query(text: str) -> t.Callable[[list[dict[str, t.Any]]], t.Any]:
    """Return a JMESPath expression as a function.

    :raises OptionInvalid: it is none; calling it raises that too, where the data don't fit it.
    """
    return _query.Query(text, noun="entries", example="[?object_count > `100`].id").apply
