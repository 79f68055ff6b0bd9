# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.rows import Live


def _one_by_one(history: list[tuple[bytes, bool]]) -> bytes:
    newest: dict[bytes, int] = {}
    for row, (name, deleted) in enumerate(history):
        newest.pop(name, None)
        if not deleted:
            newest[name] = row
    return bytes(row in newest.values() for row in range(len(history)))


@pytest.mark.parametrize("spread", [1, 3, 1 << 60], ids=["all collide", "many collide", "none"])
@pytest.mark.parametrize("seed", range(30))
def test_live_random_history_is_that_of_a_dictionary(seed: int, spread: int) -> None:
    """Keys that share a hash are told apart by their bytes."""
    random_ = random.Random(seed)
    history = [
        (f"key-{random_.randrange(random_.choice([3, 40]))}".encode(), random_.random() < 0.3)
        for _turn in range(random_.randrange(200))
    ]
    live = Live(lambda name: hash(name) % spread)
    at = 0
    while at < len(history):
        lot = history[at : at + random_.randint(1, 20)]
        live.add(
            [name for name, _other in lot],
            [i for i, (_other, deleted) in enumerate(lot) if deleted],
        )
        at += len(lot)
    assert live.row_count == len(history)
    bound = random_.choice([None, random_.randint(0, len(history))])
    found, kept = live.settle(lambda row: history[row][0], bound)
    assert bytes(found) == _one_by_one(history)
    assert bytes(kept) == _one_by_one(history[:bound])


def test_live_asks_only_for_keys_with_several_rows() -> None:
    live = Live()
    names = [f"key-{number}".encode() for number in range(100_000)]
    live.add([*names, names[5]], [])
    asked: list[int] = []

    def name_of(row: int) -> bytes:
        asked.append(row)
        return names[row] if row < len(names) else names[5]

    found, _kept = live.settle(name_of)
    assert asked == [5, 100_000]
    assert found.count(0) == 1
    assert not found[5]
