# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a snapshot fits into an event of AWX, whatever it holds; a cluster's own fits whole."""

from __future__ import annotations

import io
import json
import typing as t

import pytest
from unit.fixtures import bolt_writer as writer
from unit.fixtures import reading

from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.inspect import (
    Wish,
    inspect,
    read_older,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.listed import Lists
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.report import report

if t.TYPE_CHECKING:
    from conftest import Reliability

# AWX: MAX_EVENT_RES_DATA.
EVENT_BYTES = 700_000
Told = dict[str, t.Any]
Values = t.Iterable[tuple[bytes, bytes]]


def image(values: Values, **buckets: t.Sequence[tuple[bytes, bytes]]) -> bytes:
    rows = [
        (writer.revision(at), writer.key_value(key, value, at, at, 2))
        for at, (key, value) in enumerate(values, 2)
    ]
    small = {name.encode(): sorted(pairs) for name, pairs in buckets.items()}
    return writer.etcd({b"key": rows, b"meta": [], **small})


EMPTY = image([])


def tell(
    db: bytes, *, limit: int = 10, query: str | None = None, dest: t.BinaryIO | None = None
) -> tuple[Told, Lists]:
    opened, lists = reading.opened(db), Lists(limit, dest)
    older = read_older(reading.opened(EMPTY), etcd_prefix="/registry")
    found = inspect(opened, Wish("/registry", query=query), older, lists)
    return report(opened, found, lists), lists


def encrypted(name: bytes) -> bytes:
    return b"k8s:enc:aescbc:v1:" + name + b":"


HOSTILE: dict[str, t.Callable[[], bytes]] = {
    "15,000 resources": lambda: image((b"/registry/r%d/ns/x" % i, b"v") for i in range(15000)),
    "15,000 resources of one namespace": lambda: image(
        (b"/registry/g%d.io/k/ns/x" % i, b"v") for i in range(15000)
    ),
    "15,000 resources of 1,000 namespaces": lambda: image(
        (b"/registry/g%d.io/k/ns%d/x" % (i, i % 1000), b"v") for i in range(15000)
    ),
    "20 keys of 300 KB": lambda: image(
        (b"/registry/pods/%02d" % i + b"\0" * 300_000 + b"/x", b"v") for i in range(20)
    ),
    "keys that are long to show": lambda: image(
        (b"/registry/\xff%d.%s/%s/%s/%s" % (i, *[b"\xc3\xa9" * 250] * 4), b"v") for i in range(1500)
    ),
    "encryption keys": lambda: image(
        [
            (b"/registry/secrets/a/%d" % i, encrypted(b"%d\x1b" % i + b"\xff" * 200))
            for i in range(5000)
        ]
        + [(b"/registry/secrets/a/clear", b"v")]
    ),
    "20,000 members": lambda: image(
        [], members=[(b"%x" % (1 << 40 | i), b'{"name":"%d"}' % i) for i in range(20000)]
    ),
    "a member with 100,000 addresses": lambda: image(
        [], members=[(b"1", json.dumps({"peerURLs": ["http://a"] * 100_000}).encode())]
    ),
    "a member of a long ID": lambda: image([], members=[(b"f" * 30000, b"{}")]),
    "30,000 alarms": lambda: image(
        [], alarm=[(b"\x08" + writer.varint(i + 1) + b"\x10\x01", b"") for i in range(30000)]
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_result_fits_into_an_event(name: str, reliability: Reliability) -> None:
    dest = io.BytesIO()
    told, lists = tell(HOSTILE[name](), limit=1000, query="[*]", dest=dest)
    text = json.dumps(told)
    assert len(text) < EVENT_BYTES - 30_000
    (warning,) = lists.warnings("/a.db") or [""]
    assert len(warning) < 1000
    assert dest.getvalue().count(b"\n") == lists.line_count
    assert b"\x1b" not in dest.getvalue() and r"\u001b" not in text
    reliability(
        "Files made to give etcd_snapshot_info an endless result (tens of thousands of resources, "
        "members, alarms or encryption keys, keys of 300 KB)",
        "the result stays below 700,000 bytes, with a warning and counts of all; dest has the rest",
        area="content",
    )


def test_highest_figures_are_kept_and_the_rest_goes_to_dest() -> None:
    dest = io.BytesIO()
    keys = [b"/registry/r%05d.io/k/ns/x" % i for i in range(5000)]
    keys += [b"/registry/z.io/many/ns/%d" % i for i in range(3)]
    told, lists = tell(image((key, b"v") for key in keys), dest=dest)
    kubernetes, difference = told["kubernetes"], told["difference"]
    assert kubernetes["resource_count"] == difference["resource_count"] == 5001
    assert 1000 < len(kubernetes["resources"]) < 5001
    assert list(kubernetes["resources"])[-1] == "z.io/many"
    assert difference["resources"]["z.io/many"] == {"added": 3, "changed": 0, "removed": 0}
    (namespace,) = kubernetes["namespaces"]
    assert namespace["object_count"] == 5003 and namespace["resources"]["z.io/many"] == 3
    lines = [json.loads(line) for line in dest.getvalue().splitlines()]
    listed = dict(line["item"] for line in lines if line["list"] == "resources")
    assert len(listed) == 5001 and kubernetes["resources"].items() < listed.items()
    (whole,) = [line["item"] for line in lines if line["list"] == "namespaces"]
    assert len(whole["resources"]) == 5001
    (warning,) = lists.warnings("/a.db")
    assert f"resources with {len(kubernetes['resources'])} of 5001" in warning


def test_clear_secrets_are_told_whatever_else_there_is() -> None:
    told, _lists = tell(HOSTILE["encryption keys"]())
    assert told["kubernetes"]["secrets"]["identity"] == 1
    assert told["kubernetes"]["encryption_key_count"] == 5000 > len(told["kubernetes"]["encrypted"])


def test_query_of_one_item_that_holds_everything_is_cut() -> None:
    db = image((b"/registry/pods/ns/name-%05d" % i, b"v") for i in range(5000))
    told, lists = tell(db, query="[[*]]")
    assert (told["query_result"], told["query_count"]) == ([], 1)
    assert "query with 0 of 1" in lists.warnings("/a.db")[0]


def test_large_cluster_is_told_whole() -> None:
    """500 resources, 5,000 namespaces: nothing of it is cut, and nothing is warned of."""
    names = [b"group-%03d.example.org/resources%03d" % (i // 3, i) for i in range(500)]
    keys = [b"/registry/%s/ns/object" % name for name in names]
    keys += [b"/registry/configmaps/namespace-%04d/object" % i for i in range(5000)]
    told, lists = tell(image((key, b"v") for key in keys), limit=100, query="[*].name")
    assert len(told["kubernetes"]["resources"]) == len(told["difference"]["resources"]) == 501
    assert len(told["kubernetes"]["namespaces"]) == 100
    assert len(told["kubernetes"]["namespaces"][0]["resources"]) == 500
    assert len(told["query_result"]) == 100
    assert not lists.warnings("/a.db")
