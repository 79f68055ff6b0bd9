# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
import typing as t

import pytest
from unit.fixtures import bolt_writer, snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import (
    Bucket,
    Database,
    Seen,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.sheaf import Sheaf


def _one_by_one(database: Database, bucket: Bucket) -> list[tuple[int, bytes, bytes, int]]:
    source = database.source
    return [
        (leaf.page_id, key, source[start:end], start)
        for leaf in bucket.leaves()
        for key, start, end in zip(leaf.keys, leaf.value_starts, leaf.ends)
    ]


def _together(database: Database, bucket: Bucket) -> t.Iterator[tuple[int, bytes, bytes, int]]:
    for leaf in bucket.sheaves(Seen(database.page_count)):
        again = leaf if bucket.inline else database.read_again(leaf.page_ids)
        assert again.keys == leaf.keys
        assert sum(leaf.page_counts()) == leaf.count
        first = 0
        for page_id, count in zip(leaf.page_ids, leaf.page_counts()):
            for index in range(first, first + count):
                file, start, end = leaf.value_place(index)
                assert file is database.source
                assert leaf.page_of(index) == page_id
                assert leaf.key(index) == leaf.keys[index]
                value = leaf.source[leaf.value_starts[index] : leaf.ends[index]]
                assert value == file[start:end]
                if not bucket.inline:
                    assert database.element(page_id, index - first)[1:] == (start, end)
                yield page_id, leaf.keys[index], value, start
            first += count


@pytest.mark.parametrize("name", snapshots.SCENARIOS)
def test_sheaves_hold_what_leaves_hold(name: str) -> None:
    database = Database(snapshots.image(name))
    for _name, bucket in database.buckets():
        assert list(_together(database, bucket)) == _one_by_one(database, bucket)


@pytest.mark.parametrize("seed", range(10))
def test_sheaves_of_pages_of_all_sizes(seed: int) -> None:
    """Some values take pages larger than a sheaf; those stand alone."""
    random_ = random.Random(seed)
    pairs = []
    for number in range(2000):
        size = random_.choice([0, 10, 300, 5000, random_.choice([1, 300_000])])
        pairs.append((f"{number:08}".encode(), random_.randbytes(size if number % 50 else 300_000)))
    database = Database(bolt_writer.build({b"key": pairs}, random_.choice([1024, 4096, 65536])))
    bucket = database.bucket(b"key")
    assert bucket is not None
    found = list(_together(database, bucket))
    assert found == _one_by_one(database, bucket)
    assert [(key, value) for _page, key, value, _start in found] == pairs
    kinds = [isinstance(leaf, Sheaf) for leaf in bucket.sheaves(Seen(database.page_count))]
    assert True in kinds
    assert False in kinds
