# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""gRPC's errors as ours: one context manager, the most specific class wins.

etcd's codes and texts stand in its api/v3rpc/rpctypes/error.go.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    AuthenticationFailed,
    EndpointError,
    EndpointTimeout,
    EndpointUnreachable,
    NoQuorum,
    NotEtcd,
    RevisionUnavailable,
)

from .connection import Connection, Endpoint
from .diagnose import diagnose

__all__ = ["map_grpc_errors", "token_is_stale"]

# Texts of etcd that mean: this member has no leader to ask.
_NO_LEADER = (
    "etcdserver: no leader",
    "etcdserver: leader changed",
    "etcdserver: request timed out",
    "etcdserver: not leader",
)
_LEARNER = "rpc not supported for learner"
_AUTH = (
    "etcdserver: user name is empty",
    "etcdserver: user name not found",
    "etcdserver: authentication failed",
    "etcdserver: permission denied",
    "etcdserver: invalid auth token",
    "etcdserver: revision of auth store is old",
)
_STALE_TOKEN = ("etcdserver: invalid auth token", "etcdserver: revision of auth store is old")
_REVISION = ("required revision has been compacted", "required revision is a future revision")


def token_is_stale(exc: Exception) -> bool:
    """Tell whether logging in again may mend this gRPC error."""
    details = exc.details() if hasattr(exc, "details") else ""
    return any(text in (details or "") for text in _STALE_TOKEN)


@contextlib.contextmanager
def map_grpc_errors(
    what: str, connection: Connection, endpoint: Endpoint, *, seconds: float
) -> t.Iterator[None]:
    """Turn a gRPC error of `what` (a phrase for messages) at `endpoint` into an EndpointError.

    `seconds` is the deadline that was set, for the message.
    """
    grpc = _deps.load("grpc")
    try:
        yield
    except grpc.RpcError as exc:
        raise _mapped(exc, what, connection, endpoint, seconds) from exc


def _mapped(
    exc: t.Any, what: str, connection: Connection, endpoint: Endpoint, seconds: float
) -> EndpointError:
    code, details = exc.code().name, exc.details() or ""
    start = f"Cannot {what} at etcd {endpoint.url}"
    if "http2 header with status" in details or code == "UNIMPLEMENTED":
        return NotEtcd(
            f"{start}: something answers there, but not as etcd does ({details}).",
            hint="Name etcd's client URL, usually port 2379; 6443 is the Kubernetes API server.",
            endpoint=endpoint.url,
        )
    if _LEARNER in details:
        return EndpointError(
            f"{start}: the member is a learner, which answers few requests.",
            hint="Ask a voting member, or promote this one.",
            endpoint=endpoint.url,
        )
    if any(text in details for text in _NO_LEADER):
        return NoQuorum(
            f"{start}: the member has no leader ({details}).",
            hint="Bring enough members back for a majority.",
            endpoint=endpoint.url,
        )
    if any(text in details for text in _REVISION):
        return RevisionUnavailable(f"{start}: {details}.", endpoint=endpoint.url)
    if any(text in details for text in _AUTH) or code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        who = f"user {connection.user!r}" if connection.user else "no user"
        return AuthenticationFailed(
            f"{start}: etcd's own authentication refused it with {who}: {details}.",
            hint="Set user and password of an etcd user with role root: nothing less may take "
            "a snapshot.",
            endpoint=endpoint.url,
        )
    if code == "DEADLINE_EXCEEDED":
        return EndpointTimeout(
            f"{start}: no answer within {seconds:g} s.",
            hint="Look whether the member hangs or its disk is slow; command_timeout sets the "
            "limit for short requests.",
            endpoint=endpoint.url,
        )
    if code in ("UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED"):
        found = diagnose(connection, endpoint)
        if found is not None:
            return found
    if code == "UNAVAILABLE":
        return EndpointUnreachable(
            f"{start}: the connection ended ({details}).",
            hint="Look at the member's log: it may just have stopped.",
            endpoint=endpoint.url,
        )
    return EndpointError(f"{start}: {code}: {details}.", endpoint=endpoint.url)
