# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against gRPC servers that misbehave as a real etcd does on a bad day.

What a healthy etcd answers is tested in tests/integration/test_etcd_info.py.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
import typing as t

import etcd3.etcdrpc as rpc
import grpc
import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    AuthenticationFailed,
    EndpointError,
    EndpointTimeout,
    EndpointUnreachable,
    NoQuorum,
    NotEtcd,
    RevisionUnavailable,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.client import Client
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.connection import Connection
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.wire import Piece

BLOB = b"x" * 32768
Serve = t.Callable[[t.Any, grpc.ServicerContext], t.Any]


class Maintenance(rpc.MaintenanceServicer):
    """Does what a test says."""

    def __init__(self, snapshot: Serve | None = None, status: Serve | None = None) -> None:
        self._snapshot = snapshot
        self._status = status
        self.ended = threading.Event()

    def Snapshot(self, request: t.Any, context: grpc.ServicerContext) -> t.Any:
        context.add_callback(self.ended.set)
        assert self._snapshot
        yield from self._snapshot(request, context)

    def Status(self, request: t.Any, context: grpc.ServicerContext) -> t.Any:
        assert self._status
        return self._status(request, context)


class Auth(rpc.AuthServicer):
    """Gives out numbered tokens."""

    def __init__(self) -> None:
        self.given = 0

    def Authenticate(self, request: t.Any, context: grpc.ServicerContext) -> t.Any:
        if (request.name, request.password) != ("root", "secret"):
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "etcdserver: authentication failed, invalid user ID or password",
            )
        self.given += 1
        return rpc.AuthenticateResponse(token=f"token-{self.given}")


@contextlib.contextmanager
def serving(maintenance: Maintenance, auth: Auth | None = None) -> t.Iterator[str]:
    pool = concurrent.futures.ThreadPoolExecutor(8)
    server = grpc.server(pool)
    rpc.add_MaintenanceServicer_to_server(maintenance, server)
    if auth:
        rpc.add_AuthServicer_to_server(auth, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
        pool.shutdown(wait=False)


def drain(url: str, **limits: float) -> int:
    connection = Connection((url,), command_timeout=2, user=None)
    with Client(connection, url) as client:
        stream = client.snapshot(
            idle_timeout=limits.get("idle", 0.5), deadline=limits.get("deadline", 10)
        )
        return sum(len(blob) for blob in stream)


@pytest.mark.parametrize(
    ("remaining", "blob", "version"),
    [(0, b"", ""), (1 << 62, BLOB, ""), (300, b"\x00" * 32768, "3.6.0"), (0, b"x", "3.7.0")],
)
def test_piece_is_what_the_stubs_read(remaining: int, blob: bytes, version: str) -> None:
    message = rpc.SnapshotResponse(remaining_bytes=remaining, blob=blob).SerializeToString()
    if version:
        message += bytes([0x22, len(version)]) + version.encode()
    piece = Piece.from_bytes(message)
    assert (piece.remaining_bytes, bytes(piece.blob), piece.version) == (remaining, blob, version)


def test_snapshot_whole_is_every_blob() -> None:
    def send(_request: t.Any, _context: t.Any) -> t.Any:
        for left in range(9, -1, -1):
            yield rpc.SnapshotResponse(remaining_bytes=left, blob=BLOB)

    with serving(Maintenance(send)) as url:
        assert drain(url) == 10 * len(BLOB)


def test_snapshot_of_empty_blobs_for_ever_is_given_up() -> None:
    def send(_request: t.Any, context: grpc.ServicerContext) -> t.Any:
        yield rpc.SnapshotResponse(remaining_bytes=100, blob=BLOB)
        while context.is_active():
            time.sleep(0.005)
            yield rpc.SnapshotResponse(remaining_bytes=100, blob=b"")

    maintenance = Maintenance(send)
    with serving(maintenance) as url:
        start = time.monotonic()
        with pytest.raises(EndpointTimeout, match=r"no bytes came for 0\.5 s") as caught:
            drain(url)
        assert time.monotonic() - start < 3
        assert url in str(caught.value)
        assert maintenance.ended.wait(3), "the server was told that nobody listens any more"


def test_snapshot_that_hangs_is_given_up() -> None:
    def send(_request: t.Any, context: grpc.ServicerContext) -> t.Any:
        yield rpc.SnapshotResponse(remaining_bytes=100, blob=BLOB)
        while context.is_active():
            time.sleep(0.02)

    with serving(Maintenance(send)) as url, pytest.raises(EndpointTimeout, match="no bytes came"):
        drain(url)


def test_snapshot_that_trickles_ends_at_its_deadline() -> None:
    def send(_request: t.Any, context: grpc.ServicerContext) -> t.Any:
        while context.is_active():
            time.sleep(0.05)
            yield rpc.SnapshotResponse(remaining_bytes=100, blob=b"y")

    with serving(Maintenance(send)) as url:
        start = time.monotonic()
        with pytest.raises(EndpointTimeout, match="not complete 1 s after its start"):
            drain(url, deadline=1)
        assert time.monotonic() - start < 4


def test_snapshot_reader_that_is_slow_itself_is_no_idle_stream() -> None:
    def send(_request: t.Any, _context: t.Any) -> t.Any:
        for _turn in range(3):
            yield rpc.SnapshotResponse(remaining_bytes=1, blob=BLOB)

    with serving(Maintenance(send)) as url:
        connection = Connection((url,))
        with Client(connection, url) as client:
            count = 0
            for _blob in client.snapshot(idle_timeout=0.3, deadline=30):
                time.sleep(0.6)  # a disk that is full of work
                count += 1
        assert count == 3


def test_snapshot_left_in_the_middle_frees_the_server() -> None:
    def send(_request: t.Any, context: grpc.ServicerContext) -> t.Any:
        while context.is_active():
            yield rpc.SnapshotResponse(remaining_bytes=1, blob=BLOB)

    maintenance = Maintenance(send)
    with serving(maintenance) as url, Client(Connection((url,)), url) as client:
        stream = iter(client.snapshot(idle_timeout=5, deadline=60))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert maintenance.ended.wait(3)


def test_snapshot_cut_in_the_middle_names_the_endpoint() -> None:
    def send(_request: t.Any, context: grpc.ServicerContext) -> t.Any:
        yield rpc.SnapshotResponse(remaining_bytes=100, blob=BLOB)
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    with serving(Maintenance(send)) as url:
        with pytest.raises(EndpointUnreachable) as caught:
            drain(url)
        assert url in str(caught.value)


def failing(code: grpc.StatusCode, details: str) -> Maintenance:
    def status(_request: t.Any, context: grpc.ServicerContext) -> t.Any:
        context.abort(code, details)

    return Maintenance(status=status)


@pytest.mark.parametrize(
    ("code", "details", "error"),
    [
        ("UNAVAILABLE", "etcdserver: no leader", NoQuorum),
        ("UNAVAILABLE", "etcdserver: request timed out", NoQuorum),
        ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted",
         RevisionUnavailable),
        ("OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision",
         RevisionUnavailable),
        ("INVALID_ARGUMENT", "etcdserver: user name is empty", AuthenticationFailed),
        ("PERMISSION_DENIED", "etcdserver: permission denied", AuthenticationFailed),
        ("UNAVAILABLE", "etcdserver: rpc not supported for learner", EndpointError),
        ("UNIMPLEMENTED", "unknown service etcdserverpb.Maintenance", NotEtcd),
        ("PERMISSION_DENIED", "Received http2 header with status: 403", NotEtcd),
        ("UNAVAILABLE", "Socket closed", EndpointUnreachable),
        ("INTERNAL", "something else", EndpointError),
    ],
)  # fmt: skip
def test_error_is_named_for_the_fact(code: str, details: str, error: type[Exception]) -> None:
    with serving(failing(grpc.StatusCode[code], details)) as url:
        with Client(Connection((url,)), url) as client, pytest.raises(EndpointError) as caught:
            client.status()
        assert caught.type is error
        assert url in str(caught.value)
        assert "read the status" in str(caught.value)


