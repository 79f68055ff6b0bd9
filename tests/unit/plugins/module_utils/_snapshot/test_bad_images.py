# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged images: whatever is read of them ends in time, in a value or in an error of ours."""

from __future__ import annotations

import json
import struct
import tracemalloc
import typing as t
from collections import Counter

import pytest
from unit.fixtures import bolt_writer, damage, reading, rich, snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.check import check
from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import DatabaseInvalid

if t.TYPE_CHECKING:
    from conftest import Reliability

# Of every version, and one that is full of everything; those with their freelist stored first.
IMAGES = {
    "rich, pages of 1024": rich.image(),
    "rich, pages of 4096": rich.image(4096),
    **{name: snapshots.image(name) for name in snapshots.SCENARIOS if "tombstone" in name},
}
STORED = ("rich, pages of 1024", "rich, pages of 4096", "3.2.32/tombstone")
FLIPS = 1000
# What reading an image may take: a constant for the machinery, and some times the image's size
# for its keys and lists, which are Python objects.
MEMORY_BYTES = 4 << 20
MEMORY_TIMES = 30


def _told(what: str, image: bytes) -> str:
    """Read an image; a find says which one it was."""
    try:
        with reading.deadline():
            return reading.read_all(image)
    except (Exception, reading.Late) as exc:
        raise AssertionError(f"{what}: {type(exc).__name__}: {exc}") from exc


def test_read_flipped_bytes_end_well(reliability: Reliability) -> None:
    """Every other flip hits what is in use: most bytes of these images are not."""
    ends = Counter[str]()
    layouts = {name: damage.Layout(snapshots.image(name)) for name in snapshots.SCENARIOS}
    layouts.update({name: damage.Layout(image) for name, image in IMAGES.items()})
    intact = {name: reading.read_all(layout.image) for name, layout in layouts.items()}
    for seed in range(FLIPS):
        name = list(layouts)[seed % len(layouts)]
        layout = layouts[name]
        what, bad = damage.flip(layout.image, seed, layout.used if seed % 2 else ())
        told = _told(f"{name}: {what}", bad)
        if reading.refused(told):
            ends["refused"] += 1
        else:
            ends["same" if _content(told) == _content(intact[name]) else "other"] += 1
    assert ends["refused"] > FLIPS // 20
    assert ends["other"] > FLIPS // 20
    assert sum(ends.values()) == FLIPS
    reliability(
        f"{FLIPS} images with one byte flipped, of every etcd from 3.2 to 3.7, half of them in bytes "
        "that are in use, each read without its trailer",
        f"{ends['refused']} are refused by their structure, {ends['other']} tell something else "
        f"(sizes, names, hashes), {ends['same']} tell the same (the byte was in no use); nothing "
        "else happens, and none takes long",
        area="content",
    )


