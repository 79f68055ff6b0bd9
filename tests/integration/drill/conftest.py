# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of real clusters for the drills of this folder: each made once a session."""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t
from pathlib import Path

import pytest

from lab import objects, versions
from lab.archived import Keys, back_up
from lab.delivered import Delivery, deliver
from lab.loopback import Cluster, LoopbackError


class Shelf:
    """Entries by etcd's version and what is special about the cluster."""

    def __init__(self, root: Path) -> None:
        self.keys = Keys.make(root)
        self._root = root
        self._made: dict[tuple[str, str], Path] = {}

    def entry(self, version: str = versions.ETCD_DEFAULT, kind: str = "filled") -> Path:
        """Return the entry's folder; `kind` is filled, empty, auth or nospace."""
        if (version, kind) not in self._made:
            self._made[version, kind] = self._make(version, kind)
        return self._made[version, kind]

    def delivery(self, into: Path, *made: str, **other: t.Any) -> Delivery:
        """Lay a delivery of an entry."""
        return deliver(self.entry(*made), self.keys, into / "deliveries", **other)

    def _make(self, version: str, kind: str) -> Path:
        root = self._root / f"{version}-{kind}"
        staging = root / "staging"
        staging.mkdir(parents=True)
        quota = ("--quota-backend-bytes=8388608",) if kind == "nospace" else ()
        name = f"drill-{kind}"
        with Cluster(
            name, size=1, version=version, auth=kind == "auth", extra_flags=quota
        ) as cluster:
            if kind != "empty":
                self._fill(cluster, kind)
            with _as_root(cluster):
                added = back_up(cluster, self.keys, root / "archive", staging)
        return Path(added["path"])

    def _fill(self, cluster: Cluster, kind: str) -> None:
        objects.fill(cluster, copies=1)
        # What HashKV must get right: history, a compaction, a deletion at exactly its revision.
        for number in range(3):
            cluster.etcdctl("put", "/registry/configmaps/default/changed", f"value {number}")
        cluster.etcdctl("del", "/registry/configmaps/default/changed")
        revision = cluster.status(f"{cluster.name}-cp1")["header"]["revision"]
        cluster.etcdctl("compact", str(revision), json=False)
        cluster.etcdctl("put", "/registry/configmaps/default/later", "a value after it")
        if kind == "nospace":
            with contextlib.suppress(LoopbackError):
                for number in range(40):
                    cluster.etcdctl(
                        "put", f"/fill/{number}", stdin=os.urandom(350_000).hex().encode()
                    )
            assert "NOSPACE" in cluster.etcdctl("alarm", "list", json=False)


@contextlib.contextmanager
def _as_root(cluster: Cluster) -> t.Iterator[None]:
    """Have modules log in as etcd's root where its users are on."""
    if cluster.auth:
        os.environ["ETCDCTL_USER"] = f"root:{cluster.password}"
    try:
        yield
    finally:
        os.environ.pop("ETCDCTL_USER", None)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Entries, made when first asked for."""
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def work_dir() -> t.Iterator[Path]:
    """A work folder that others may pass through, as /var/tmp is; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="etcd-drill-lab-", dir="/var/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
