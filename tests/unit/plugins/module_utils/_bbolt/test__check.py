# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gzip
import random
import struct
import typing as t

import pytest
from unit.fixtures import bolt_writer, snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.check import check
from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import DatabaseInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import read_image

PAGE = 4096
ROWS = [(f"{number:05d}".encode(), b"v" * 40) for number in range(400)]


def _page(image: bytearray, page_id: int) -> int:
    return page_id * PAGE


def _built() -> tuple[bolt_writer.File, int]:
    """Return a file with one bucket: leaves 2 to N, then their branch."""
    file = bolt_writer.File()
    tree = file.tree(ROWS)
    file.finish({b"key": tree})
    return file, tree


def _invalid(image: bytes, finding: str) -> None:
    """Expect `finding` of the check, and an error of ours when the image is read."""
    with pytest.raises(DatabaseInvalid, match=finding):
        check(Database(image))


@pytest.mark.parametrize("name", snapshots.SCENARIOS)
def test_check_recorded_passes(name: str) -> None:
    check(Database(snapshots.image(name)))


def test_check_built_passes() -> None:
    file, _tree = _built()
    check(Database(file.with_metas()))


def test_check_etcds_corrupted_backup_already_freed() -> None:
    """etcd tests/integration/snapshot: TestSaveSnapshotFilePermissions' neighbour, issue 10935."""
    packed = snapshots.HERE / "upstream" / "corrupted_backup.db.gz"
    _invalid(gzip.decompress(packed.read_bytes()), "page 3: already freed")


def test_check_stored_freelist_accounts_for_every_page() -> None:
    lists: tuple[tuple[tuple[int, ...], str], ...] = (
        ((7,), ""),
        ((), "page 7: unreachable unfreed"),
        ((2, 7), "page 2: reachable freed"),
        ((7, 7), "page 7: already freed"),
        ((7, 999), "frees page 999; the high-water mark is"),
    )
    for free, finding in lists:
        file = bolt_writer.File()
        tree = file.tree(ROWS[:200])
        while file.page_count <= 7:
            file.add(2, 0, b"")
        file.image = file.image[: 8 * PAGE]
        assert tree < 7
        for unused in range(tree + 1, 7):
            free = (*free, unused)
        file.freelist = file.add(0x10, len(free), struct.pack(f"<{len(free)}Q", *free))
        image = file.finish({b"key": tree})
        if finding:
            _invalid(image, finding)
        else:
            check(Database(image))


def test_check_freelist_of_another_type_or_length_refused() -> None:
    file, _tree = _built()
    file.freelist = 2
    _invalid(file.with_metas(), "page 2: invalid type leaf, expected freelist")
    file.freelist = file.add(0x10, 0xFFFF, struct.pack("<Q", 1 << 60))
    _invalid(file.with_metas(), f"its {1 << 60} free pages do not fit into 4072 bytes")


def test_check_page_reached_twice_refused() -> None:
    file, tree = _built()
    # The branch's second child is its first again.
    element = _page(file.image, tree) + 16
    file.image[element + 24 : element + 32] = struct.pack("<Q", 2)
    _invalid(file.with_metas(), "page 2: multiple references")


def test_check_cycle_ends() -> None:
    file, tree = _built()
    element = _page(file.image, tree) + 16
    file.image[element + 8 : element + 16] = struct.pack("<Q", tree)
    _invalid(file.with_metas(), f"page {tree}: multiple references")


def test_check_two_buckets_sharing_a_tree_refused() -> None:
    file = bolt_writer.File()
    tree = file.tree(ROWS)
    _invalid(file.finish({b"auth": tree, b"key": tree}), "multiple references")


def test_check_past_the_high_water_mark_refused() -> None:
    file, tree = _built()
    element = _page(file.image, tree) + 16
    file.image[element + 8 : element + 16] = struct.pack("<Q", 1 << 40)
    _invalid(file.with_metas(), f"page {1 << 40}: out of bounds: the high-water mark is")


def test_check_overflow_past_the_mark_refused() -> None:
    file, _tree = _built()
    start = _page(file.image, 2) + 12
    file.image[start : start + 4] = struct.pack("<I", 0xFFFFFFFF)
    _invalid(file.with_metas(), "page 2: its 4294967295 overflow pages pass the high-water mark")


@pytest.mark.parametrize("flags", [0, 4, 0x10, 3], ids=["none", "meta", "freelist", "both"])
def test_check_wrong_page_type_refused(flags: int) -> None:
    file, _tree = _built()
    file.image[2 * PAGE + 8 : 2 * PAGE + 10] = struct.pack("<H", flags)
    _invalid(file.with_metas(), "page 2: invalid type")


def test_check_wrong_page_number_refused() -> None:
    file, _tree = _built()
    file.image[2 * PAGE : 2 * PAGE + 8] = struct.pack("<Q", 77)
    _invalid(file.with_metas(), "page 2: its header says that it is page 77")


