# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The little of protobuf's wire format (protobuf.dev/programming-guides/encoding) that etcd's messages take."""

from __future__ import annotations

import typing as t

__all__ = ["WireError", "fields", "spans", "varint"]

# SnapshotResponse, KeyValue and AlarmMember have two to six; a message of millions of empty ones
# must not take hours.
_MAX_FIELDS = 64


class WireError(ValueError):
    """Bytes are not a protobuf message."""


def varint(data: bytes, at: int = 0) -> tuple[int, int]:
    """Return the varint at `at` and the offset behind it."""
    value = shift = 0
    for index in range(at, min(at + 10, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, index + 1
        shift += 7
    raise WireError(f"a varint at byte {at} does not end")


def spans(data: bytes) -> t.Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, start and end of each field's content."""
    at = count = 0
    while at < len(data):
        count += 1
        if count > _MAX_FIELDS:
            raise WireError(f"it has more than {_MAX_FIELDS} fields")
        tag, at = varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise WireError(f"field number 0 before byte {at}")
        start = at
        if wire_type == 0:
            _value, at = varint(data, at)
        elif wire_type == 2:
            size, start = varint(data, at)
            at = start + size
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        else:
            raise WireError(f"field {number} has wire type {wire_type}")
        if at > len(data):
            raise WireError(
                f"field {number} takes {at - start} bytes, {len(data) - start} are left"
            )
        yield number, wire_type, start, at


def fields(data: bytes) -> t.Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field: int for varints, bytes for others."""
    for number, wire_type, start, end in spans(data):
        yield number, data[start:end] if wire_type else varint(data, start)[0]
