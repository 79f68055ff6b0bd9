# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write many keys into an etcd quickly: transactions of up to 128 puts and deletions."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

if t.TYPE_CHECKING:
    from lab.loopback import Cluster

MAX_OPERATIONS = 128
"""etcd's --max-txn-ops."""
MAX_BYTES = 1_000_000
"""Below etcd's --max-request-bytes, 1.5 MiB."""
LEASE_SECONDS = 7200
"""No recorded lease gets less here: keys that vanish during a test help nobody."""


@dataclass(frozen=True)
class Change:
    """A put, or with no value a deletion. `lease` is the recorded lease's name, or empty."""

    key: bytes
    value: bytes | None
    lease: str


@dataclass(frozen=True)
class Target:
    """An etcd endpoint, host:port, and the files to reach it with."""

    endpoint: str
    cacert: Path
    cert: Path
    key: Path
    user: str = ""
    password: str = ""

    @classmethod
    def of(cls, cluster: Cluster | Target) -> Target:
        """Return the target itself, or the first running member of the cluster."""
        if isinstance(cluster, Target):
            return cluster
        endpoint = next(member.endpoint for member in cluster.members.values() if member.running)
        files = cluster.environment([endpoint])
        return cls(
            endpoint=endpoint.partition("//")[2],
            cacert=Path(files["ETCDCTL_CACERT"]),
            cert=Path(files["ETCDCTL_CERT"]),
            key=Path(files["ETCDCTL_KEY"]),
            user="root" if cluster.auth else "",
            password=cluster.password,
        )


def write(target: Target, changes: t.Iterable[Change], lease_seconds: dict[str, int]) -> int:
    """Apply the changes in order; return the revision after the last one."""
    # etcd3's generated code needs this before the first import of google.protobuf
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    import grpc
    from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc

    credentials = grpc.ssl_channel_credentials(
        target.cacert.read_bytes(), target.key.read_bytes(), target.cert.read_bytes()
    )
    with grpc.secure_channel(target.endpoint, credentials) as channel:
        kv, leases = rpc_pb2_grpc.KVStub(channel), rpc_pb2_grpc.LeaseStub(channel)
        granted: dict[str, int] = {"": 0}
        token: list[tuple[str, str]] = []
        if target.user:
            ask = rpc_pb2.AuthenticateRequest(name=target.user, password=target.password)
            answer = rpc_pb2_grpc.AuthStub(channel).Authenticate(ask, timeout=60)
            token = [("token", answer.token)]

        def operation(change: Change) -> t.Any:
            if change.value is None:
                delete = rpc_pb2.DeleteRangeRequest(key=change.key)
                return rpc_pb2.RequestOp(request_delete_range=delete)
            if change.lease not in granted:
                seconds = max(lease_seconds[change.lease], LEASE_SECONDS)
                wish = rpc_pb2.LeaseGrantRequest(TTL=seconds)
                granted[change.lease] = leases.LeaseGrant(wish, timeout=60, metadata=token).ID
            lease = granted[change.lease]
            put = rpc_pb2.PutRequest(key=change.key, value=change.value, lease=lease)
            return rpc_pb2.RequestOp(request_put=put)

        revision = 0
        for batch in batches(changes):
            wish = rpc_pb2.TxnRequest(success=[operation(change) for change in batch])
            revision = int(kv.Txn(wish, timeout=60, metadata=token).header.revision)
    return revision


def batches(changes: t.Iterable[Change]) -> t.Iterator[list[Change]]:
    """Cut the changes into transactions; one transaction can't hold a key twice."""
    batch: list[Change] = []
    keys: set[bytes] = set()
    size = 0
    for change in changes:
        length = len(change.key) + len(change.value or b"")
        full = len(batch) == MAX_OPERATIONS or size + length > MAX_BYTES
        if batch and (full or change.key in keys):
            yield batch
            batch, keys, size = [], set(), 0
        batch.append(change)
        keys.add(change.key)
        size += length
    if batch:
        yield batch
