# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The truth about a spooled image: structure, revision, HashKV, and what it holds."""

from __future__ import annotations

import dataclasses
import enum
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    DatabaseInvalid,
    SnapshotInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mapped import mapped
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.facts import Facts, read_facts
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import (
    ImageSummary,
    read_image,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.hashing import Batch

__all__ = ["Check", "Expected", "Result", "Verified", "counts_compacted_tombstones", "verify"]


class Result(str, enum.Enum):
    """How a check ended; a backup's that failed raises instead, and leaves no record."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_COMPARABLE = "not_comparable"
    NOT_ASKED = "not_asked"


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    result: Result
    detail: str


@dataclasses.dataclass(frozen=True)
class Expected:
    """What is known of the cluster beside the image.

    :param revision: what a linearizable read gave before the stream began; None in an emergency.
    :param hash_kv: the members' HashKV at `hash_revision` and `hash_compact_revision`; None where
        the members' hashes could not be compared.
    """

    source: str
    server_version: str
    revision: int | None
    hash_revision: int | None = None
    hash_compact_revision: int | None = None
    hash_kv: int | None = None


@dataclasses.dataclass(frozen=True)
class Verified:
    """What the image is, and which checks it passed."""

    summary: ImageSummary
    checks: tuple[Check, ...]


def verify(
    image: t.BinaryIO,
    image_bytes: int,
    expected: Expected,
    visit_batch: t.Callable[[Batch], None],
) -> Verified:
    """Read the first `image_bytes` of `image` as etcd's database and check all that can be checked.

    The structure is proven by the same pass that reads it, so what `visit_batch` was given counts
    only once this returns.

    :param visit_batch: called with the live keys of each page.
    :raises DatabaseInvalid: the structure is broken.
    :raises SnapshotInvalid: the image is older than what the cluster had confirmed, or holds
        something else than the members.
    """
    with mapped(image.fileno(), image_bytes) as mapping:
        return _verified(Database(mapping.memory), image_bytes, expected, visit_batch)


def _verified(
    database: Database,
    image_bytes: int,
    expected: Expected,
    visit_batch: t.Callable[[Batch], None],
) -> Verified:
    if database.size_bytes != image_bytes:
        raise DatabaseInvalid(
            f"Image from {expected.source} is {image_bytes} bytes; its own meta page says "
            f"{database.page_count} pages of {database.page_size}, {database.size_bytes} bytes.",
            hint="The stream was cut or mixed up; run again.",
        )
    comparable = _comparable(expected, read_facts(dict(database.buckets())))
    summary = read_image(
        database,
        hash_revision=expected.hash_revision if comparable is None else None,
        hash_compact_revision=expected.hash_compact_revision if comparable is None else None,
        skip_compacted_tombstones=not counts_compacted_tombstones(expected.server_version),
        visit_batch=visit_batch,
    )
    checks = (
        Check("trailer", Result.PASSED, "sha256 of the stream equals the one that etcd sent"),
        Check("structure", Result.PASSED, f"{database.page_count} pages walked"),
        _check_revision(expected, summary),
        _check_hash(expected, summary, comparable),
    )
    return Verified(summary, checks)


def counts_compacted_tombstones(server_version: str) -> bool:
    """Tell whether this etcd hashes a deletion at exactly the compact revision.

    It does before 3.4.34 and 3.5.16 (etcd server/storage/mvcc/hash.go, PR 18274).
    """
    parts = (server_version.split("-", maxsplit=1)[0].split(".") + ["0", "0"])[:3]
    if not all(part.isdigit() for part in parts):
        return False
    version = tuple(int(part) for part in parts)
    return version < (3, 4, 34) or (3, 5) <= version < (3, 5, 16)


def _comparable(expected: Expected, facts: Facts) -> str | None:
    """Return why the members' hash can't be computed from this image; None if it can."""
    if expected.hash_kv is None or expected.hash_revision is None:
        return "the members' hashes were not given"
    compacted = expected.hash_compact_revision
    compact_revision = max(facts.finished_compact_revision, facts.scheduled_compact_revision)
    if compacted is not None and compact_revision > max(compacted, 0):
        return f"the member compacted to {compact_revision} in between, past {compacted}"
    return None


def _check_revision(expected: Expected, summary: ImageSummary) -> Check:
    if expected.revision is None:
        return Check("revision", Result.NOT_ASKED, "an emergency: no linearizable read was made")
    if summary.current_revision < expected.revision:
        raise SnapshotInvalid(
            f"Snapshot from {expected.source} ends at revision {summary.current_revision}; the "
            f"cluster had confirmed {expected.revision} before it was taken: this member lags.",
            hint="Run again; if it stays, look at that member's log and disk.",
            endpoint=expected.source,
        )
    return Check(
        "revision",
        Result.PASSED,
        f"revision {summary.current_revision} ≥ {expected.revision} of the linearizable read",
    )


def _check_hash(expected: Expected, summary: ImageSummary, not_comparable: str | None) -> Check:
    if expected.hash_kv is None:
        return Check("hash_kv", Result.NOT_ASKED, "the members' hashes were not given")
    if not_comparable is not None:
        return Check("hash_kv", Result.NOT_COMPARABLE, not_comparable)
    at = f"revision {summary.hash_revision}, compacted to {summary.hash_compact_revision}"
    if summary.hash_kv != expected.hash_kv:
        raise SnapshotInvalid(
            f"Snapshot from {expected.source} does not hold what the members hold: its HashKV at "
            f"{at} is {summary.hash_kv:08x}, theirs is {expected.hash_kv:08x}.",
            hint="That member's data or the stream is damaged: check it with etcdctl endpoint "
            "hashkv --cluster, and let another member be the source.",
            endpoint=expected.source,
        )
    return Check("hash_kv", Result.PASSED, f"{summary.hash_kv:08x} at {at}, as the members have it")
