# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests and owners' files that are none: a value, None or ManifestInvalid, and nothing else."""

from __future__ import annotations

import copy
import json
import random
import typing as t
from collections import Counter
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import manifest, owner
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import ManifestInvalid

if t.TYPE_CHECKING:
    from conftest import Reliability

GOOD = Path(__file__).with_name("fixtures").joinpath("manifest-v1.json").read_bytes()
NO_JSON = {
    "nothing": b"",
    "no text": b"\xff\xfe\x00",
    "cut off": GOOD[:-20],
    "arrays 200,000 deep": b"[" * 200_000,
    "objects 200,000 deep": b'{"a":' * 200_000,
    "a long number": b"9" * 1_000_000,
    "null": b"null",
    "a list": b"[]",
}
VALUES = (
    *(None, 0, -1, 1 << 70, 1e308, float("inf"), True, "", "\ud800", "x" * 100_000),
    *("../../etc/passwd", "/etc/passwd", [], {}, [[]], {"a": 1}, [None]),
)


@pytest.mark.parametrize("name", NO_JSON)
def test_no_document_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ManifestInvalid, match="prod/X/manifest.json") as caught:
        manifest.from_json(NO_JSON[name], "prod/X/manifest.json")
    assert len(str(caught.value)) < 1500
    assert owner.from_json(NO_JSON[name]) is None


def _places(node: t.Any, path: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    if path:
        yield path
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()  # fmt: skip
    for key, below in pairs:
        yield from _places(below, (*path, key))


def _read(data: bytes) -> bool:
    try:
        manifest.from_json(data, "manifest.json")
    except ManifestInvalid:
        return False
    return True


def test_changed_documents_are_read_or_refused(reliability: Reliability) -> None:
    """Every field is left out, and gets every odd value, in turn; and bytes change at random."""
    document = json.loads(GOOD)
    ends = Counter[bool]()
    places = list(_places(document))
    for number, place in enumerate(places):
        # An eighth of the values each: all of them meet every kind of field.
        for value in (*VALUES[number % 8 :: 8], ...):
            changed = copy.deepcopy(document)
            node = changed
            for key in place[:-1]:
                node = node[key]
            if value is ...:
                del node[place[-1]]
            else:
                node[place[-1]] = value
            ends[_read(json.dumps(changed).encode())] += 1
    for seed in range(120):
        chosen = random.Random(seed)
        bad = bytearray(GOOD)
        for _turn in range(chosen.choice([1, 3])):
            bad[chosen.randrange(len(bad))] = chosen.randrange(256)
        ends[_read(bytes(bad))] += 1
    assert ends[False] > 2 * ends[True] > 0
    reliability(
        f"{sum(ends.values())} manifests with a field left out or of another kind, or with other "
        "bytes, read without a look at their signature",
        f"{ends[False]} break the schema and are refused, {ends[True]} are still manifests; "
        "nothing else happens",
        area="content",
    )
