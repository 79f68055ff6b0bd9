# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""One member over gRPC: the only user of etcd3's stubs."""

from __future__ import annotations

import threading
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EndpointTimeout,
    NoQuorum,
)

from .connection import Connection, Endpoint, TlsFiles
from .diagnose import diagnose
from .errors import map_grpc_errors, token_is_stale
from .wire import Alarm, HashKv, Member, Piece, Status, member_id, unknown_fields

__all__ = ["Client", "SnapshotStream"]

_LINEARIZABLE = b"\x08\x01"  # MemberListRequest.linearizable (field 1, since etcd 3.5) = true
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # A stream is read by the thread that wants it: a quarter less processor time than by gRPC's
    # own (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream).
    ("SingleThreadedUnaryStream", 1),
    # What may be on its way unread. gRPC's own measure of it lets it grow to 100 MiB and more in
    # our memory when the disk is slower than etcd.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4 << 20),
)


class Client:
    """A connection to one endpoint, closed by leaving its `with` block.

    Entering it connects (bounded by dial_timeout) and logs in where a user is set. Every method
    raises an EndpointError that names the endpoint.
    """

    def __init__(self, connection: Connection, endpoint: str) -> None:
        self._connection = connection
        self._endpoint = Endpoint.parse(endpoint)
        self._channel: t.Any = None
        self._metadata: tuple[tuple[str, str], ...] = ()

    @property
    def endpoint(self) -> str:
        """The client URL that this client speaks with."""
        return self._endpoint.url

    def __enter__(self) -> Client:
        grpc = _deps.load("grpc")
        if self._endpoint.tls:
            files = TlsFiles.read(self._connection, self._endpoint.url)
            credentials = grpc.ssl_channel_credentials(files.cacert, files.key, files.cert)
            self._channel = grpc.secure_channel(
                self._endpoint.target, credentials, options=_CHANNEL_OPTIONS
            )
        else:
            self._channel = grpc.insecure_channel(self._endpoint.target, options=_CHANNEL_OPTIONS)
        try:
            self._dial()
            self._login()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        # By a thread, where no signal's exception can break it off: a channel that is closed half
        # makes grpc wait for ever when it is freed (_channel.py, _ChannelCallState.__del__). It
        # takes 0.2 s, for which the interpreter waits at its end, and nobody before.
        threading.Thread(target=self._channel.close).start()

    def status(self, timeout: float | None = None) -> Status:
        """Return the member's own state; needs no quorum."""
        rpc = self._stubs().MaintenanceStub(self._channel).Status
        request = self._messages().StatusRequest()
        return Status.from_message(self._call("read the status", rpc, request, timeout))

    def alarms(self) -> tuple[Alarm, ...]:
        """Return the alarms that are raised, as this member knows them.

        Taken from the status: the Alarm request itself goes through raft, so it would write to
        the log, and hang without quorum.
        """
        return self.status().alarms

    def members(self, *, linearizable: bool = False) -> tuple[Member, ...]:
        """Return the member list; as this member knows it, so that it needs no quorum.

        With `linearizable` a leader confirms it (etcd 3.5 and later; older ones always answer
        from what they know).
        """
        rpc = self._channel.unary_unary(
            "/etcdserverpb.Cluster/MemberList",
            request_serializer=bytes,
            response_deserializer=self._messages().MemberListResponse.FromString,
        )
        answer = self._call("list the members", rpc, _LINEARIZABLE if linearizable else b"", None)
        return tuple(Member.from_message(message) for message in answer.members)

    def hash_kv(self, revision: int, timeout: float | None = None) -> HashKv:
        """Hash the key space up to `revision`; puts on this member wait meanwhile.

        :raises RevisionUnavailable: the revision is compacted there, or not reached yet.
        """
        rpc = self._stubs().MaintenanceStub(self._channel).HashKV
        request = self._messages().HashKVRequest(revision=revision)
        answer = self._call(f"hash the keys at revision {revision}", rpc, request, timeout)
        return HashKv(
            member_id=member_id(answer.header.member_id),
            hash=answer.hash,
            # HashKVResponse.hash_revision, since 3.6
            hash_revision=unknown_fields(answer).get(4, [revision])[-1],
            compact_revision=answer.compact_revision,
        )

    def linearizable_revision(self) -> int:
        """Return the cluster's revision, confirmed by its leader.

        :raises NoQuorum: the member answers, but has no leader that could confirm it.
        """
        rpc = self._stubs().KVStub(self._channel).Range
        # Any key will do: the revision stands in the answer's header.
        request = self._messages().RangeRequest(key=b"\0", limit=1, keys_only=True)
        try:
            answer = self._call("do a linearizable read", rpc, request, None)
        except EndpointTimeout as exc:
            self.status()  # a member that hangs altogether raises EndpointTimeout here
            raise NoQuorum(
                f"etcd {self.endpoint} got no linearizable read within "
                f"{self._connection.command_timeout:g} s, though the member itself answers: "
                "no majority of the voters confirms it.",
                hint="Bring enough members back for a majority.",
                endpoint=self.endpoint,
            ) from exc
        return int(answer.header.revision)

    def raw(self, what: str, method: str, request: bytes, timeout: float) -> bytes:
        """Make one unary call of `method` (as in KV/Range) with bytes as they are on the wire."""
        rpc = self._channel.unary_unary(
            f"/etcdserverpb.{method}", request_serializer=bytes, response_deserializer=bytes
        )
        answer: bytes = self._call(what, rpc, request, timeout)
        return answer

    def snapshot(self, *, idle_timeout: float, deadline: float) -> SnapshotStream:
        """Start a snapshot stream; give it up when no bytes come for `idle_timeout` seconds, or
        `deadline` seconds after its start.
        """
        rpc = self._channel.unary_stream(
            "/etcdserverpb.Maintenance/Snapshot",
            request_serializer=bytes,
            response_deserializer=Piece.from_bytes,
        )

        def start() -> t.Any:
            # The watchdog holds the deadline; gRPC's own is the net below it.
            return rpc(b"", timeout=deadline + 5, metadata=self._metadata)

        return SnapshotStream(
            start,
            connection=self._connection,
            endpoint=self._endpoint,
            login=self._login,
            idle_timeout=idle_timeout,
            deadline=deadline,
        )

    def _messages(self) -> t.Any:
        return _deps.load("etcd3.etcdrpc.rpc_pb2")

    def _stubs(self) -> t.Any:
        return _deps.load("etcd3.etcdrpc.rpc_pb2_grpc")

    def _dial(self) -> None:
        """Connect, or say why that is not possible."""
        grpc = _deps.load("grpc")
        settled = threading.Event()
        seen: list[t.Any] = []

        def notice(state: t.Any) -> None:
            if state in (
                grpc.ChannelConnectivity.READY,
                grpc.ChannelConnectivity.TRANSIENT_FAILURE,
            ):
                seen.append(state)
                settled.set()

        self._channel.subscribe(notice, try_to_connect=True)
        settled.wait(self._connection.dial_timeout)
        self._channel.unsubscribe(notice)
        if seen and seen[0] == grpc.ChannelConnectivity.READY:
            return
        found = diagnose(self._connection, self._endpoint)
        if found is not None:
            raise found
        if not seen:
            raise EndpointTimeout(
                f"Cannot connect to etcd {self.endpoint} within "
                f"{self._connection.dial_timeout:g} s.",
                hint="Raise dial_timeout if the way there is slow.",
                endpoint=self.endpoint,
            )
        # It failed once and sockets find nothing wrong now: let the first request decide.

    def _login(self) -> None:
        """Take a token for the user, where one is set and etcd's authentication is on."""
        if not self._connection.user:
            return
        grpc = _deps.load("grpc")
        request = self._messages().AuthenticateRequest(
            name=self._connection.user, password=self._connection.password
        )
        timeout = self._connection.command_timeout
        with map_grpc_errors("log in", self._connection, self._endpoint, seconds=timeout):
            try:
                answer = (
                    self._stubs().AuthStub(self._channel).Authenticate(request, timeout=timeout)
                )
            except grpc.RpcError as exc:
                if "authentication is not enabled" in (exc.details() or ""):
                    return  # as etcdctl does: the user is not needed
                raise
        self._metadata = (("token", answer.token),)

    def _call(self, what: str, rpc: t.Any, request: t.Any, timeout: float | None) -> t.Any:
        """Make one unary call; log in again once where the token has run out."""
        seconds = self._connection.command_timeout if timeout is None else timeout
        grpc = _deps.load("grpc")
        with map_grpc_errors(what, self._connection, self._endpoint, seconds=seconds):
            try:
                return rpc(request, timeout=seconds, metadata=self._metadata)
            except grpc.RpcError as exc:
                if not self._connection.user or not token_is_stale(exc):
                    raise
            self._login()
            return rpc(request, timeout=seconds, metadata=self._metadata)


