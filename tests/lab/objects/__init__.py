# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded Kubernetes objects, and how they are written into a real etcd.

    from lab import objects
    filled = objects.fill(cluster, copies=20, name="prod")
    objects.planted_secrets()        # what no output may ever contain

recorded.json.gz holds every change that a real kube-apiserver made in etcd, in order, raw
(record.py made it). A further copy replays those of namespaces and of what is in them, under
namespaces of its own in the keys; the values keep their names.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
import typing as t
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .writer import Change, Target, write

if t.TYPE_CHECKING:
    from lab.loopback import Cluster

__all__ = [
    "RECORDED",
    "Filled",
    "Recording",
    "Target",
    "encryption_configuration",
    "fill",
    "planted_forms",
    "planted_secrets",
    "recording",
]

RECORDED = Path(__file__).with_name("recorded.json.gz")
NAMESPACES = b"/registry/namespaces/"
KUBE_SYSTEM = NAMESPACES + b"kube-system"
UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Recording:
    """What record.py wrote down."""

    kubernetes: str
    etcd: str
    recorded_at: str
    encryption_configuration: str
    planted: tuple[str, ...]
    lease_seconds: dict[str, int]
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Filled:
    """What `fill` left in etcd."""

    key_count: int
    """Live keys."""
    change_count: int
    """Puts and deletions, each a revision's worth or a part of one."""
    deleted_count: int
    revision: int
    kube_system_uid: str


@lru_cache(maxsize=1)
def recording() -> Recording:
    """Return the recording."""
    read = json.loads(gzip.decompress(RECORDED.read_bytes()))
    changes = tuple(
        Change(key.encode(), None if value is None else value.encode("latin-1"), lease)
        for key, value, lease in read["changes"]
    )
    return Recording(
        kubernetes=read["kubernetes"],
        etcd=read["etcd"],
        recorded_at=read["recorded_at"],
        encryption_configuration=read["encryption_configuration"],
        planted=tuple(read["planted"]),
        lease_seconds=read["leases"],
        changes=changes,
    )


def planted_secrets() -> tuple[str, ...]:
    """Return the made-up secret values inside: of Secrets, and the two encryption keys."""
    return recording().planted


def planted_forms() -> tuple[str, ...]:
    """Return the planted secrets as they are and in base64, which is what manifests show."""
    coded = (base64.b64encode(value.encode()).decode() for value in planted_secrets())
    return (*planted_secrets(), *coded)


def encryption_configuration() -> str:
    """Return the EncryptionConfiguration by which the recorded Secrets can be read again."""
    return recording().encryption_configuration


def fill(
    cluster: Cluster | Target,
    *,
    copies: int = 1,
    name: str = "recorded",
    rewrites: int = 0,
    deletions: int = 0,
    seed: int = 1,
) -> Filled:
    """Write the recorded changes into a cluster, `copies` times into ever more namespaces.

    `cluster` is a lab.loopback.Cluster or a Target. The kube-system namespace is there once, with
    a UID of its own for each `name`. `rewrites` and `deletions` then pick that many keys of the
    copies (with one copy: of its own namespaces) by `seed`.
    """
    uid = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.clusters.example.org"))
    made = recording().changes
    namespaces = {
        change.key[len(NAMESPACES) :] for change in made if change.key.startswith(NAMESPACES)
    }
    changes = [_with_uid(change, uid) for change in made]
    for number in range(1, copies):
        suffix = b"-%04d" % number
        for change in made:
            key = _renamed(change.key, namespaces, suffix)
            if key:
                changes.append(Change(key, change.value, change.lease))
    live = _live(changes)
    changes += _later(live, rewrites=rewrites, deletions=deletions, rng=random.Random(seed))
    revision = write(Target.of(cluster), changes, recording().lease_seconds)
    deleted = sum(1 for change in changes if change.value is None)
    return Filled(
        key_count=len(_live(changes)),
        change_count=len(changes),
        deleted_count=deleted,
        revision=revision,
        kube_system_uid=uid,
    )


def _with_uid(change: Change, uid: str) -> Change:
    """Give the kube-system namespace another UID; the length, and so the protobuf, stays."""
    if change.key != KUBE_SYSTEM or change.value is None:
        return change
    return Change(change.key, UUID.sub(uid.encode(), change.value, count=1), change.lease)


def _renamed(key: bytes, namespaces: set[bytes], suffix: bytes) -> bytes:
    """Return the key moved to the namespace of a copy; none for what has no namespace."""
    parts = key.split(b"/")
    for position in range(3, len(parts)):
        if parts[position] in namespaces:
            parts[position] += suffix
            return b"/".join(parts)
    return b""


def _live(changes: t.Iterable[Change]) -> dict[bytes, Change]:
    """Return the last put of each key that isn't deleted."""
    live: dict[bytes, Change] = {}
    for change in changes:
        if change.value is None:
            live.pop(change.key, None)
        else:
            live[change.key] = change
    return live


def _later(
    live: dict[bytes, Change], *, rewrites: int, deletions: int, rng: random.Random
) -> list[Change]:
    """Return rewrites and deletions of some live keys; kube-system and namespaces stay."""
    keys = sorted(key for key in live if b"/kube-system" not in key and NAMESPACES not in key)
    later = [live[key] for key in rng.choices(keys, k=rewrites)]
    return later + [Change(key, None, "") for key in rng.sample(keys, deletions)]
