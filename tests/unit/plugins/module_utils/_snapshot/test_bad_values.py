# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole images with keys and values that no API server wrote."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
import typing as t

import pytest
from unit.fixtures import bolt_writer, reading
from unit.fixtures.bolt_writer import key_value, revision
from unit.fixtures.rich import field

# Where values are read: the namespaces, the namespace that names the cluster, a resource whose
# group nobody knows, Secrets; and one where none is.
KEYS = (
    b"/registry/namespaces/kube-system",
    b"/registry/namespaces/other",
    b"/registry/gadgets/default/g",
    b"/registry/secrets/default/s",
    b"/registry/pods/default/p",
)
_MIB = 1 << 20
VALUES: dict[str, bytes] = {
    "nothing": b"",
    "random": random.Random(1).randbytes(5000),
    "JSON, 6 MiB": b'{"apiVersion":"v1","metadata":{"uid":"u"},"data":"' + b"x" * 6 * _MIB + b'"}',
    "JSON, arrays 200,000 deep": b"{" + b'"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "JSON, objects 200,000 deep": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "JSON, a number of 3 million digits": b'{"apiVersion":' + b"9" * 3_000_000 + b"}",
    "JSON, a float of 3 million digits": b'{"a":1e' + b"9" * 3_000_000 + b"}",
    "JSON, 50,000 keys": b"{" + b",".join(b'"%d":1' % n for n in range(50_000)) + b"}",
    "JSON, cut off": b'{"apiVersion": "v1", "kind": "Name',
    "JSON, not UTF-8": b'{"apiVersion": "\xff\xfe"}',
    "JSON, half a surrogate": b'{"apiVersion":"\\ud800/v1","metadata":{"uid":"\\udfff"}}',
    "JSON, UTF-16": '{"apiVersion": "v1"}'.encode("utf-16"),
    "JSON, other types": b'{"apiVersion": {"a": 1}, "kind": [], "metadata": ["uid"]}',
    "JSON, a UID of 3 MiB": b'{"apiVersion":"v1","metadata":{"uid":"' + b"u" * 3 * _MIB + b'"}}',
    "protobuf, head alone": b"k8s\x00",
    "protobuf, a million empty fields": b"k8s\x00" + field(3, b"") * 1_000_000,
    "protobuf, a million fields in its raw": b"k8s\x00" + field(2, field(9, 1) * 1_000_000),
    "protobuf, lengths of 2^63": b"k8s\x00\x12" + b"\xff" * 8 + b"\x7f" + b"x" * 100,
    "protobuf, a varint without end": b"k8s\x00" + b"\xff" * 100_000,
    "protobuf, groups": b"k8s\x00" + b"\x0b" * 10_000,
    "protobuf, nested 5,000 deep": b"k8s\x00",
    "protobuf, a UID of 3 MiB": b"k8s\x00" + field(2, field(1, field(5, b"u" * 3 * _MIB))),
    "protobuf, a UID that is not text": b"k8s\x00" + field(2, field(1, field(5, b"\xff\0\n"))),
    "encrypted, without end": b"k8s:enc:" + b"a" * 100_000,
    "encrypted, colons": b"k8s:enc:" + b":" * 10_000,
    "encrypted, odd names": b"k8s:enc:aescbc:v1:\xff\n\x1b[2J\x00:rest",
}
_nested = b""
for _turn in range(5000):
    _nested = field(2, _nested)
VALUES["protobuf, nested 5,000 deep"] += _nested


def _image(pairs: t.Sequence[tuple[bytes, bytes]], page_size: int = 4096) -> bytes:
    rows = [
        (revision(main), key_value(key, value, main, main, 1))
        for main, (key, value) in enumerate(pairs, start=2)
    ]
    return bolt_writer.etcd({b"key": rows}, page_size)


def _read(image: bytes) -> dict[str, t.Any]:
    with reading.deadline():
        told = reading.read_all(image)
    assert not reading.refused(told), told
    found: dict[str, t.Any] = json.loads(told)
    # What a terminal or a log gets of it: no half surrogates, which nothing can print.
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    return found


@pytest.mark.parametrize("name", VALUES)
def test_read_values_that_are_no_objects(name: str) -> None:
    value = VALUES[name]
    image = _image([(key, value) for key in KEYS])
    tracemalloc.start()
    try:
        found = _read(image)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * _MIB + 20 * len(value), f"{peak} bytes for a value of {len(value)}"
    counts = found["kubernetes"]
    assert found["snapshot"]["key_count"] == counts["object_count"] == len(KEYS)
    assert counts["resources"]["namespaces"] == 2 and counts["resources"]["secrets"] == 1
    assert sum(counts["secrets"].values()) == 1
    assert counts["namespace_count"] == 2
    # A made-up UID must not fill the result.
    assert len(json.dumps(found)) < 100_000


KEY_NAMES = {
    "empty": b"",
    "slashes": b"/" * 300,
    "not UTF-8": b"/registry/pods/default/\xff\xfe\x80",
    "NUL, newline, escape": b"/registry/pods/a\x00b\nc\x1b[2J/d",
    "very long": b"/registry/pods/" + b"n" * 30_000,
    "in the prefix only": b"/registry/",
    "other prefix": b"/kubernetes.io/pods/a/b",
    "deep": b"/registry/" + b"a/" * 5000,
    "dots": b"/registry/.././../etc/passwd",
    "group without resource": b"/registry/example.org",
    "like JSON": b'/registry/pods/"},{/x',
}


def test_read_keys_that_are_no_objects() -> None:
    found = _read(_image([(key, b"value") for key in KEY_NAMES.values()]))
    assert found["snapshot"]["key_count"] == len(KEY_NAMES)
    counts = found["kubernetes"]
    assert counts["object_count"] + counts["other_key_count"] == len(KEY_NAMES)
    listed = {each[0] for each in found["catalog"]["objects"]}
    assert len(listed) == len(KEY_NAMES)
    assert "/registry/pods/default/\\xff\\xfe\\x80" in listed


MEMBERS = {
    "no JSON": (b"8e9e05c52164694d", b"\xff\xfe"),
    "deep JSON": (b"8e9e05c52164694d", b"[" * 200_000),
    "long number": (b"8e9e05c52164694d", b'{"id":' + b"9" * 3_000_000 + b"}"),
    "no ID": (b"member", b"{}"),
    "a list": (b"1", b"[1]"),
    "URLs that are no list": (b"1", b'{"peerURLs": 7}'),
    "half a surrogate": (b"1", b'{"name": "\\ud800", "peerURLs": ["\\udfff"]}'),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_read_members_that_are_none(name: str) -> None:
    image = bolt_writer.etcd({b"members": [MEMBERS[name]]})
    with reading.deadline():
        told = reading.read_all(image)
    if reading.refused(told):
        assert told.startswith("database_invalid: The etcd database is invalid: bucket members")
    else:
        json.dumps(json.loads(told), ensure_ascii=False).encode("utf-8")


def test_read_small_buckets_that_are_huge_are_refused() -> None:
    pairs = [(struct.pack(">Q", number), b"x" * 60_000) for number in range(300)]
    with reading.deadline():
        for bucket in (b"meta", b"members", b"auth", b"alarm", b"cluster"):
            image = bolt_writer.etcd({bucket: pairs})
            tracemalloc.start()
            told = reading.read_all(image)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert "the bucket holds more than 16777216 bytes" in told
            assert peak < 3 * 16 * _MIB
