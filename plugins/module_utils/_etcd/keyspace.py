# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The keys of one member over gRPC: counted, listed by the page, read, written, deleted."""

from __future__ import annotations

import dataclasses
import itertools
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import NotEtcd

if t.TYPE_CHECKING:
    from .client import Client

__all__ = ["ALL", "Keyspace", "Page", "Span", "below"]

# RangeRequest: from the least key to the greatest.
_FIRST = b"\0"
_NO_END = b"\0"
_DEACTIVATE = 2  # AlarmRequest.AlarmAction
_RANGE, _PUT, _DELETE = "Range", "Put", "DeleteRange"


@dataclasses.dataclass(frozen=True)
class Span:
    """Keys from `start` up to, without, `end`."""

    start: bytes
    end: bytes

    def split(self, fences: t.Sequence[bytes]) -> t.Iterator[Span]:
        """Yield the spans between those of the keys (in their order) that lie within this one.

        etcd walks over all keys up to the end of what is asked for, whatever its limit, to count
        them (server/storage/mvcc/index.go, Revisions): pages of a long span take quadratic time.
        """
        start = self.start
        for fence in fences:
            if fence > start and (self.end == _NO_END or fence < self.end):
                yield Span(start, fence)
                start = fence
        yield Span(start, self.end)


ALL = Span(_FIRST, _NO_END)


def below(prefix: bytes) -> Span:
    """Return the span of all keys that begin with `prefix` (clientv3, GetPrefixRangeEnd)."""
    cut = prefix.rstrip(b"\xff")
    return Span(prefix, cut[:-1] + bytes([cut[-1] + 1]) if cut else _NO_END)


class Page(t.NamedTuple):
    """Some keys in their order, and their values; these are empty where only keys were asked."""

    keys: list[bytes]
    values: list[bytes]
    more: bool


class Keyspace:
    """One member's keys, as it has them itself.

    :param revision: of which all reads are; 0 for the newest.
    :param timeout: seconds for one request.
    """

    def __init__(self, client: Client, *, revision: int = 0, timeout: float = 60.0) -> None:
        self._client = client
        self._revision = revision
        self._timeout = timeout

    def count(self, span: Span = ALL) -> int:
        """Return how many keys there are."""
        answer = self._read("count the keys", span, count_only=True)
        return next((value for number, value in _fields(answer) if number == 4), 0)

    def pages(self, span: Span = ALL, *, limit: int, keys_only: bool) -> t.Iterator[Page]:
        """Yield the keys, `limit` at a time; etcd holds the values of a page in memory."""
        start = span.start
        while True:
            answer = self._read(
                "list the keys", Span(start, span.end), limit=limit, keys_only=keys_only
            )
            page = _page(answer, keys_only=keys_only)
            if page.keys:
                yield page
            if not page.more or not page.keys:
                return
            start = page.keys[-1] + b"\0"

    def get(self, key: bytes) -> bytes | None:
        """Return a key's value; None if it is not there."""
        page = _page(self._read("read a key", Span(key, b"")))
        return page.values[0] if page.keys else None

    def put(self, key: bytes, value: bytes) -> None:
        """Write a key."""
        request = self._messages().PutRequest(key=key, value=value)
        self._call("write a key", _PUT, request)

    def delete(self, key: bytes) -> int:
        """Delete a key; return how many were there: 1 or 0."""
        request = self._messages().DeleteRangeRequest(key=key)
        answer = self._call("delete a key", _DELETE, request)
        # DeleteRangeResponse.deleted
        return next((value for number, value in _fields(answer) if number == 2), 0)

    def disarm(self, member_id: str, alarm: str) -> None:
        """Take an alarm back, as `etcdctl alarm disarm` does."""
        messages = self._messages()
        request = messages.AlarmRequest(
            action=_DEACTIVATE,
            memberID=int(member_id, 16),
            alarm=messages.AlarmType.Value(alarm) if alarm in ("NOSPACE",) else 2,  # CORRUPT
        )
        self._client.raw(
            f"disarm alarm {alarm}", "Maintenance/Alarm", request.SerializeToString(), self._timeout
        )

    def _read(self, what: str, span: Span, **options: t.Any) -> bytes:
        request = self._messages().RangeRequest(
            key=span.start,
            range_end=span.end,
            revision=self._revision,
            serializable=True,
            **options,
        )
        return self._call(what, _RANGE, request)

    def _call(self, what: str, method: str, request: t.Any) -> bytes:
        return self._client.raw(what, f"KV/{method}", request.SerializeToString(), self._timeout)

    def _messages(self) -> t.Any:
        return _deps.load("etcd3.etcdrpc.rpc_pb2")


# The stubs' own parser, in pure Python, takes some 30 times as long for a page of keys; the wire
# format is that of protobuf.dev/programming-guides/encoding.
def _fields(data: bytes) -> t.Iterator[tuple[int, t.Any]]:
    """Yield number and value of a message's fields."""
    at, end = 0, len(data)
    try:
        while at < end:
            tag, at = _varint(data, at)
            number, kind = tag >> 3, tag & 7
            if kind == 0:
                value, at = _varint(data, at)
                yield number, value
            elif kind == 2:
                size, at = _varint(data, at)
                if at + size > end:
                    raise IndexError
                yield number, data[at : at + size]
                at += size
            else:
                raise IndexError
    except IndexError as exc:
        raise NotEtcd("An answer of etcd is no message of its protocol.") from exc


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7


def _page(answer: bytes, *, keys_only: bool = False) -> Page:
    """Read a RangeResponse: kvs = 2 (mvccpb.KeyValue: key = 1, value = 5), more = 3."""
    keys: list[bytes] = []
    values: list[bytes] = []
    more = False
    for number, body in _fields(answer):
        if number == 3:
            more = bool(body)
        elif number == 2:
            # Fields are written in their order (api/mvccpb/kv.pb.go): the key is first.
            found = dict(itertools.islice(_fields(body), 1)) if keys_only else dict(_fields(body))
            keys.append(found.get(1, b""))
            values.append(found.get(5, b""))
    return Page(keys, values, more)
