# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""etcd's KeyValue message (api/mvccpb/kv.proto)."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._protobuf import (
    WireError,
    fields,
    spans,
    varint,
)

if t.TYPE_CHECKING:
    import mmap

    Source = t.Union[bytes, mmap.mmap]

__all__ = [
    "REWRITTEN",
    "Found",
    "KeyValue",
    "found_at",
    "key_of",
    "message_key",
    "numbers_at",
    "parse_key_value",
    "value_size",
]

_KEY_TAG = 0x0A
# What follows the key in a message as etcd writes it: create_revision, mod_revision, version,
# value's length; a field that is 0 is left out. The lease stands behind the value.
_V = rb"([\x80-\xff]{0,9}[\x00-\x7f])"
_HEAD = re.compile(
    rb"(?:\x10" + _V + rb")?(?:\x18" + _V + rb")?(?:\x20" + _V + rb")?(?:\x2a" + _V + rb")?"
)
# The same up to a version above 1.
REWRITTEN = re.compile(
    rb"\x10[\x80-\xff]{0,9}[\x00-\x7f]\x18[\x80-\xff]{0,9}[\x00-\x7f]"
    rb"\x20([\x80-\xff]{1,9}[\x00-\x7f]|[\x02-\x7f])"
)
_LEASE = re.compile(rb"\x30" + _V + rb"\Z")


def key_of(message: bytes) -> bytes:
    """Return the key of a KeyValue message; empty as for the row that `--bump-revision` adds."""
    key: int | bytes = b""
    for number, value in fields(message):
        if number == 1:
            key = value
    if not isinstance(key, bytes):
        raise WireError("field 1, the key, is a number")
    return key


def message_key(source: Source, start: int, end: int) -> bytes:
    """Return the key of the message in bytes `start` to `end`, as `key_of` does.

    :raises WireError: it is not a KeyValue.
    """
    if end - start > 1 and source[start] == _KEY_TAG and source[start + 1] < 0x80:
        key_end = start + 2 + source[start + 1]
        if key_end <= end:
            return source[start + 2 : key_end]
    return key_of(source[start:end])


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


class KeyValue:
    """One live key; everything but the key is read when asked for."""

    __slots__ = ("_numbers", "_source", "key", "value_end", "value_start")

    def __init__(
        self,
        key: bytes,
        source: Source,
        span: tuple[int, int],
        numbers: tuple[bytes | None, bytes | None, bytes | None, bytes | None],
    ) -> None:
        self.key = key
        self._source = source
        self.value_start, self.value_end = span
        self._numbers = numbers

    @property
    def value(self) -> bytes:
        """The value's bytes."""
        return self._source[self.value_start : self.value_end]

    def starts(self, size: int) -> bytes:
        """Return the first `size` bytes of the value."""
        return self._source[self.value_start : min(self.value_start + size, self.value_end)]

    def _number(self, index: int) -> int:
        raw = self._numbers[index]
        return _signed(varint(raw)[0]) if raw else 0

    @property
    def create_revision(self) -> int:
        """The revision that made the key."""
        return self._number(0)

    @property
    def mod_revision(self) -> int:
        """The revision that wrote this value."""
        return self._number(1)

    @property
    def version(self) -> int:
        """How often the key was written since it was made."""
        return self._number(2)

    @property
    def lease(self) -> int:
        """The lease's ID, 0 for none."""
        return self._number(3)


class Found(t.NamedTuple):
    """A live key whose value starts at a known place, and nothing else of it."""

    key: bytes
    source: Source
    value_start: int
    end: int

    def starts(self, size: int) -> bytes:
        """Return the first `size` bytes of the value."""
        return self.source[self.value_start : min(self.value_start + size, self.end)]


def numbers_at(start: int, *, key_size: int) -> int:
    """Return where a message that starts at `start` goes on behind its key, as etcd writes it."""
    return start + key_size + (2 if key_size < 0x80 else 1 + (key_size.bit_length() + 6) // 7)


def found_at(source: Source, start: int, end: int, *, key: bytes, value_start: int) -> Found | None:
    """Return the message in bytes `start` to `end` if, as etcd writes it, its value is where told."""
    key_end = numbers_at(start, key_size=len(key))
    if source[start] != _KEY_TAG or source[key_end - len(key) : key_end] != key:
        return None
    head = _HEAD.fullmatch(source, key_end, value_start)
    if head is None or head[4] is None or value_start + varint(head[4])[0] > end:
        return None
    return Found(key, source, value_start, end)


def value_size(source: Source, start: int, end: int, *, key_size: int) -> int | None:
    """Return the size of a message's value if the message is as etcd writes it, without a lease."""
    head = _HEAD.match(source, numbers_at(start, key_size=key_size), end)
    if head is None or head[4] is None or source[start] != _KEY_TAG:
        return None
    size = varint(head[4])[0]
    return size if head.end() + size == end else None


def parse_key_value(source: Source, start: int, end: int) -> KeyValue:
    """Read the message in bytes `start` to `end`.

    :raises WireError: it is not a KeyValue.
    """
    if end - start > 1 and source[start] == _KEY_TAG and source[start + 1] < 0x80:
        key_start = start + 2
        key_end = key_start + source[start + 1]
        head = _HEAD.match(source, key_end, end) if key_end <= end else None
        if head is not None:
            create, mod, version, size = head.groups()
            value_start = head.end()
            value_end = value_start + (varint(size)[0] if size else 0)
            if value_end == end:
                key = source[key_start:key_end]
                return KeyValue(key, source, (value_start, value_end), (create, mod, version, None))
            if value_end < end:
                lease = _LEASE.match(source, value_end, end)
                if lease is not None:
                    key = source[key_start:key_end]
                    return KeyValue(
                        key,
                        source,
                        (value_start, value_end),
                        (create, mod, version, lease.group(1)),
                    )
    return _parse_any(source, start, end)


def _parse_any(source: Source, start: int, end: int) -> KeyValue:
    """Read a message in any order of fields."""
    message = source[start:end]
    key = b""
    span = (end, end)
    numbers: list[bytes | None] = [None, None, None, None]
    for number, wire_type, first, last in spans(message):
        place = {2: 0, 3: 1, 4: 2, 6: 3}.get(number)
        if place is not None and wire_type == 0:
            numbers[place] = message[first:last]
        elif number == 1 and wire_type == 2:
            key = message[first:last]
        elif number == 5 and wire_type == 2:
            span = (start + first, start + last)
    return KeyValue(key, source, span, (numbers[0], numbers[1], numbers[2], numbers[3]))
