# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each check of an image alone, the others switched off: it catches all that it is there for.

Every test applies one class of damage many times, asks one check, and counts. What a check cannot
see is counted as well: another one is there for it.
"""

from __future__ import annotations

import io
import os
import random
import typing as t
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from unit.fixtures import damage, rich, snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.check import check
from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    DatabaseInvalid,
    EtcdToolError,
    SnapshotInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.crc import status_hash
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import read_image
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.keyvalue import (
    parse_key_value,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.rows import main_of
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.take import (
    drain,
    open_spool,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.verify import (
    Expected,
    verify,
)

if t.TYPE_CHECKING:
    from conftest import Reliability

SOURCE = "https://10.0.0.1:2379"
HASHED = [name for name in snapshots.SCENARIOS if snapshots.facts(name).get("hash_kv")]
STORED = {
    "rich, pages of 1024": rich.image(),
    "rich, pages of 4096": rich.image(4096),
    "3.2.32/tombstone": snapshots.image("3.2.32/tombstone"),
}
BLOB = 32 * 1024


def _versions(names: t.Iterable[str]) -> str:
    return ", ".join(sorted({name.partition("/")[0] for name in names}))


def _blobs(stream: bytes) -> list[bytes]:
    """Cut a stream as etcd sends it."""
    return [stream[at : at + BLOB] for at in range(0, len(stream), BLOB)]


def _trailer_refuses(folder: Path, blobs: t.Sequence[bytes]) -> bool:
    try:
        with open_spool(str(folder)) as spool:
            drain(blobs, spool, source=SOURCE, directory=str(folder))
    except SnapshotInvalid:
        return True
    return False


def test_trailer_alone_catches_every_flip_cut_and_lost_blob(
    tmp_path: Path, reliability: Reliability
) -> None:
    flips = cuts = blobs = 0
    for name in snapshots.SCENARIOS:
        stream = snapshots.image(name)
        assert not _trailer_refuses(tmp_path, _blobs(stream))
        for seed in range(40):
            _what, bad = damage.flip(stream, seed)
            assert _trailer_refuses(tmp_path, _blobs(bad)), f"{name}: {_what}"
            flips += 1
        for size in [*range(0, len(stream), 4096), *range(len(stream) - 40, len(stream))]:
            assert _trailer_refuses(tmp_path, _blobs(stream[:size])), f"{name}: {size} bytes"
            cuts += 1
        whole = _blobs(stream)
        for index in range(len(whole)):
            lost = [*whole[:index], *whole[index + 1 :]]
            twice = [*whole[: index + 1], *whole[index:]]
            swapped = [*whole[:index], *whole[index : index + 2][::-1], *whole[index + 2 :]]
            for bad_blobs in (lost, twice, swapped if swapped != whole else lost):
                assert _trailer_refuses(tmp_path, bad_blobs), f"{name}: blob {index}"
                blobs += 1
    reliability(
        f"The trailer alone, on streams of etcd {_versions(snapshots.SCENARIOS)}: one byte "
        "flipped; cut at every 4 KiB and within its last 40 bytes; a blob lost, sent twice, or "
        "before its neighbour",
        f"{flips} of {flips} flips, {cuts} of {cuts} cuts and {blobs} of {blobs} mixed-up streams "
        "are caught",
        area="content",
    )


KINDS: dict[str, t.Callable[[damage.Layout], damage.Damaged]] = {
    "pointers to another page, so that pages are shared, circular or lost": damage.wrong_pointers,
    "pages longer or shorter than they are": damage.wrong_overflows,
    "pages of another number or type, with fewer elements than they have, or absurd counts": damage.wrong_headers,
    "elements that lie outside of their page, inside another one, or not right behind it": (
        damage.wrong_elements
    ),
    "buckets that are none": damage.wrong_buckets,
    "a meta page with another number of pages": damage.wrong_metas,
    "keys in another order": damage.disordered,
    "a freelist that frees used pages, none, twice or absent ones": damage.wrong_freelists,
}
ALWAYS = (damage.wrong_headers, damage.wrong_elements, damage.wrong_buckets, damage.disordered)
SOMETIMES = (damage.wrong_pointers, damage.wrong_overflows, damage.wrong_metas)


def _structure_refuses(image: bytes) -> bool:
    try:
        check(Database(image))
    except DatabaseInvalid:
        return True
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_structure_alone_catches_every_lie_where_the_freelist_is_stored(
    kind: str, reliability: Reliability
) -> None:
    count = 0
    for name, image in STORED.items():
        assert not _structure_refuses(image)
        for what, bad in KINDS[kind](damage.Layout(image)):
            assert _structure_refuses(bad), f"{name}: {what}"
            count += 1
    assert count >= 10
    reliability(
        f"The structural check alone, on images that store their freelist: {kind}",
        f"{count} of {count} are caught",
        area="content",
    )


def test_structure_alone_catches_every_lie_but_pages_that_were_once_right(
    reliability: Reliability,
) -> None:
    """etcd 3.3 and later store no freelist, so a page that nobody reaches is no contradiction.

    An old page, whole and of the right kind, in the place of a new one is what HashKV is for.
    """
    ends = Counter[str]()
    names = [name for name in snapshots.SCENARIOS if not name.startswith("3.2.")]
    names = [name for name in names if "tombstone" in name or "auth" in name]
    for name in names:
        layout = damage.Layout(snapshots.image(name))
        for kind in ALWAYS:
            for what, bad in kind(layout):
                assert _structure_refuses(bad), f"{name}: {what}"
                ends["always"] += 1
        for kind in SOMETIMES:
            for _what, bad in kind(layout):
                ends["caught" if _structure_refuses(bad) else "not"] += 1
    assert ends["caught"] > 3 * ends["not"] > 0
    reliability(
        f"The structural check alone, on images of etcd {_versions(names)}, which store no freelist",
        f"{ends['always']} of {ends['always']} wrong page headers, elements, buckets and orders of "
        f"keys are caught, and {ends['caught']} of {ends['caught'] + ends['not']} wrong pointers, lengths "
        "of pages and counts of pages; the others lead to old or free pages that are whole, which "
        "only trailer, HashKV and sha256 can tell",
        area="content",
    )


def _expected(name: str) -> Expected:
    facts = snapshots.facts(name)
    newest = max(facts["hash_kv"], key=lambda each: t.cast(int, each["revision"]))
    return Expected(
        source=SOURCE,
        server_version=facts["version"],
        revision=None,
        hash_revision=newest["revision"],
        hash_compact_revision=newest["compact_revision"],
        hash_kv=newest["hash"],
    )


def _verify(image: bytes, expected: Expected) -> None:
    with os.fdopen(os.memfd_create("image"), "w+b", buffering=0) as file:
        file.write(image)
        verify(file, len(image), expected, lambda batch: None)


def _value_places(image: bytes, compact: int) -> tuple[list[range], list[range]]:
    """Return where values lie that HashKV covers, and those of rows that it leaves out.

    Left out is what was compacted and has been written again since: it is there until the next
    compaction, and no newest state needs it (etcd, mvcc/hash.go: keep).
    """
    live: set[int] = set()
    read_image(Database(image), visit=lambda entry: live.add(entry.value_start))
    bucket = Database(image).bucket(b"key")
    assert bucket is not None
    covered, left_out = [], []
    for leaf in bucket.leaves():
        for key, start, end in zip(leaf.keys, leaf.value_starts, leaf.ends):
            entry = parse_key_value(image, start, end)
            place = range(entry.value_start, entry.value_end)
            is_covered = main_of(key) > compact or entry.value_start in live
            if place:
                (covered if is_covered else left_out).append(place)
    return covered, left_out


def test_hash_kv_alone_catches_every_changed_value(reliability: Reliability) -> None:
    """The structure stays right, and no trailer is looked at: what the live members said decides."""
    count = unseen = 0
    names = [name for name in HASHED if "fresh" not in name and "ahead" not in name]
    for name in names:
        image = snapshots.image(name)[:-32]
        expected = _expected(name)
        _verify(image, expected)
        covered, left_out = _value_places(image, expected.hash_compact_revision or 0)
        for place in covered:
            chosen = random.Random(place.start)
            for at in sorted({place[0], place[-1], chosen.choice(place)}):
                bad = bytearray(image)
                bad[at] ^= chosen.randrange(1, 256)
                with pytest.raises(SnapshotInvalid, match="does not hold what the members hold"):
                    _verify(bytes(bad), expected)
                count += 1
        for place in left_out:
            bad = bytearray(image)
            bad[place[0]] ^= 1
            _verify(bytes(bad), expected)
            unseen += 1
    assert count > 500
    reliability(
        "HashKV alone, as the live members answered it: one byte changed in a value, first, last or "
        f"any, of every row of images of etcd {_versions(names)}; structure intact, no trailer",
        f"{count} of {count} are caught in rows that are live or newer than the compact revision; "
        f"{unseen} of {unseen} are not seen in rows that are compacted and were overwritten since, "
        "which etcd's HashKV leaves out, and a restored cluster never shows",
        area="content",
    )


def test_hash_kv_cannot_see_past_the_rows(reliability: Reliability) -> None:
    """Members, leases, users and free pages are not in it; other checks are there for them."""
    buckets, free = Counter[str](), Counter[str]()
    for name in (each for each in HASHED if "auth" in each):
        image = snapshots.image(name)[:-32]
        for seen, places in ((buckets, _entry_places(image, but=(b"key", b"meta"))), (free, _unused(image))):  # fmt: skip
            for seed in range(100):
                _what, bad = damage.flip(image, seed, places)
                seen[_who_sees(image, bad)] += 1
    assert not buckets["nobody"] and not buckets["HashKV"] and buckets["status hash"] > 300
    assert set(free) == {"nobody"}
    reliability(
        f"HashKV alone: {sum(buckets.values())} bytes flipped in members, leases, users and other "
        "small buckets",
        "none is caught, as etcd's HashKV is of rows alone; the hash of `snapshot status` catches "
        f"{buckets['status hash']}, the reading of those buckets {buckets['structure']}",
        area="content",
    )
    reliability(
        f"HashKV, structure and the hash of `snapshot status`: {sum(free.values())} bytes flipped "
        "in pages that nothing reaches",
        "none is caught, and nothing that a restored etcd reads lies there; trailer and sha256 catch all",
        area="content",
    )


def _who_sees(image: bytes, bad: bytes) -> str:
    intact = read_image(Database(image))
    try:
        found = read_image(Database(bad))
    except DatabaseInvalid:
        return "structure"
    if found.hash_kv != intact.hash_kv:
        return "HashKV"
    return "status hash" if found.status_hash != intact.status_hash else "nobody"


def _unused(image: bytes) -> list[range]:
    """Return the pages that no tree reaches."""
    layout = damage.Layout(image)
    reached = {0, 1}
    for page in layout.pages:
        reached.update(range(page.page_id, page.page_id + page.overflow + 1))
    size = layout.page_size
    return [range(n * size, n * size + size) for n in range(layout.page_count) if n not in reached]


def test_status_hash_alone_catches_every_changed_entry(reliability: Reliability) -> None:
    """As a person compares it with `snapshot status`: keys and values of all buckets."""
    count = 0
    for name in snapshots.SCENARIOS:
        image = snapshots.image(name)
        expected = snapshots.facts(name)["status"]["hash"]
        places = _entry_places(image)
        for seed in range(30):
            what, bad = damage.flip(image, seed, places)
            with io.BytesIO(bad) as stream:
                try:
                    told = status_hash(Database(stream.getvalue()))
                except EtcdToolError:
                    told = -1
            assert told != expected, f"{name}: {what}"
            count += 1
    reliability(
        "The hash of `snapshot status` alone, as etcd's own tool gave it: one byte flipped in a key "
        f"or value of any bucket, etcd {_versions(snapshots.SCENARIOS)}",
        f"{count} of {count} are caught",
        area="content",
    )


def _entry_places(image: bytes, but: t.Container[bytes] = ()) -> list[range]:
    """Return where the keys and values of all buckets lie, `but` for those."""
    found = []
    for name, bucket in Database(image).buckets():
        if name in but:
            continue
        for leaf in bucket.leaves():
            pairs = zip(leaf.key_starts, leaf.ends)
            found += [range(start, end) for start, end in pairs if end > start]
    return found


def test_revision_alone_catches_every_older_image(reliability: Reliability) -> None:
    """The newest of each version's recorded images is what the cluster confirmed."""
    caught = passed = 0
    for name in snapshots.SCENARIOS:
        image = snapshots.image(name)[:-32]
        own = read_image(Database(image)).current_revision
        blind = replace(_BLIND, server_version=snapshots.facts(name)["version"])
        for other in snapshots.SCENARIOS:
            if other.partition("/")[0] != name.partition("/")[0]:
                continue
            confirmed = read_image(Database(snapshots.image(other))).current_revision
            expected = replace(blind, revision=confirmed)
            if confirmed <= own:
                _verify(image, expected)
                passed += 1
                continue
            with pytest.raises(SnapshotInvalid, match=f"ends at revision {own}; the cluster had"):
                _verify(image, expected)
            caught += 1
    assert caught > 40 and passed > 40
    reliability(
        "The revision alone: images that are whole, but older than what the cluster had confirmed",
        f"{caught} of {caught} are caught, and {passed} of {passed} that are as new pass",
        area="content",
    )


_BLIND = Expected(source=SOURCE, server_version="3.6.16", revision=None)
