# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import random
import typing as t

import pytest
from unit.fixtures import bolt_writer

from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.keyvalue import (
    KeyValue,
    key_of,
    parse_key_value,
    value_size,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._protobuf import (
    WireError,
    fields,
    varint,
)


def _parse(message: bytes) -> KeyValue:
    """Parse a message that lies between other bytes."""
    return parse_key_value(b"before" + message + b"behind", 6, 6 + len(message))


@pytest.mark.parametrize(
    "want",
    [
        (b"k", b"v", 1, 2, 3, 0),
        (b"k", b"v" * 300, 1 << 40, (1 << 62) + 5, 1, 0x7FFFFFFFFFFFFFFF),
        (b"k" * 200, b"", 5, 6, 7, 0),
        (b"k" * 127, b"\x30\x01", 5, 6, 7, 9),
        (b"k", b"", 0, 0, 0, 0),
        (b"", b"v", 1, 1, 1, 0),
    ],
    ids=["plain", "large numbers", "long key", "value like a lease", "key only", "no key"],
)
def test_parse_key_value_fields_come_back(want: tuple[bytes, bytes, int, int, int, int]) -> None:
    found = _parse(bolt_writer.key_value(*want))
    assert (
        found.key,
        found.value,
        found.create_revision,
        found.mod_revision,
        found.version,
        found.lease,
    ) == want
    assert found.starts(3) == want[1][:3]
    assert found.starts(10_000) == want[1]


def test_parse_key_value_any_order_and_unknown_fields() -> None:
    message = b"\x2a\x02vv\x78\x05\x30\x09\x10\x04\x0a\x01k\x18\x05"
    found = _parse(message)
    assert (found.key, found.value, found.lease) == (b"k", b"vv", 9)
    assert (found.create_revision, found.mod_revision, found.version) == (4, 5, 0)


def test_parse_key_value_negative_number_is_signed() -> None:
    message = b"\x0a\x01k\x18" + bolt_writer.varint((1 << 64) - 1)
    assert _parse(message).mod_revision == -1


@pytest.mark.parametrize(
    "message",
    [b"\x0a\x05k", b"\x0a", b"\x0a\x01k\x2a\x7fv", b"\x0a\x01k\x10\xff", b"\x00\x01", b"\x0f"],
)
def test_parse_key_value_broken_is_a_wire_error(message: bytes) -> None:
    with pytest.raises(WireError):
        _parse(message)


def _noise(count: int, *, lease: int) -> t.Iterator[tuple[bytes, KeyValue]]:
    """Yield those of `count` spoilt messages that can be parsed, and what they are."""
    for seed in range(count):
        random_ = random.Random(seed)
        message = bytearray(bolt_writer.key_value(b"key", b"value", 7, 300, 2, lease))
        for _turn in range(random_.randint(1, 3)):
            message[random_.randrange(len(message))] = random_.randrange(256)
        with contextlib.suppress(WireError):
            yield bytes(message), _parse(bytes(message))


def test_parse_key_value_noise_is_a_wire_error_or_a_value() -> None:
    parsed = 0
    for message, found in _noise(2000, lease=70_000):
        parsed += 1
        assert isinstance(found.key, bytes)
        assert len(found.value) <= len(message)
        assert all(
            isinstance(each, int) for each in (found.mod_revision, found.version, found.lease)
        )
    assert 100 < parsed < 2000


def _value_size(message: bytes, *, key_size: int) -> int | None:
    """Ask for the size in a message that lies between other bytes."""
    source = b"before" + message + b"behind"
    return value_size(source, 6, 6 + len(message), key_size=key_size)


@pytest.mark.parametrize("key_size", [1, 127, 128, 200, 20_000])
@pytest.mark.parametrize("size", [1, 127, 128, 70_000])
def test_value_size_of_what_etcd_writes(key_size: int, size: int) -> None:
    message = bolt_writer.key_value(b"k" * key_size, b"v" * size, 1 << 40, 1 << 41, 300, 0)
    assert _value_size(message, key_size=key_size) == size


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x0a\x01k\x10\x05",
        bolt_writer.key_value(b"k", b"v", 1, 2, 3, 9),
        b"\x0a\x01k\x2a" + b"\xff" * 9 + b"\x7f",
    ],
    ids=["nothing", "no value", "a lease behind it", "a size past the end"],
)
def test_value_size_leaves_other_messages_to_the_parser(message: bytes) -> None:
    assert _value_size(message, key_size=1) is None


@pytest.mark.parametrize("lease", [0, 1])
def test_value_size_is_the_parser_s_or_none_in_noise(lease: int) -> None:
    told = 0
    for message, found in _noise(4000, lease=lease):
        size = _value_size(message, key_size=len(found.key))
        if size is not None:
            told += 1
            assert size == len(found.value), message
    assert told > (0 if lease else 500)


def test_key_of_and_fields() -> None:
    assert key_of(b"") == b""
    assert key_of(b"\x0a\x01a\x0a\x01b") == b"b"
    assert list(fields(b"\x0d1234\x09abcdefgh")) == [(1, b"1234"), (1, b"abcdefgh")]
    with pytest.raises(WireError, match="is a number"):
        key_of(b"\x08\x01")
    with pytest.raises(WireError, match="does not end"):
        varint(b"\x80" * 12)


def test_parse_key_value_of_countless_fields_is_refused_at_once() -> None:
    with pytest.raises(WireError, match="more than 64 fields"):
        _parse(b"\x78\x00" * 1_000_000)
