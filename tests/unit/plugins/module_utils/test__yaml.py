# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML that a host holds, whatever it is."""

from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._yaml import NotYaml, load

LEVELS = "".join(
    f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]\n" for level in range(1, 10)
)
MERGES = "".join(
    f"{one}{level}: &{one}{level}\n  <<: [*a{level - 1}, *b{level - 1}]\n"
    for level in range(1, 30)
    for one in "ab"
)


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("", []),
        ("a: 1\n---\n- b\n", [{"a": 1}, ["b"]]),
        ("base: &b {x: 1}\nown: {<<: *b, y: 2}\n", [{"base": {"x": 1}, "own": {"x": 1, "y": 2}}]),
        ("a: &a [1]\nb: [*a, *a]\n", [{"a": [1], "b": [[1], [1]]}]),
        ("1: a\nb: c\n2026-01-01: d\n", None),
    ],
)
def test_load_gives_documents(text: str, documents: list[object] | None) -> None:
    found = load(text)
    assert found == documents if documents is not None else len(found[0]) == 3


def test_load_the_first_only_never_reads_the_rest() -> None:
    assert load("a: 1\n---\nb: [", most=1) == [{"a": 1}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [b: c", "line 1 is no YAML"),
        ("a: b\nc: PLANTED: x", "line 2 is no YAML"),
        ("a: !!python/object:os.system PLANTED", "line 1 is no YAML"),
        ("? [a]\n: b", "no YAML"),
        ("a: \udc80", "no YAML"),
        ('users: !!int ""', "impossible"),
        ("users: !!bool PLANTED", "impossible"),
        ("users: !!timestamp PLANTED", "impossible"),
        ("users: !!float PLANTED", "impossible"),
        ("a: 2026-99-99 00:00:00", "impossible"),
        ("a: 0x" + "f" * 5000, "impossible"),
        ("[" * 5000, "nested too deeply"),
        ("a: &x [*x]", "contains itself"),
        ("a: &x {b: {c: *x}}", "contains itself"),
        (f"l0: &l0 [x]\n{LEVELS}", "aliases expand"),
        ("a: &a " + "x" * 1_000_000 + "\nb: &b [*a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b"
         ", *b, *b, *b, *b, *b]", "aliases expand"),
    ],
    ids=lambda value: value[:40],
)  # fmt: skip
def test_load_refuses_in_words_that_quote_nothing(text: str, why: str) -> None:
    with pytest.raises(NotYaml, match=why) as caught:
        load(text)
    assert "PLANTED" not in str(caught.value)


def test_load_takes_a_large_text_without_aliases() -> None:
    assert len(load("\n".join(f"- {number}" for number in range(20_000)))[0]) == 20_000


def test_load_merges_of_merges_end() -> None:
    """A thousand million copies for PyYAML before 6.0.4, which merges each key once."""
    text = f"a0: &a0 {{x: 1}}\nb0: &b0 {{y: 1}}\n{MERGES}"
    try:
        [found] = load(text)
    except NotYaml as exc:
        assert "is no YAML" in str(exc)
    else:
        assert found["a29"] == {"x": 1, "y": 1}