def test_check_too_many_elements_refused() -> None:
    file, tree = _built()
    for page_id in (2, tree):
        image = bytearray(file.with_metas())
        image[page_id * PAGE + 10 : page_id * PAGE + 12] = b"\xff\xff"
        _invalid(bytes(image), f"page {page_id}: 65535 elements do not fit into its 4096 bytes")


def test_check_elements_out_of_the_page_or_overlapping_refused() -> None:
    gap = r"page 2: element 0 starts at byte \d+, not right behind the element table, which ends at"
    for offset, value, finding in (
        (4, 0xFFFFFFF0, gap),
        (4, 0, gap),
        (
            12,
            0xFFFFFFFF,
            r"page 2: element 1 starts at byte \d+, not right behind element 0, which",
        ),
        (8, 0xFFFFFFFF, r"page 2: element 1 starts at byte \d+, not right behind element 0, which"),
    ):
        file, _tree = _built()
        start = 2 * PAGE + 16 + offset
        file.image[start : start + 4] = struct.pack("<I", value)
        _invalid(file.with_metas(), finding)
    file, _tree = _built()
    count = struct.unpack_from("<H", file.image, 2 * PAGE + 10)[0]
    struct.pack_into("<I", file.image, 2 * PAGE + 16 * count + 12, 0xFFFF)
    _invalid(
        file.with_metas(), r"page 2: its elements take bytes \d+ to \d+; its data area ends at"
    )


def test_check_fewer_elements_than_were_written_refused() -> None:
    for page, what in ((2, "element 0 starts"), (None, "the key of element 0 takes")):
        file, tree = _built()
        at = (page or tree) * PAGE + 10
        struct.pack_into("<H", file.image, at, struct.unpack_from("<H", file.image, at)[0] - 1)
        _invalid(file.with_metas(), f"page {page or tree}: {what}")


def test_check_smaller_value_than_was_written_refused() -> None:
    file, _tree = _built()
    at = 2 * PAGE + 16 + 12
    struct.pack_into("<I", file.image, at, struct.unpack_from("<I", file.image, at)[0] - 1)
    _invalid(file.with_metas(), "page 2: element 1 starts at byte .*, not right behind element 0")


def test_check_root_element_that_is_no_bucket_refused() -> None:
    """One bit of it, and a whole bucket would read as not there."""
    image = bytearray(bolt_writer.etcd({b"lease": ROWS}))
    root = struct.unpack_from("<Q", image, 32)[0]
    for index, name in enumerate(("key", "lease", "meta")):
        bad = bytearray(image)
        bad[root * PAGE + 16 + 16 * index] ^= 1
        _invalid(bytes(bad), f"page {root}: element {index} of the root, b'{name}', is no bucket")


def test_check_order_of_keys_refused() -> None:
    for key, finding in ((b"00000", "is not above key"), (b"99999", "not above|not below")):
        file, _tree = _built()
        at = file.image.index(b"00003", 2 * PAGE)
        file.image[at : at + 5] = key
        _invalid(file.with_metas(), f"page 2: .*({finding})")


def test_check_order_between_branch_and_child_refused() -> None:
    file, tree = _built()
    # A child that starts below, and one that ends at or above, what its parent says.
    low = bytearray(file.with_metas())
    at = low.index(b"00000", 2 * PAGE)
    low[at : at + 5] = b"\x00\x00\x00\x00\x00"
    _invalid(bytes(low), "page 2: its first key 0000000000 is below the parent page's key")
    high = bytearray(file.with_metas())
    branch = tree * PAGE
    position, size = struct.unpack_from("<II", high, branch + 32)
    at = branch + 32 + position
    high[at : at + size] = b"00001"
    _invalid(bytes(high), "page 2: its last key .* is not below the parent's next key")


def test_check_nested_bucket_is_walked() -> None:
    file = bolt_writer.File()
    inner = file.add(2, 2, bolt_writer.leaf_body([(b"b", b""), (b"a", b"")]))
    header = struct.pack("<QQ", inner, 0)
    outer = file.add(2, 1, bolt_writer.leaf_body([(b"inner", header)], flags=1))
    _invalid(file.finish({b"outer": outer}), f"page {inner}: key 1 61 is not above key 62")


def _with_inline(inline: bytes) -> bytes:
    file = bolt_writer.File()
    file.root = file.add(2, 1, bolt_writer.leaf_body([(b"key", inline)], flags=1))
    return file.with_metas()


def test_check_inline_bucket_is_read_and_checked() -> None:
    header = struct.pack("<QQ", 0, 0)
    body = bolt_writer.leaf_body([(b"a", b"1"), (b"b", b"2")])
    good = header + struct.pack("<QHHI", 0, 2, 2, 0) + body
    database = Database(_with_inline(good))
    check(database)
    bucket = database.bucket(b"key")
    assert bucket is not None
    assert list(bucket.entries()) == [(b"a", b"1"), (b"b", b"2")]
    for bad, finding in (
        (header[:8], "has a header of 8 bytes, expected 16"),
        (header + b"1234", "an inline bucket has 4 bytes, expected 16"),
        (header + struct.pack("<QHHI", 0, 1, 2, 0) + body, "page flags 0x1, expected 0x2"),
        (header + struct.pack("<QHHI", 0, 2, 9, 0) + body, "9 elements do not fit"),
        (header + struct.pack("<QHHI", 0, 2, 2, 0) + body[:-1], "its elements take bytes"),
    ):
        _invalid(_with_inline(bad), finding)


