# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import mmap
import struct
from pathlib import Path

import pytest
from unit.fixtures import bolt_writer

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.check import check
from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import DatabaseInvalid

PAIRS = [(b"a", b"1"), (b"b", b"2" * 9000), (b"c", b"")]


def _with_meta(image: bytes, number: int, **changes: int) -> bytes:
    """Return the image with fields of one meta page changed and its checksum right."""
    places = {"magic": (0, "<I"), "version": (4, "<I"), "page_size": (8, "<I"), "root": (16, "<Q"), "pages": (40, "<Q"), "txid": (48, "<Q")}  # fmt: skip
    start = number * 4096 + 16
    bad = bytearray(image)
    for name, value in changes.items():
        offset, layout = places[name]
        struct.pack_into(layout, bad, start + offset, value)
    struct.pack_into("<Q", bad, start + 56, bolt_writer.fnv64a(bytes(bad[start : start + 56])))
    return bytes(bad)


@pytest.mark.parametrize("page_size", [1024, 4096, 16384, 65536])
def test_database_entries_come_back(page_size: int) -> None:
    database = Database(bolt_writer.build({b"x": PAIRS, b"y": []}, page_size))
    check(database)
    assert database.page_size == page_size
    bucket = database.bucket(b"x")
    assert bucket is not None
    assert list(bucket.entries()) == PAIRS
    assert bucket.get(b"a") == b"1"
    assert bucket.get(b"z") is None
    assert [name for name, _bucket in database.buckets()] == [b"x", b"y"]
    assert database.bucket(b"z") is None


def test_database_reads_a_map_with_a_trailer(tmp_path: Path) -> None:
    path = tmp_path / "db"
    image = bolt_writer.build({b"x": PAIRS})
    path.write_bytes(image + b"s" * 32)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as source:
        database = Database(source)
        assert database.size_bytes == len(image)
        check(database)


def test_database_newest_valid_meta_counts() -> None:
    image = bolt_writer.build({b"x": PAIRS})
    assert Database(image).meta_txid == 5
    assert Database(_with_meta(image, 0, txid=9)).meta_txid == 9
    broken = bytearray(image)
    broken[4096 + 16 + 48] ^= 1
    assert Database(bytes(broken)).meta_txid == 4


@pytest.mark.parametrize("page_size", [1024, 4096, 16384])
def test_database_bad_first_meta_second_is_found(page_size: int) -> None:
    image = bytearray(bolt_writer.build({b"x": PAIRS}, page_size))
    image[20] ^= 0xFF
    database = Database(bytes(image))
    assert (database.meta_txid, database.page_size) == (5, page_size)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"magic": 1}, "magic is 0x00000001, expected 0xed0cdaed"),
        ({"version": 3}, "file format version is 3, expected 2"),
        ({"page_size": 4095}, "page size is 4095"),
        ({"page_size": 0}, "page size is 0"),
    ],
    ids=["magic", "version", "odd page size", "no page size"],
)
def test_database_bad_metas_say_what_was_seen(change: dict[str, int], finding: str) -> None:
    image = bolt_writer.build({b"x": PAIRS})
    bad = _with_meta(_with_meta(image, 0, **change), 1, **change)
    with pytest.raises(DatabaseInvalid, match=f"not a bbolt database .*{finding}"):
        Database(bad)


def test_database_bad_checksums_say_what_was_seen() -> None:
    image = bytearray(bolt_writer.build({b"x": PAIRS}))
    image[16 + 48] ^= 1
    image[4096 + 16 + 48] ^= 1
    with pytest.raises(DatabaseInvalid, match="checksum is 0x[0-9a-f]{16}, its bytes give 0x"):
        Database(bytes(image))


def test_database_counting_more_pages_than_bytes_is_truncated() -> None:
    image = _with_meta(bolt_writer.build({b"x": PAIRS}), 1, pages=1 << 50)
    with pytest.raises(DatabaseInvalid, match=f"truncated: its meta page 1 counts {1 << 50} pages"):
        Database(image)


@pytest.mark.parametrize("root", [0, 1, 1 << 40])
def test_database_root_out_of_range_refused(root: int) -> None:
    image = _with_meta(bolt_writer.build({b"x": PAIRS}), 1, root=root)
    with pytest.raises(DatabaseInvalid, match=f"the root bucket's page is {root} of"):
        Database(image)