class SnapshotStream:
    """The blobs of one snapshot, read by iterating once.

    The server may send empty blobs for ever, or nothing at all, when its own read failed: a
    watchdog cancels the call then. The time that the reader takes for itself doesn't count.
    """

    def __init__(
        self,
        start: t.Callable[[], t.Any],
        *,
        connection: Connection,
        endpoint: Endpoint,
        login: t.Callable[[], None],
        idle_timeout: float,
        deadline: float,
    ) -> None:
        self._start = start
        self._connection = connection
        self._endpoint = endpoint
        self._login = login
        self._idle_timeout = idle_timeout
        self._deadline = deadline
        self.storage_version: str | None = None
        """SnapshotResponse.version, since etcd 3.6; known after the first blob."""
        self.remaining_bytes: int | None = None
        """What the server says is still to come; known after the first blob."""

    def __iter__(self) -> t.Iterator[memoryview]:
        grpc = _deps.load("grpc")
        what, ends = "take a snapshot", _time.monotonic() + self._deadline
        with map_grpc_errors(what, self._connection, self._endpoint, seconds=self._deadline):
            started = False
            try:
                for blob in self._blobs(ends):
                    started = True
                    yield blob
                return
            except grpc.RpcError as exc:
                if started or not self._connection.user or not token_is_stale(exc):
                    raise
            self._login()
            yield from self._blobs(ends)

    def _blobs(self, ends: float) -> t.Iterator[memoryview]:
        grpc = _deps.load("grpc")
        call = self._start()
        with _Watchdog(call, ends) as watchdog:
            while True:
                watchdog.expect(self._idle_timeout)
                piece: Piece | None = None
                while piece is None or not piece.blob:
                    try:
                        piece = t.cast(Piece, next(call))
                    except StopIteration:
                        return
                    except grpc.RpcError as exc:
                        if watchdog.fired:
                            raise self._given_up(ends) from exc
                        raise
                    if self.storage_version is None:
                        self.storage_version = piece.version
                    self.remaining_bytes = piece.remaining_bytes
                watchdog.rest()
                yield piece.blob

    def _given_up(self, ends: float) -> EndpointTimeout:
        if _time.monotonic() >= ends:
            why = f"it was not complete {self._deadline:g} s after its start"
            hint = "Raise the deadline if the db is large and the disk slow."
        else:
            why = f"no bytes came for {self._idle_timeout:g} s"
            hint = "Look at that member's log for a failed read of its db, and at its disk."
        return EndpointTimeout(
            f"Snapshot stream of etcd {self._endpoint.url} was given up: {why}.",
            hint=hint,
            endpoint=self._endpoint.url,
        )


class _Watchdog:
    """Cancel a call when what is expected of it doesn't come in time."""

    def __init__(self, call: t.Any, ends: float) -> None:
        self._call = call
        self._ends = ends
        self._until = ends
        self._wake = threading.Condition()
        self._done = False
        self.fired = False
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        with self._wake:
            self._done = True
            self._wake.notify()
        self._call.cancel()  # a stream left in the middle would hold a read transaction in etcd
        self._thread.join()

    def expect(self, seconds: float) -> None:
        """Fire unless rest() comes within `seconds`."""
        self._until = min(self._ends, _time.monotonic() + seconds)

    def rest(self) -> None:
        """Fire at the end only."""
        self._until = self._ends

    def _watch(self) -> None:
        with self._wake:
            while not self._done:
                left = self._until - _time.monotonic()
                if left <= 0:
                    self.fired = True
                    self._call.cancel()
                    return
                # expect() doesn't wake this thread for each blob: it looks often enough itself.
                self._wake.wait(min(left, 0.25))