def _read_all(image: bytes) -> str:
    """Read everything there is; return what came out, the image's error included."""
    try:
        summary = read_image(Database(image), visit=lambda each: each.value and each.lease and None)
    except DatabaseInvalid as exc:
        return str(exc)
    return str(summary)


@pytest.mark.parametrize("name", [each for each in snapshots.SCENARIOS if "tombstone" in each])
def test_read_flipped_bytes_never_anything_but_our_error(name: str) -> None:
    image = snapshots.image(name)
    intact = _read_all(image)
    caught = 0
    for seed in range(150):
        random_ = random.Random(seed)
        bad = bytearray(image)
        for _turn in range(random_.choice([1, 1, 4, 32])):
            bad[random_.randrange(len(bad))] ^= random_.randrange(1, 256)
        caught += _read_all(bytes(bad)) != intact
    assert caught > 20


@pytest.mark.parametrize("name", [each for each in snapshots.SCENARIOS if "history" in each])
def test_read_hostile_numbers_never_anything_but_our_error(name: str) -> None:
    """Put extreme numbers where headers and element tables are."""
    image = snapshots.image(name)
    pages = len(image) // PAGE
    extremes = [0, 1, 2, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, pages, pages - 1]
    refused = 0
    for seed in range(250):
        random_ = random.Random(seed)
        bad = bytearray(image)
        for _turn in range(random_.choice([1, 2, 5])):
            at = random_.randrange(2, pages) * PAGE + 4 * random_.randrange(24)
            bad[at : at + 4] = struct.pack("<I", random_.choice(extremes))
        refused += "invalid" in _read_all(bytes(bad))
    assert refused > 50


def test_read_truncated_is_refused_everywhere() -> None:
    image = snapshots.image("3.6.16/history" if "3.6.16/history" in snapshots.SCENARIOS else snapshots.SCENARIOS[0])  # fmt: skip
    whole = Database(image).size_bytes
    for size in [*range(200), *range(200, whole, 513), whole - 1]:
        with pytest.raises(DatabaseInvalid, match=r"truncated|not a bbolt database"):
            Database(image[:size])
    assert _read_all(image[:whole]) == _read_all(image)


def test_read_random_bytes_are_refused() -> None:
    for seed in range(50):
        data = random.Random(seed).randbytes(8192)
        with pytest.raises(DatabaseInvalid, match=r"not a bbolt database \(8192 bytes\)"):
            Database(data)


def test_read_deep_tree_needs_no_recursion() -> None:
    file = bolt_writer.File(1024)
    child = file.add(2, 1, bolt_writer.leaf_body([(b"k", b"v")]))
    for _turn in range(5000):
        child = file.add(1, 1, bolt_writer.branch_body([(b"k", child)]))
    check(Database(file.finish({b"auth": child})))


def test_error_names_what_to_do() -> None:
    file, _tree = _built()
    file.image[2 * PAGE : 2 * PAGE + 8] = struct.pack("<Q", 77)
    with pytest.raises(DatabaseInvalid) as caught:
        check(Database(file.with_metas()))
    error: dict[str, t.Any] = caught.value.as_dict()
    assert error["kind"] == "database_invalid"
    assert "take or fetch it again" in error["hint"]


def test_check_more_children_than_pages_refused() -> None:
    """A chain of branches, each with the most children, must not fill memory."""
    file = bolt_writer.File()
    child = file.add(2, 0, b"")
    for _turn in range(3):
        children = [(number.to_bytes(4, "big"), child) for number in range(60_000)]
        child = file.add(1, len(children), bolt_writer.branch_body(children))
    _invalid(file.finish({b"key": child}), "more than the [0-9]+ pages that there are")


def test_check_too_many_buckets_refused() -> None:
    buckets = [(number.to_bytes(4, "big"), struct.pack("<QQ", 0, 0)) for number in range(1001)]
    empty = struct.pack("<QHHI", 0, 2, 0, 0)
    file = bolt_writer.File()
    body = bolt_writer.leaf_body([(name, value + empty) for name, value in buckets], flags=1)
    file.root = file.add(2, len(buckets), body)
    _invalid(file.with_metas(), "page 2: there are more than 1000 buckets")


def test_check_long_key_refused() -> None:
    file = bolt_writer.File()
    leaf = file.add(2, 1, bolt_writer.leaf_body([(b"k" * 32769, b"")]))
    _invalid(file.finish({b"key": leaf}), f"page {leaf}: a key has 32769 bytes")
    file = bolt_writer.File()
    child = file.add(2, 0, b"")
    branch = file.add(1, 1, bolt_writer.branch_body([(b"k" * 32769, child)]))
    _invalid(file.finish({b"key": branch}), f"page {branch}: the key of element 0 has 32769 bytes")
