# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spans of keys, split between some of them."""

from __future__ import annotations

import random

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.keyspace import (
    ALL,
    Span,
    below,
)


def held(span: Span, keys: list[bytes]) -> list[bytes]:
    """Return the keys of a span, as etcd has it: up to the end, and `\\0` is none."""
    return [key for key in keys if key >= span.start and (span.end == b"\0" or key < span.end)]


@pytest.mark.parametrize("seed", range(20))
def test_split_parts_hold_each_key_once_in_order(seed: int) -> None:
    chance = random.Random(seed)
    names = {bytes(chance.choices(b"/ab\xff\0", k=chance.randint(1, 6))) for _turn in range(300)}
    keys = sorted(names)
    fences = sorted(chance.sample(keys, chance.randint(0, 40)))
    for whole in (ALL, below(b"/a"), below(b"\xff"), Span(keys[5], keys[-5])):
        parts = list(whole.split(fences))
        assert [key for part in parts for key in held(part, keys)] == held(whole, keys)
        assert len(parts) <= len(fences) + 1


def test_split_without_fences_is_the_span() -> None:
    assert list(ALL.split(())) == [ALL]
    assert list(below(b"/a").split([b"/", b"/b", b"/c"])) == [below(b"/a")]


def test_split_cuts_before_the_fence() -> None:
    assert list(Span(b"a", b"z").split([b"a", b"c", b"c", b"z"])) == [
        Span(b"a", b"c"),
        Span(b"c", b"z"),
    ]
