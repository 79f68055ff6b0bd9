# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small archive with real keys, and records of a backup as the modules return them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import io
import os
import subprocess
import typing as t
from pathlib import Path

import pyrage
import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    add,
    assemble,
    names,
    sealing,
    store,
    trust,
)

NOW = dt.datetime(2026, 11, 23, 14, 50, tzinfo=dt.timezone.utc)
IDS = {"cp1": "8e9e05c52164694d", "cp2": "91bc3c398fb3c146", "cp3": "fd422379fda50e48"}


@dataclasses.dataclass
class Bench:
    """An archive folder, its keys, and one cluster's identity; made different by replace()."""

    root: Path
    identity: str
    recipient: str
    signing_key: str
    cluster: str = "prod"
    cluster_id: str = "cdf818194e3a8c32"
    kube_system_uid: str | None = "0c2f2a0e-6d8c-4d55-9d6b-5f0c1a7a9f5e"
    clear: bytes = b"an etcd image, or so\n" * 1000
    more_recipients: tuple[str, ...] = ()

    @property
    def prefix(self) -> names.Prefix:
        return names.Prefix(self.cluster)

    @property
    def place(self) -> store.DirectoryStore:
        return store.DirectoryStore(str(self.root / "archive"))

    @property
    def folder(self) -> Path:
        return self.root / "archive" / self.cluster

    def wish(self, **changes: t.Any) -> add.Wish:
        signing = trust.signing_from_key(self.signing_key)
        wish = add.Wish(
            place=self.place,
            prefix=self.prefix,
            signing=signing,
            signers=trust.Signers.parse(None, default=signing.public_key),
            allow_unsealed=False,
        )
        return dataclasses.replace(wish, **changes)

    def seal(
        self, folder: str, name: str, part: str, clear: bytes, *, sealed: bool = True
    ) -> dict[str, t.Any]:
        """Write a sealed file under a part's folder; return its record."""
        recipients = (self.recipient, *self.more_recipients) if sealed else ()
        name = sealing.sealed_name(name, recipients)
        path = Path(folder, name)
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as target:
            made = sealing.seal(io.BytesIO(clear), target, recipients)
        return {
            "name": name,
            "path": f"/home/ansible/.staging/{name}",
            "part": part,
            "size_bytes": made.size_bytes,
            "sha256": made.sha256,
            "compression": "zstd",
            "encryption": {"scheme": "age" if sealed else "none", "recipients": list(recipients)},
        }

    def records(
        self, folder: str, *, kits: t.Sequence[str] = ("cp1", "cp2", "cp3"), sealed: bool = True
    ) -> assemble.Records:
        """Lay the files of a backup into a part's folder; return what the modules recorded."""
        members = [
            {
                "id": IDS[host],
                "name": host,
                "peer_urls": [f"https://10.0.0.{number}:2380"],
                "client_urls": [f"https://10.0.0.{number}:2379"],
                "is_learner": False,
            }
            for number, host in enumerate(IDS, start=1)
        ]
        snapshot = {
            "changed": True,
            "failed": False,
            "invocation": {"module_args": {"dest_dir": "/tmp"}},
            "mode": "regular",
            "cluster_id": self.cluster_id,
            "members": [
                {**{k: v for k, v in m.items() if k != "is_learner"}, "learner": False}
                for m in members
            ],
            "snapshot": {
                "revision": 18274,
                "compact_revision": -1,
                "hash_kv": "24f1f74c",
                "hash_revision": 18270,
                "hash_compact_revision": -1,
                "db_size_bytes": len(self.clear) - 32,
                "sha256": hashlib.sha256(self.clear[:-32]).hexdigest(),
                "key_count": 1034,
                "entry_count": 1402,
                "status_hash": "e7a6e44b",
                "consistent_index": 20411,
                "linearizable_revision": 18271,
                "source_member": {"id": IDS["cp2"], "name": "cp2"},
            },
            "etcd": {
                "server_version": "3.6.16",
                "cluster_version": "3.6.0",
                "storage_version": "3.6.0",
            },
            "alarms": [],
            "kubernetes": {
                "version": "v1.34.4",
                "etcd_prefix": "/registry",
                "object_count": 987,
                "resources": {"apps/deployments": 41, "secrets": 63},
                "secrets": {"aescbc/key1": 63},
                "kube_system_uid": self.kube_system_uid,
            },
            "files": [
                self.seal(folder, "data.db", "data", self.clear, sealed=sealed),
                self.seal(folder, "catalog.json", "data", b"{}\n", sealed=sealed),
            ],
            "checks": [{"name": "trailer", "result": "passed", "detail": "equal"}],
            "timing": {"stream_seconds": 0.4},
            "warnings": ["NOSPACE is raised"],
        }
        hosts = [
            {
                "host": host,
                "address": f"10.0.0.{number}",
                "info": {
                    "cluster_id": self.cluster_id,
                    "members": members,
                    "local_member": {"id": IDS[host], "name": host},
                    "layout": {"kind": "kubeadm", "data_dir": "/var/lib/etcd", "wal_dir": None},
                    "host": {"data_dir_mount_point": "/"},
                },
            }
            for number, host in enumerate(IDS, start=1)
        ]
        made = [
            {
                "host": host,
                "member_id": IDS[host],
                "result": {
                    "kit": {"present": ["ca.crt", "sa.key"], "missing": []},
                    "files": [
                        self.seal(folder, f"pki/{host}.tar", "pki", host.encode(), sealed=sealed)
                    ],
                    "certificates": [{"name": "ca.crt", "not_after": "2036-11-20T00:00:00Z"}],
                },
            }
            for host in kits
        ]
        return assemble.Records(
            snapshot=snapshot, info=hosts[1]["info"], hosts=tuple(hosts), kits=tuple(made)
        )

    def add(self, *, now: dt.datetime = NOW, **options: t.Any) -> add.Finished:
        """Make a whole entry."""
        wish = self.wish(allow_unsealed=not options.get("sealed", True))
        started = add.start(wish, now=now, really=True)
        election = options.pop("election", {})
        records = self.records(started.path, **options)
        records = dataclasses.replace(records, election=election)
        return add.finish(wish, started.id, records, now=now)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty archive with keys."""
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"{identity}\n")
    os.chmod(tmp_path / "identity", 0o600)
    key = tmp_path / "signing_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return Bench(
        root=tmp_path,
        identity=str(tmp_path / "identity"),
        recipient=str(identity.to_public()),
        signing_key=str(key),
    )
