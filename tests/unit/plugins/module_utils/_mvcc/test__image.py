# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
import struct
import typing as t

import google_crc32c
import pytest
from unit.fixtures import bolt_writer, snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    DatabaseInvalid,
    SnapshotInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.crc import status_hash
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import read_image
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.keyvalue import KeyValue

# etcd server/storage/mvcc/hash_test.go, TestHashByRevValue and TestHashByRevValueLastRevision:
# (hash, compact revision, revision).
BY_REVISION = [
    (4082599214, -1, 35), (2279933401, 35, 106), (3284231217, 106, 177), (126286495, 177, 248),
    (900108730, 248, 319), (2475485232, 319, 390), (1226296507, 390, 461), (2503661030, 461, 532),
    (4155130747, 532, 603), (106915399, 603, 674), (406914006, 674, 745), (1882211381, 745, 816),
    (806177088, 816, 887), (664311366, 887, 958), (1496914449, 958, 1029),
    (2434525091, 1029, 1100), (3988652253, 1100, 1171), (1122462288, 1171, 1242),
    (724436716, 1242, 1883),
]  # fmt: skip
LAST_REVISION = [
    (1913897190, -1, 73), (224860069, 73, 145), (1565167519, 145, 217), (1566261620, 217, 289),
    (2037173024, 289, 361), (691659396, 361, 433), (2713730748, 433, 505), (3919322507, 505, 577),
    (769967540, 577, 649), (2909194793, 649, 721), (1576921157, 721, 793), (4067701532, 793, 865),
    (2226384237, 865, 937), (2923408134, 937, 1009), (2680329256, 1009, 1081),
    (1546717673, 1081, 1153), (2713657846, 1153, 1225), (1046575299, 1225, 1297),
    (2017735779, 1297, 2508),
]  # fmt: skip
CYCLE = 71
# 3.2 knew no HashKV; before 3.4.34 a deletion at exactly the compact revision counts.
HASHED = [name for name in snapshots.SCENARIOS if not name.startswith("3.2.")]
COUNTS_TOMBSTONES = ("3.3.27", "3.4.23")


def _pick_key(number: int) -> bytes:
    if number % (CYCLE * 2) == 30:
        return b"zenek"
    if number % CYCLE == 30:
        return b"xavery"
    return (b"alice", b"bob", b"celine", b"dominik", b"eve", b"frederica", b"gorge")[number % 7]


def _golden_numbers() -> t.Iterator[list[int]]:
    """Yield what each round of the Go tests puts: `for i := rev; i <= rev+count`."""
    for start in range(0, 1210, CYCLE):
        yield list(range(start, start + CYCLE + 1))
    yield list(range(1278, 1278 + 1210 + 1))


def _rows(numbers: t.Iterable[int]) -> list[tuple[bytes, bytes]]:
    rows = []
    made: dict[bytes, tuple[int, int]] = {}
    for main, number in enumerate(numbers, start=2):
        key = _pick_key(number)
        create, version = made.get(key, (main, 0))
        made[key] = (create, version + 1)
        value = bolt_writer.key_value(key, str(number).encode(), create, main, version + 1)
        rows.append((bolt_writer.revision(main), value))
    return rows


@pytest.mark.parametrize("golden", [BY_REVISION, LAST_REVISION], ids=["middle", "last"])
def test_read_image_golden_hashes_equal_etcds(golden: list[tuple[int, int, int]]) -> None:
    numbers: list[int] = []
    for batch, (want, compact, revision) in zip(_golden_numbers(), golden):
        numbers += batch
        database = Database(bolt_writer.etcd({b"key": _rows(numbers)}))
        found = read_image(database, hash_revision=revision, hash_compact_revision=compact)
        assert (found.hash_kv, found.hash_compact_revision, found.hash_revision) == (
            want,
            compact,
            revision,
        )


@pytest.mark.parametrize("name", snapshots.SCENARIOS)
def test_read_image_recorded_equals_snapshot_status(name: str) -> None:
    status = snapshots.facts(name)["status"]
    database = Database(snapshots.image(name))
    found = read_image(database)
    # etcdutl before 3.6 counts every entry, from 3.6 the keys that exist.
    old = name.startswith(("3.2", "3.3", "3.4", "3.5"))
    assert status["hash"] == found.status_hash == status_hash(database)
    assert status["revision"] == found.revision
    assert status["totalSize"] == found.total_size_bytes
    assert status["totalKey"] == (found.entry_count if old else found.key_count)
    assert status.get("version", "") == (found.storage_version or "")


@pytest.mark.parametrize("name", [each for each in HASHED if "fresh" not in each])
def test_read_image_recorded_hash_equals_live_member(name: str) -> None:
    database = Database(snapshots.image(name))
    answers = snapshots.facts(name)["hash_kv"]
    assert len(answers) >= 3
    for answer in answers:
        found = read_image(
            database,
            hash_revision=answer["revision"],
            hash_compact_revision=answer["compact_revision"],
            skip_compacted_tombstones=not name.startswith(COUNTS_TOMBSTONES),
        )
        assert found.hash_kv == answer["hash"], answer


