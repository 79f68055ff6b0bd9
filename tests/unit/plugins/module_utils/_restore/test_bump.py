# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the revision is raised."""

from __future__ import annotations

import datetime as dt

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._restore.bump import (
    BumpWish,
    parse_bump,
    raised_by,
)

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.timezone.utc)


@pytest.mark.parametrize(
    ("text", "marked", "wanted"),
    [
        (None, None, None),
        (None, False, None),
        ("auto", None, True),
        ("auto", True, True),
        ("5", None, 5),
        ("1000000000", True, 1000000000),
    ],
)
def test_parse_bump_reads(text: str | None, marked: bool | None, wanted: object) -> None:
    assert parse_bump(text, marked) == wanted


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("0", None),
        ("-5", None),
        ("1e9", None),
        ("", None),
        ("Auto", None),
        ("٣", None),
        (None, True),
        ("5", False),
        ("auto", False),
    ],
)
def test_parse_bump_refuses(text: str | None, marked: bool | None) -> None:
    with pytest.raises(OptionInvalid) as raised:
        parse_bump(text, marked)
    assert "bump_revision" in str(raised.value) and raised.value.hint


@pytest.mark.parametrize(
    ("known", "rate", "days", "wanted"),
    [
        (None, 0.0, None, 10**9),
        (5, 0.0, None, 10**9),
        (10**9 + 100, 0.0, None, 10**9),
        (3 * 10**9 + 100, 0.0, None, 3 * 10**9),
        (None, 1000.0, 1, 10**9),
        (None, 10_000.0, 1, 8_640_000_000),
        (2 * 10**9 + 100, 10_000.0, 1, 10_640_000_000),
        (None, 10_000.0, -1, 10**9),
        (None, 10_000.0, None, 10**9),
    ],
    ids=["nothing known", "older", "within", "newer", "slow", "fast", "both", "future", "no time"],
)
def test_raised_by_auto(known: int | None, rate: float, days: int | None, wanted: int) -> None:
    taken = NOW - dt.timedelta(days=days) if days is not None else None
    wish = BumpWish(None, known_revision=known, revision_rate=rate, taken_at=taken)
    assert raised_by(wish, 100, now=NOW) == wanted


def test_raised_by_a_number_and_no_further_than_etcd_counts() -> None:
    assert raised_by(BumpWish(7, known_revision=10**12), 100, now=NOW) == 7
    with pytest.raises(OptionInvalid, match="beyond"):
        raised_by(BumpWish(1 << 60), 100, now=NOW)
