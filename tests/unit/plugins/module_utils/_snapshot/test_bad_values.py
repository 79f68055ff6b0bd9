# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole images with keys and values that no API server wrote, and with very many of them."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from unit.fixtures import bolt_writer, reading
from unit.fixtures.bolt_writer import key_value, revision
from unit.fixtures.rich import field

if t.TYPE_CHECKING:
    from conftest import Reliability

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
for _ in range(5000):
    _nested = field(2, _nested)
VALUES["protobuf, nested 5,000 deep"] += _nested


def _image(pairs: t.Sequence[tuple[bytes, bytes]], page_size: int = 4096) -> bytes:
    rows = [
        (revision(main), key_value(key, value, main, main, 1))
        for main, (key, value) in enumerate(pairs, start=2)
    ]
    return bolt_writer.build({b"key": rows, b"meta": []}, page_size)


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
    image = bolt_writer.build({b"key": [], b"members": [MEMBERS[name]]})
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
            image = bolt_writer.build({b"key": [], bucket: pairs})
            tracemalloc.start()
            told = reading.read_all(image)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert "the bucket holds more than 16777216 bytes" in told
            assert peak < 3 * 16 * _MIB


KEYS_BYTES = 200
BASE_BYTES = 64 << 20


def _million(path: Path, count: int) -> None:
    """Write an image with `count` keys of one namespace, page by page, as bbolt lays them out."""
    per_page, page_size = 32, 4096
    key_size, value_size = 17, len(_row(2))
    table = b""
    for index in range(per_page):
        position = 16 * (per_page - index) + index * (key_size + value_size)
        table += struct.pack("<IIII", 0, position, key_size, value_size)
    leaves = []
    with path.open("wb") as file:
        file.write(bytes(2 * page_size))
        for page, first in enumerate(range(0, count, per_page), start=2):
            rows = b"".join(
                [
                    b"%b_\0\0\0\0\0\0\0\0%b%07d%b" % (main.to_bytes(8, "big"), _HEAD, main, _TAIL)
                    for main in range(first + 2, first + 2 + per_page)
                ]
            )
            header = struct.pack("<QHHI", page, 2, per_page, 0)
            file.write((header + table + rows).ljust(page_size, b"\0"))
            leaves.append((revision(first + 2), page))
    writer = bolt_writer.File(page_size)
    lowest = path.stat().st_size // page_size
    above = _Above(lowest)
    children = leaves
    while len(children) > 1:
        lots = [children[at : at + 100] for at in range(0, len(children), 100)]
        children = [(lot[0][0], above.add(1, len(lot), bolt_writer.branch_body(lot))) for lot in lots]  # fmt: skip
    body = bolt_writer.leaf_body([(b"key", struct.pack("<QQ", children[0][1], 0))], flags=1)
    writer.root = above.add(2, 1, body)
    head = writer.with_metas(page_count=above.next)
    with path.open("r+b") as file:
        file.write(head)
        file.seek(0, os.SEEK_END)
        file.write(above.image)


class _Above:
    """Pages that follow those in a file."""

    def __init__(self, first: int) -> None:
        self.next = first
        self.image = bytearray()

    def add(self, flags: int, count: int, body: bytes) -> int:
        page = struct.pack("<QHHI", self.next, flags, count, 0) + body
        assert len(page) <= 4096
        self.image += page.ljust(4096, b"\0")
        self.next += 1
        return self.next - 1


def _row(main: int) -> bytes:
    """Return a KeyValue; all rows have one size."""
    return _HEAD + b"%07d" % main + _TAIL


# "/registry/pods/default/pod-", seven digits; create_revision, mod_revision and version are 1.
_HEAD = b"\x0a\x22/registry/pods/default/pod-"
_TAIL = b"\x10\x01\x18\x01\x20\x01\x2a\x09k8s\x00value"


READER = """
import json, sys, threading, time
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.inspect import Wish, inspect
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.listed import Lists
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.opened import Keys, open_path

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))

peak = 0
def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.02)

threading.Thread(target=watch, daemon=True).start()
start = time.monotonic()
with open_path(sys.argv[1], Keys((), "/tmp"), skip_hash_check=True) as snapshot:
    found = inspect(snapshot, Wish(etcd_prefix="/registry"), None, Lists(10, None))
    print(json.dumps({
        "keys": found.summary.key_count, "spread": found.catalogue.counts_by_namespace,
        "revision": found.summary.revision, "peak": max(peak, anonymous()),
        "seconds": time.monotonic() - start,
    }))
"""


def test_read_a_million_keys_of_one_namespace(tmp_path: Path, reliability: Reliability) -> None:
    count = 1_000_000
    path = tmp_path / "million.db"
    _million(path, count)
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["keys"] == count
    assert found["spread"] == {"pods": {"default": count}}
    assert found["revision"] == count + 1
    assert found["peak"] < BASE_BYTES + KEYS_BYTES * count
    path.unlink()
    reliability(
        "An image with a million keys in one namespace",
        "read, with less anonymous memory than 64 MB and 200 bytes a key",
        area="content",
    )
