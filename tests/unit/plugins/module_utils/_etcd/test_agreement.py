# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HashKV agreement: the truth table."""

from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.agreement import (
    HashEntry,
    HashOutcome,
    agree,
)

EQUAL, DIFFERENT, NOT = HashOutcome.EQUAL, HashOutcome.DIFFERENT, HashOutcome.NOT_COMPARABLE


def entries(*shown: str) -> list[HashEntry]:
    """Read `name hash compact_revision`, or `name - reason`."""
    found = []
    for text in shown:
        name, value, rest = text.split(" ", maxsplit=2)
        if value == "-":
            found.append(HashEntry(f"id-{name}", name, None, None, None, rest))
        else:
            found.append(HashEntry(f"id-{name}", name, value, 100, int(rest)))
    return found


@pytest.mark.parametrize(
    ("given", "required", "outcome", "hash_kv", "agreeing", "differing"),
    [
        (["a 11 5"], 1, EQUAL, "11", "a", ""),
        (["a 11 5", "b 11 5", "c 11 5"], 2, EQUAL, "11", "abc", ""),
        (["a 11 5", "b 11 5"], 2, EQUAL, "11", "ab", ""),
        (["a 11 5", "b 11 5", "c - too slow"], 2, EQUAL, "11", "ab", ""),
        (["a 11 5", "b 11 5", "c 22 6"], 2, EQUAL, "11", "ab", ""),
        (["a 11 5", "b 11 5", "c 22 5"], 2, DIFFERENT, "11", "ab", "c"),
        (["a 11 5", "b 22 5"], 2, DIFFERENT, None, "", "ab"),
        (["a 11 5", "b 22 5", "c 33 5"], 2, DIFFERENT, None, "", "abc"),
        (["a 11 5", "b 11 5", "c 22 6", "d 33 6", "e 11 5"], 3, DIFFERENT, None, "", "cd"),
        (["a 11 5", "b 11 6"], 2, NOT, "11", "a", ""),
        (["a 11 5", "b - compacted", "c - compacted"], 2, NOT, "11", "a", ""),
        (["a - down", "b - down"], 2, NOT, None, "", ""),
        ([], 1, NOT, None, "", ""),
    ],
    ids=[
        "one-member",
        "three-equal",
        "two-of-three-equal",
        "one-silent",
        "one-compacted-further",
        "one-wrong",
        "two-differ-no-majority",
        "three-differ",
        "minority-differs-among-itself",
        "compact-revisions-differ",
        "one-answer-is-no-majority",
        "none-answers",
        "none-asked",
    ],
)
def test_agree(
    given: list[str],
    required: int,
    outcome: HashOutcome,
    hash_kv: str | None,
    agreeing: str,
    differing: str,
) -> None:
    found = agree(entries(*given), required=required)
    assert found.outcome is outcome
    assert found.hash == hash_kv
    assert found.agreeing == tuple(f"id-{name}" for name in agreeing)
    assert found.differing == tuple(differing)


def test_agree_tells_why_not() -> None:
    found = agree(entries("a 11 5", "b 11 6", "c - required revision compacted"), required=2)
    text = "; ".join(found.reasons)
    for words in ("c: required revision compacted", "a at 5, b at 6", "2 make a majority"):
        assert words in text
    shown = agree(entries("a 11 5", "b 22 5", "c 22 5"), required=2).reasons[0]
    assert shown == "at revision 100, compacted at 5: a has 11, b has 22, c has 22"