def _content(told: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads(told)
    del found["snapshot"]["sha256"]
    return found


@pytest.mark.parametrize("name", IMAGES)
def test_read_truncated_is_refused_at_every_page_boundary(name: str) -> None:
    layout = damage.Layout(IMAGES[name])
    whole = reading.read_all(layout.image[: layout.size])
    for boundary in range(0, layout.size + 1, layout.page_size):
        for more in (-33, -32, -1, 0, 1, 15, 17, 79, 80, layout.page_size // 2):
            size = boundary + more
            if not 0 <= size <= len(layout.image):
                continue
            told = _told(f"{size} bytes", layout.image[:size])
            assert reading.refused(told) is (size < layout.size), size
            if size < layout.size:
                assert "truncated" in told or "not a bbolt database" in told
            elif size == layout.size:
                assert told == whole


@pytest.mark.parametrize("name", IMAGES)
def test_read_structural_lies_end_well(name: str) -> None:
    intact = reading.read_all(IMAGES[name])
    for what, bad in damage.everything(damage.Layout(IMAGES[name])):
        told = _told(what, bad)
        assert reading.refused(told) or told != intact


@pytest.mark.parametrize("name", STORED)
def test_read_lies_take_bounded_memory(name: str) -> None:
    image = IMAGES[name]
    bound = MEMORY_BYTES + MEMORY_TIMES * len(image)
    reading.read_all(image)
    corpus = [damage.flip(image, seed) for seed in range(15)]
    every = list(damage.everything(damage.Layout(image)))
    corpus += every[:: max(1, len(every) // 60)]
    tracemalloc.start()
    try:
        for what, bad in corpus:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            _told(what, bad)
            taken = tracemalloc.get_traced_memory()[1] - before
            assert taken < bound, f"{what}: {taken} bytes for an image of {len(image)}"
    finally:
        tracemalloc.stop()


def test_read_count_of_pages_costs_no_memory_before_it_is_checked() -> None:
    """A meta page may count 2^62 pages: nothing is laid out for them."""
    layout = damage.Layout(rich.image())
    tracemalloc.start()
    try:
        for what, bad in damage.wrong_metas(layout):
            assert reading.refused(_told(what, bad)), what
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()


def test_read_empty_databases() -> None:
    """Nothing in any bucket; etcd's own, just started; no bytes."""
    names = (b"alarm", b"auth", b"cluster", b"key", b"lease", b"members", b"meta")
    nothing: dict[bytes, bolt_writer.Pairs] = {name: [] for name in names}
    told = _told("empty", bolt_writer.build(nothing))
    assert '"key_count": 0' in told and '"revision": 1,' in told
    fresh = [name for name in snapshots.SCENARIOS if "fresh" in name]
    assert len({name.split(".")[1] for name in fresh}) == 6
    for name in fresh:
        told = _told(name, snapshots.image(name))
        assert '"key_count": 0' in told and '"object_count": 0' in told
    assert "not a bbolt database (0 bytes)" in _told("nothing", b"")


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        ((), "no bucket key and no bucket meta; its buckets are none"),
        ((b"v1",), "no bucket key and no bucket meta; its buckets are 'v1'"),
        ((b"jey", b"meta"), "no bucket key; its buckets are 'jey', 'meta'"),
        ((b"key", b"lease"), "no bucket meta; its buckets are 'key', 'lease'"),
    ],
    ids=["none", "another program's", "key renamed", "no meta"],
)
def test_read_database_that_is_not_etcds_is_refused(
    buckets: tuple[bytes, ...], message: str
) -> None:
    """It must not read as a cluster that holds nothing."""
    told = _told("foreign", bolt_writer.build({name: [] for name in buckets}))
    assert f"not etcd's: it has {message}" in told


@pytest.mark.parametrize("depth", [900, 3000])
def test_read_nested_buckets_need_no_recursion(depth: int) -> None:
    file = bolt_writer.File(1024)
    child = file.add(2, 0, b"")
    for _turn in range(depth):
        header = struct.pack("<QQ", child, 0)
        child = file.add(2, 1, bolt_writer.leaf_body([(b"b", header)], flags=1))
    image = file.finish({b"auth": child, b"key": file.tree([]), b"meta": file.tree([])})
    if depth < 1000:
        check(Database(image))
        assert not reading.refused(_told(f"{depth} buckets", image))
    else:
        assert "more than 1000 buckets" in _told(f"{depth} buckets", image)


def test_read_bucket_nested_in_itself_is_refused() -> None:
    file = bolt_writer.File(1024)
    itself = file.page_count
    body = bolt_writer.leaf_body([(b"b", struct.pack("<QQ", itself, 0))], flags=1)
    assert file.add(2, 1, body) == itself
    image = file.finish({b"auth": itself, b"key": file.tree([]), b"meta": file.tree([])})
    assert f"page {itself}: multiple references" in _told("a cycle", image)
    with pytest.raises(DatabaseInvalid):
        check(Database(image))