def test_token_that_ran_out_is_renewed_once() -> None:
    auth = Auth()

    def status(_request: t.Any, context: grpc.ServicerContext) -> t.Any:
        token = dict(context.invocation_metadata())["token"]
        if token == "token-1":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token")
        return rpc.StatusResponse(version="3.4.0")

    with serving(Maintenance(status=status), auth) as url:
        connection = Connection((url,), user="root", password="secret")
        with Client(connection, url) as client:
            assert client.status().version == "3.4.0"
            assert client.status().version == "3.4.0"
    assert auth.given == 2


def test_token_that_is_never_good_fails_by_name() -> None:
    auth = Auth()
    maintenance = failing(grpc.StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token")
    with serving(maintenance, auth) as url:
        connection = Connection((url,), user="root", password="secret")
        with Client(connection, url) as client, pytest.raises(AuthenticationFailed, match="'root'"):
            client.status()
    assert auth.given == 2


def test_token_that_ran_out_before_a_snapshot_is_renewed() -> None:
    def send(_request: t.Any, context: grpc.ServicerContext) -> t.Any:
        if dict(context.invocation_metadata())["token"] == "token-1":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token")
        yield rpc.SnapshotResponse(remaining_bytes=0, blob=BLOB)

    with serving(Maintenance(send), Auth()) as url:
        connection = Connection((url,), user="root", password="secret")
        with Client(connection, url) as client:
            stream = client.snapshot(idle_timeout=5, deadline=30)
            assert b"".join(stream) == BLOB


def test_password_is_in_no_message_and_no_repr() -> None:
    with serving(Maintenance(), Auth()) as url:
        connection = Connection((url,), user="root", password="wr0ng-secret")
        assert "wr0ng-secret" not in repr(connection)
        with pytest.raises(AuthenticationFailed) as caught, Client(connection, url):
            raise AssertionError("logged in")
        assert "wr0ng-secret" not in str(caught.value)
