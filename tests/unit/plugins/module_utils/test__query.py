# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JMESPath: what it gives, and what is refused in words."""

from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._query import Query

DATA = [{"name": "a", "days_left": 3}, {"name": "b", "days_left": 90}]


def query(text: str) -> Query:
    return Query(text, noun="certificates", example="[?days_left < `60`].path")


def test_apply() -> None:
    assert query("[?days_left < `60`].name").apply(DATA) == ["a"]
    assert query("nothing").apply(DATA) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[?", "is not a JMESPath expression"),
        ("[" * 5000, "is not a JMESPath expression"),
        ("length(`3`)", "does not fit the certificates"),
        ("[::0]", "does not fit the certificates"),
        ("&name", "gives what JSON can't hold"),
        ("[to_number('NaN')]", "gives what JSON can't hold"),
        ("ceil(to_number('1e999'))", "does not fit the certificates"),
        ("floor(to_number('1e999'))", "does not fit the certificates"),
        ('`"\\ud800"`', "gives what JSON can't hold"),
        ('{"\\ud800": name}', "gives what JSON can't hold"),
        ('sum(`"\\ud800"`)', "does not fit the certificates"),
        ("|".join(["[0]"] * 3000), "is nested, or a chain of"),
        ("a||" * 3000 + "a", "is nested, or a chain of"),
    ],
)
def test_what_cannot_be_applied_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(OptionInvalid, match=f"Option query {words}") as error:
        query(text).apply(DATA)
    assert "as in [?days_left < `60`].path" in error.value.hint
    assert len(str(error.value)) < 700
    assert str(error.value).isprintable()


@pytest.mark.parametrize("text", ["not_null(" * 190 + "@" + ")" * 190, "nothing||" * 190 + "@"])
def test_what_is_deep_is_applied_far_down_the_stack(text: str) -> None:
    def below(calls: int) -> object:
        return below(calls - 1) if calls else query(text).apply(DATA)

    assert below(150) == DATA