def test_read_image_recorded_own_compaction_is_the_members() -> None:
    for name in HASHED:
        if "fresh" in name or "ahead" in name:
            continue
        newest = max(snapshots.facts(name)["hash_kv"], key=lambda each: each["revision"])
        found = read_image(
            Database(snapshots.image(name)),
            skip_compacted_tombstones=not name.startswith(COUNTS_TOMBSTONES),
        )
        assert found.hash_revision == newest["revision"]
        assert found.compact_revision == newest["compact_revision"]
        assert found.hash_kv == newest["hash"]


def test_read_image_compacted_tombstone_counts_for_old_etcd_without_live_keys() -> None:
    """hash.go keeps nothing back if no key is left: there the rule of 3.5.16 makes a difference."""
    rows = [
        (bolt_writer.revision(2), bolt_writer.key_value(b"a", b"1", 2, 2, 1)),
        (bolt_writer.revision(3, tombstone=True), bolt_writer.key_value(b"a", b"", 0, 0, 0)),
    ]
    database = Database(bolt_writer.etcd({b"key": rows}))
    for skip in (True, False):
        found = read_image(
            database,
            hash_revision=3,
            hash_compact_revision=3,
            skip_compacted_tombstones=skip,
        )
        assert found.hash_kv == _naive_hash(rows, 3, 3, skip)
    assert _naive_hash(rows, 3, 3, True) != _naive_hash(rows, 3, 3, False)


@pytest.mark.parametrize("name", [each for each in snapshots.SCENARIOS if "auth" in each])
def test_read_image_auth_members_and_leases(name: str) -> None:
    found = read_image(Database(snapshots.image(name)))
    assert found.auth_enabled
    assert found.lease_count == 1
    assert [member.name for member in found.members] == ["recorder"]
    assert found.members[0].client_urls[0].startswith("http://127.0.0.1:")
    assert found.cluster_version == ".".join(name.split(".")[:2]) + ".0"
    assert found.consistent_index > 60


@pytest.mark.parametrize("name", [each for each in snapshots.SCENARIOS if "history" in each])
def test_read_image_visit_yields_the_live_keys(name: str) -> None:
    seen: dict[bytes, KeyValue] = {}
    summary = read_image(
        Database(snapshots.image(name)), visit=lambda each: seen.update({each.key: each})
    )
    assert len(seen) == summary.key_count
    assert seen[b"a"].value == b"1"
    assert seen[b"empty"].value == b""
    assert seen[b"large"].value == b"x" * 20_000
    assert b"/registry/pods/default/pod-3" not in seen
    again = seen[b"/registry/pods/default/pod-4"]
    assert (again.value, again.version) == (b"again", 1)
    assert again.create_revision == again.mod_revision
    assert seen[b"/registry/events/default/leased"].lease > 0
    repeated = seen[b"/registry/pods/default/pod-7"]
    assert repeated.version == 3
    assert repeated.create_revision < repeated.mod_revision
    batched: list[bytes] = []
    read_image(Database(snapshots.image(name)), visit_batch=lambda each: batched.extend(each.keys))
    assert sorted(batched) == sorted(seen)


@pytest.mark.parametrize(("tail", "big"), [(0, 0), (2000, 0), (2000, 1 << 62)])
def test_read_image_batch_find_yields_every_marked_value(tail: int, big: int) -> None:
    rows = []
    for main in range(2, 400):
        value = (b"marked" if main % 3 == 0 else b"plain") * (main % 5)
        value += b"x" * tail if value else b""
        key = f"/k/{main}".encode() + b"long" * (main % 2 * 40)
        mod = big + main
        message = bolt_writer.key_value(key, value, mod, mod, mod, lease=big)
        rows.append((bolt_writer.revision(main), message))
    found: set[bytes] = set()
    read_image(
        Database(bolt_writer.etcd({b"key": rows})),
        visit_batch=lambda batch: found.update(
            each.key for each in batch.find(b"marked") if each.starts(6) == b"marked"
        ),
    )
    marked = [main for main in range(2, 400) if main % 3 == 0 and main % 5]
    assert found == {f"/k/{main}".encode() + b"long" * (main % 2 * 40) for main in marked}


def _naive_hash(rows: list[tuple[bytes, bytes]], revision: int, compact: int, skip: bool) -> int:
    """Compute HashKV as hash.go writes it, row by row."""
    keep: dict[bytes, bytes] = {}
    for key, value in rows:
        if struct.unpack(">Q", key[:8])[0] > revision:
            continue
        name = value[2 : 2 + value[1]]
        if key[17:] == b"t":
            keep.pop(name, None)
        else:
            keep[name] = key
    kept = set(keep.values())
    crc = google_crc32c.extend(0, b"key")
    for key, value in rows:
        main = struct.unpack(">Q", key[:8])[0]
        if main > revision or (main <= compact and kept and key not in kept):
            continue
        if skip and main == compact and key[17:] == b"t":
            continue
        crc = google_crc32c.extend(crc, key + value)
    return crc


