# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A drill as values: what is asked, what runs, what was found on the way."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage.cage import (
    Isolation,
    Limits,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        Manifest,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.connection import (
        Connection,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
        Catalogue,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import ImageSummary
    from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage.cage import (
        Cage,
        Server,
    )

    from .extract import Selection

__all__ = ["KEYS_A_SPAN", "Course", "Held", "NamedTool", "Running", "Wish"]

# Every so many of the image's keys, the running etcd's are asked for in a span of their own.
KEYS_A_SPAN = 500

# What a person waits for in a disaster, beside the archive's way to the host.
_RTO_PHASES = ("open", "restore", "start", "api_start")

Figure = t.Union[int, str, None]


@dataclasses.dataclass(frozen=True)
class NamedTool:
    """A program that a person named instead of the delivered one."""

    name: str
    path: str
    sha256: str | None = None


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a drill is asked to do.

    :param identity: what the delivered files are opened with, used once.
    :param tools: instead of the delivered ones.
    :param start_seconds: how long a server may take to serve.
    :param selection: objects to write out, with `api`.
    """

    delivery: str
    identity: str
    work_dir: str = "/var/tmp"
    tools: tuple[NamedTool, ...] = ()
    isolation: Isolation = Isolation.AUTO
    limits: Limits = dataclasses.field(default_factory=Limits)
    start_seconds: float = 120.0
    remove_delivery: bool = True
    api: bool = False
    selection: Selection | None = None


@dataclasses.dataclass(frozen=True)
class Held:
    """What the image holds, read offline."""

    summary: ImageSummary
    catalogue: Catalogue
    sha256: str
    db_size_bytes: int
    etcd_prefix: str
    fences: tuple[bytes, ...]
    """Some of its keys, in their order, about KEYS_A_SPAN keys lie between two of them."""


@dataclasses.dataclass(frozen=True)
class Running:
    """A throw-away etcd that serves the archive's data, and what goes with it.

    :param connection: how to reach it, with a certificate that is root to etcd's own users.
    :param revision: the snapshot's newest: what was there before anything was written here.
    """

    cage: Cage
    etcd: Server
    etcd_version: str
    connection: Connection
    manifest: Manifest
    held: Held
    revision: int
    wish: Wish


class Course:
    """What a drill found so far; the record is made of it."""

    def __init__(self) -> None:
        self.reason = ""
        self.phases: list[tuple[str, float]] = []
        self.comparisons: list[dict[str, t.Any]] = []
        self.not_checked: list[dict[str, str]] = []
        self.versions: dict[str, str | None] = {"etcd": None, "etcdutl": None}
        self.versions["kube_apiserver"] = None
        self.isolation: str | None = None
        self.db_size_bytes: int | None = None
        self.extracted: dict[str, t.Any] | None = None
        self.started_at = _time.rfc3339(_time.now())

    @contextlib.contextmanager
    def phase(self, name: str) -> t.Iterator[None]:
        """Time what the `with` block does, also where it fails."""
        start = _time.monotonic()
        try:
            yield
        finally:
            self.phases.append((name, round(_time.monotonic() - start, 3)))

    def compare(self, name: str, *, expected: Figure, found: Figure, detail: str = "") -> None:
        """Note a comparison, and fail the drill where the two differ."""
        passed = expected == found
        self._note(name, "passed" if passed else "failed", expected, found, detail)
        if not passed:
            why = f"{name} is {found}, the manifest says {expected}"
            self.fail(f"{why}: {detail}" if detail else why)

    def differ(self, name: str, detail: str) -> None:
        """Note that what was just compared by its sum differs in its parts."""
        noted = self.comparisons[-1]
        noted.update(result="failed", detail=detail)
        self.fail(f"{name} differ from the manifest's: {detail}")

    def not_comparable(self, name: str, *, expected: Figure, found: Figure, detail: str) -> None:
        """Note that two figures can't be held against each other."""
        self._note(name, "not_comparable", expected, found, detail)

    def skip(self, name: str, why: str) -> None:
        """Note what was not looked at."""
        self.not_checked.append({"name": name, "why": why})

    def fail(self, reason: str) -> None:
        """Have the verdict be failed; the first reason is the one that is told."""
        self.reason = self.reason or reason

    def seconds(self, *names: str) -> float:
        """Return how long some phases took."""
        return sum(seconds for name, seconds in self.phases if name in names)

    def record(self, manifest: Manifest) -> dict[str, t.Any]:
        """Return the record: the module's `drill`, which the proof is made of."""
        return {
            "entry": manifest.id,
            "sha256": manifest.snapshot.sha256,
            "etcd_cluster": manifest.cluster.name,
            "etcd_instance": manifest.cluster.instance,
            "verdict": "failed" if self.reason else "passed",
            "reason": self.reason,
            "started_at": self.started_at,
            "finished_at": _time.rfc3339(_time.now()),
            "phases": [{"name": name, "seconds": seconds} for name, seconds in self.phases],
            "rto_seconds": math.ceil(self.seconds(*_RTO_PHASES)),
            "comparisons": self.comparisons,
            "versions": self.versions,
            "isolation": self.isolation,
            "not_checked": self.not_checked,
            "db_size_bytes": self.db_size_bytes,
        }

    def _note(self, name: str, result: str, expected: Figure, found: Figure, detail: str) -> None:
        self.comparisons.append(
            {
                "name": name,
                "result": result,
                "expected": expected,
                "found": found,
                "detail": detail,
            }
        )
