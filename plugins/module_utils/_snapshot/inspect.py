# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a snapshot tells of itself, read in one pass."""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t
from collections import Counter

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    OptionInvalid,
    SnapshotInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
    Catalogue,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.keys import (
    normalize_prefix,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import (
    ImageSummary,
    read_image,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._text import shown

from .compare import Difference, Older
from .growth import Growth
from .listed import highest
from .objects import FIELDS, ObjectQuery, describe
from .verify import Check, Result, counts_compacted_tombstones

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.hashing import Batch

    from .listed import Lists
    from .opened import Opened

__all__ = ["Inspection", "Wish", "inspect", "read_older"]


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is asked of a snapshot.

    :param etcd_version: whose HashKV is meant; None for that of today's etcd.
    """

    etcd_prefix: str
    hash_revision: int | None = None
    hash_compact_revision: int | None = None
    etcd_version: str | None = None
    query: str | None = None

    def check(self) -> None:
        """Refuse what no snapshot can answer.

        :raises OptionInvalid: there is something of that kind.
        """
        if self.etcd_version and not re.fullmatch(
            r"v?3\.[0-9]{1,9}\.[0-9]{1,9}(-.*)?", self.etcd_version
        ):
            raise OptionInvalid(
                f"Option etcd_version {self.etcd_version[:60]!r} is no version of etcd.",
                hint="Write it as in 3.5.12.",
            )
        if (self.hash_revision or 0) < 0:
            raise OptionInvalid(
                f"Option hash_revision is {self.hash_revision}, which is no revision.",
                hint="Set one from 1 on, or 0 for the newest.",
            )
        if self.hash_compact_revision is not None and self.hash_compact_revision < -1:
            raise OptionInvalid(
                f"Option hash_compact_revision is {self.hash_compact_revision}, which is none.",
                hint="Set what the member has compacted up to, or -1 if it never has.",
            )


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a query gave: where that is a list, its first items, and how many there are."""

    answer: t.Any
    count: int | None


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was found; the lists have the rest.

    :param warnings: what may be meant otherwise.
    """

    summary: ImageSummary
    catalogue: Catalogue
    checks: tuple[Check, ...]
    history_rows: int
    history_bytes: int
    etcd_prefix: str
    query: Answer | None
    difference: dict[str, t.Any] | None
    warnings: tuple[str, ...]


# AWX cuts a result at 700,000 bytes, and there is more than this one in it.
_MOST_ANSWER_BYTES = 64 << 10
# Hundreds of resources.
_MOST_NAMESPACE_BYTES = 32 << 10


class _Changes:
    """Lists changed keys, each under the name that its resource has once all is read."""

    def __init__(self, catalogue: Catalogue, lists: Lists) -> None:
        self.by_resource: Counter[tuple[str, str]] = Counter()
        self._catalogue = catalogue
        self._lists = lists
        self._held: list[tuple[str, bytes]] = []

    def note(self, kind: str, key: bytes) -> None:
        """Take a key; one whose group isn't known yet is held back."""
        place = self._catalogue.find(key)
        if place is not None and place.group is None:
            self._held.append((kind, key))
        else:
            self._list(kind, key)

    def finish(self) -> None:
        """List what was held back."""
        for kind, key in self._held:
            self._list(kind, key)

    def _list(self, kind: str, key: bytes) -> None:
        found = describe(key, self._catalogue)
        self.by_resource[found["resource"] or "", kind] += 1
        self._lists.add(kind, found)


@dataclasses.dataclass(frozen=True)
class Compared:
    """The older snapshot of a comparison.

    :param trailer: as `Opened` has it.
    """

    where: str
    revision: int
    trailer: str
    kube_system_uid: str | None
    older: Older


def read_older(opened: Opened, *, etcd_prefix: str) -> Compared:
    """Read what a comparison needs of the older snapshot."""
    older = Older()
    cluster = Catalogue(etcd_prefix)
    kube_system = normalize_prefix(etcd_prefix) + b"namespaces/kube-system"

    def visit(batch: Batch) -> None:
        older.visit_batch(batch)
        if kube_system in batch.keys:
            cluster.visit_batch(batch)

    summary = read_image(opened.database, visit_batch=visit)
    opened.check_unchanged()
    return Compared(
        where=opened.where,
        revision=summary.current_revision,
        trailer=opened.trailer,
        kube_system_uid=cluster.kube_system_uid,
        older=older,
    )


def inspect(opened: Opened, wish: Wish, compared: Compared | None, lists: Lists) -> Inspection:
    """Prove a snapshot's structure and read it.

    :raises DatabaseInvalid: it breaks bbolt's format or etcd's.
    :raises SnapshotInvalid: `hash_revision` is not in it, it is compacted past
        `hash_compact_revision`, or its file was changed meanwhile.
    :raises OptionInvalid: the query can't be used.
    """
    catalogue = Catalogue(wish.etcd_prefix)
    growth = Growth(lists.limit)
    query = ObjectQuery(wish.query, catalogue) if wish.query else None
    changes = _Changes(catalogue, lists)
    difference = Difference(compared.older, changes.note) if compared else None

    def visit(batch: Batch) -> None:
        catalogue.visit_batch(batch)
        growth.visit_batch(batch)
        if query:
            query.visit_batch(batch)
        if difference:
            difference.visit_batch(batch)

    version = wish.etcd_version and wish.etcd_version.lstrip("v")
    summary = read_image(
        opened.database,
        hash_revision=wish.hash_revision,
        hash_compact_revision=wish.hash_compact_revision,
        skip_compacted_tombstones=not version or not counts_compacted_tombstones(version),
        visit_batch=visit,
    )
    _check_compact_revision(wish.hash_compact_revision, summary)
    _list_growth(growth, catalogue, lists)
    _list_namespaces(catalogue, lists)
    if difference:
        difference.finish()
        changes.finish()
    if query and catalogue.learnt_late:
        query = ObjectQuery(wish.query or "", catalogue)
        read_image(opened.database, visit_batch=query.visit_batch)
    answer = _answer(query, lists) if query else None
    lists.fit()
    told = None
    if compared:
        told = {
            "compared_to": compared.where,
            "compared_revision": compared.revision,
            **_told(changes.by_resource, lists),
        }
    found = Inspection(
        summary=summary,
        catalogue=catalogue,
        checks=_checks(opened, compared),
        history_rows=growth.history_rows,
        history_bytes=growth.history_bytes,
        etcd_prefix=wish.etcd_prefix,
        query=answer,
        difference=told,
        warnings=(
            *_warnings(opened, compared, summary, catalogue),
            *(f"{opened.where}: {doubt}" for doubt in _doubts(wish, catalogue, query)),
        ),
    )
    opened.check_unchanged()
    return found


def _doubts(wish: Wish, catalogue: Catalogue, query: ObjectQuery | None) -> t.Iterator[str]:
    key_count = catalogue.other_key_count
    if key_count and not catalogue.object_count:
        root, count = catalogue.main_root()
        yield (
            f"no object lies under etcd_prefix {wish.etcd_prefix!r}; {count} of {key_count} keys "
            f"lie under {root or 'no path'}."
        )
    unknown = [repr(shown(name)) for name in query.unknown_fields] if query else []
    if unknown:
        yield (
            f"option query reads {', '.join(unknown[:5])}, which no object has; they have "
            f"{', '.join(sorted(FIELDS))}."
        )


def _check_compact_revision(asked: int | None, summary: ImageSummary) -> None:
    if asked is not None and max(asked, 0) < summary.compact_revision:
        raise SnapshotInvalid(
            f"HashKV with compact revision {asked} cannot be had from this image: it is compacted "
            f"up to {summary.compact_revision}, and what was there before is gone.",
            hint="Compact the member that is compared with, too, or compare another one.",
        )


def _list_growth(growth: Growth, catalogue: Catalogue, lists: Lists) -> None:
    for size, key in growth.largest.sorted():
        lists.add("largest", {**describe(key, catalogue), "size_bytes": size})
    for version, key in growth.versions.sorted():
        lists.add("most_rewritten", {**describe(key, catalogue), "version": version})
    for key, count, size in growth.history():
        if not lists.passes("most_history"):
            lists.add(
                "most_history",
                {**describe(key, catalogue), "revision_count": count, "size_bytes": size},
            )


def _list_namespaces(catalogue: Catalogue, lists: Lists) -> None:
    found: dict[str, Counter[str]] = {}
    for raw, spread in catalogue.counts_by_namespace.items():
        resource = shown(raw)
        for namespace, count in spread.items():
            if namespace:
                found.setdefault(shown(namespace), Counter())[resource] += count
    totals = {name: sum(counts.values()) for name, counts in found.items()}
    for name in sorted(found, key=lambda name: (-totals[name], name)):
        item = {"namespace": name, "object_count": totals[name], "resources": found[name]}
        told = None
        if lists.keeps("namespaces"):
            told = {**item, "resources": highest(found[name], _MOST_NAMESPACE_BYTES)}
        lists.add("namespaces", item, told=told)


def _answer(query: ObjectQuery, lists: Lists) -> Answer:
    answer = query.finish()
    if not isinstance(answer, list):
        size_bytes = len(json.dumps(answer))
        if size_bytes > _MOST_ANSWER_BYTES:
            raise OptionInvalid(
                f"Option query gives {size_bytes} bytes that are no list, and so can't be cut; a "
                f"result holds up to {_MOST_ANSWER_BYTES}.",
                hint="Have it give a list: limit and dest are for those.",
            )
        return Answer(answer, None)
    for item in answer:
        lists.add("query", item)
    return Answer(lists.first("query"), len(answer))


def _told(by_resource: Counter[tuple[str, str]], lists: Lists) -> dict[str, t.Any]:
    resources: dict[str, dict[str, int]] = {}
    for (resource, kind), count in sorted(by_resource.items()):
        resources.setdefault(resource, {"added": 0, "changed": 0, "removed": 0})[kind] = count
    told: dict[str, t.Any] = {"resources": resources}
    for kind in ("added", "changed", "removed"):
        told[f"{kind}_count"] = lists.counts[kind]
        told[kind] = lists.first(kind)
    return told


_TRAILERS = {
    "passed": (Result.PASSED, "the file ends with the sha256 of its image"),
    "absent": (Result.NOT_ASKED, "no sha256 stands behind the image: a file of etcd's own?"),
    "failed": (Result.FAILED, "the file does not end with the sha256 of its image"),
}


def _warnings(
    opened: Opened, compared: Compared | None, summary: ImageSummary, catalogue: Catalogue
) -> t.Iterator[str]:
    failed = _TRAILERS["failed"][1]
    if opened.trailer == "failed":
        yield f"{opened.where}: {failed}; do not restore it."
    if compared is None:
        return
    if compared.trailer == "failed":
        yield f"{compared.where}: {failed}; what differs from it may not be true."
    here, there = catalogue.kube_system_uid, compared.kube_system_uid
    if here and there and here != there:
        yield (
            f"{opened.where} is of another cluster than {compared.where}: its kube-system has UID "
            f"{here}, that one's {there}."
        )
    if compared.revision > summary.current_revision:
        yield (
            f"{compared.where}, which compare_to names as the older one, ends at revision "
            f"{compared.revision}, {opened.where} at {summary.current_revision}: what is told as "
            "added may have been removed."
        )


def _checks(opened: Opened, compared: Compared | None) -> tuple[Check, ...]:
    pages = opened.database.page_count
    checks = [
        Check("trailer", *_TRAILERS[opened.trailer]),
        Check("structure", Result.PASSED, f"{pages} pages walked"),
    ]
    if opened.manifest is not None:
        detail = f"entry {opened.manifest.id} is trusted, and the image is the one that it names"
        checks.append(Check("archive", Result.PASSED, detail))
    if compared is not None:
        checks.append(Check("compared_trailer", *_TRAILERS[compared.trailer]))
    return tuple(checks)