@pytest.mark.parametrize("seed", range(40))
def test_read_image_random_history_hashes_as_row_by_row(seed: int) -> None:
    random_ = random.Random(seed)
    rows: list[tuple[bytes, bytes]] = []
    for main in range(2, random_.randint(3, 300)):
        names = random_.sample(range(20), random_.randint(1, 4))
        for sub, number in enumerate(names):
            name = f"key-{number}".encode()
            if random_.random() < 0.3:
                rows.append(
                    (bolt_writer.revision(main, sub, tombstone=True), bolt_writer.key_value(name, b"", 0, 0, 0))
                )  # fmt: skip
            else:
                value = random_.randbytes(random_.randint(0, 300))
                rows.append(
                    (
                        bolt_writer.revision(main, sub),
                        bolt_writer.key_value(name, value, 1, main, 1),
                    )
                )
    database = Database(bolt_writer.etcd({b"key": rows}, random_.choice([1024, 4096, 16384])))
    last = struct.unpack(">Q", rows[-1][0][:8])[0]
    for _turn in range(12):
        revision = random_.randint(1, last)
        compact = random_.choice([-1, random_.randint(0, revision)])
        skip = random_.random() < 0.5
        found = read_image(
            database,
            hash_revision=revision,
            hash_compact_revision=compact,
            skip_compacted_tombstones=skip,
        )
        assert found.hash_kv == _naive_hash(rows, revision, compact, skip)


@pytest.mark.parametrize(
    ("revision", "compact"), [(10_000, -1), (5, 6), (-1, -1)], ids=["future", "compacted", "below"]
)
def test_read_image_hash_out_of_range_refused(revision: int, compact: int) -> None:
    database = Database(bolt_writer.etcd({b"key": _rows(range(20))}))
    with pytest.raises(SnapshotInvalid, match=f"at revision {revision} .* ends at revision 21"):
        read_image(database, hash_revision=revision, hash_compact_revision=compact)


def test_read_image_no_rows_is_revision_one() -> None:
    found = read_image(Database(bolt_writer.etcd({})))
    assert (found.revision, found.current_revision, found.key_count) == (0, 1, 0)


def test_read_image_bumped_row_counts_as_upstream() -> None:
    """etcdutl's --bump-revision adds a row without a KeyValue: a key with the empty name."""
    rows = [*_rows(range(5)), (bolt_writer.revision(1_000_006), b"")]
    mark = (b"scheduledCompactRev", bolt_writer.revision(1_000_006))
    found = read_image(Database(bolt_writer.etcd({b"key": rows, b"meta": [mark]})))
    assert (found.revision, found.compact_revision) == (1_000_006, 1_000_006)
    assert found.key_count == 6


BAD_ROWS: dict[str, tuple[tuple[bytes, bytes], str]] = {
    "short": ((b"\0" * 16, b"\x0a\x01a"), "has 16 bytes, expected 17 or 18"),
    "separator": ((bolt_writer.revision(3).replace(b"_", b"-"), b"\x0a\x01a"), "0x2d between"),
    "negative": ((b"\xff" * 8 + b"_" + b"\0" * 8, b"\x0a\x01a"), "is negative"),
    "negative sub": ((b"\0" * 8 + b"_" + b"\xff" * 8, b"\x0a\x01a"), "is negative"),
    "long key": ((bolt_writer.revision(3), b"\x0a\x7fa"), "not a KeyValue"),
    "endless varint": ((bolt_writer.revision(3), b"\xff" * 20), "not a KeyValue"),
    "group": ((bolt_writer.revision(3), b"\x0b\x01a"), "not a KeyValue"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_read_image_bad_row_names_page_and_value(case: str) -> None:
    row, finding = BAD_ROWS[case]
    database = Database(bolt_writer.etcd({b"key": [row]}))
    with pytest.raises(DatabaseInvalid, match=f"page 2, bucket key, revision .*{finding}"):
        read_image(database)


def test_read_image_bad_member_is_named() -> None:
    database = Database(bolt_writer.etcd({b"members": [(b"zz", b"{}")]}))
    with pytest.raises(DatabaseInvalid, match=r"bucket members, key b'zz': is not a member's ID"):
        read_image(database)


def test_read_image_alarm_and_learner_are_told() -> None:
    member = b'{"id":11,"peerURLs":["http://a:1"],"isLearner":true,"name":"n"}'
    database = Database(
        bolt_writer.etcd({b"alarm": [(b"\x08\x0b\x10\x01", b"")], b"members": [(b"b", member)]})
    )
    found = read_image(database)
    assert [(each.member_id, each.alarm) for each in found.alarms] == [("b", "NOSPACE")]
    assert found.members[0].learner
    assert found.members[0].peer_urls == ("http://a:1",)
