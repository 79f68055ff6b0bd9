# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queries over objects, and two snapshots compared: against the plain way to do it."""

from __future__ import annotations

import hashlib
import json
import os
import typing as t
from pathlib import Path

import jmespath
import pytest
from unit.fixtures import bolt_writer as writer
from unit.fixtures import reading, snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    OptionInvalid,
    SnapshotInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._restore.image import look_into
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot import objects, opened
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.inspect import (
    Inspection,
    Wish,
    inspect,
    read_older,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.listed import (
    Lists,
    check_dest,
    open_lists,
)

if t.TYPE_CHECKING:
    from conftest import Reliability

Row = tuple[str, bytes, int, int, int]


def image(rows: t.Sequence[Row], deleted: t.Sequence[tuple[str, int]] = ()) -> bytes:
    """Build a database of rows (key, value, create_revision, mod_revision, version)."""
    pairs = [
        (
            writer.revision(mod),
            writer.key_value(key.encode(), value, create, mod, version),
        )
        for key, value, create, mod, version in rows
    ]
    pairs += [
        (writer.revision(at, tombstone=True), writer.key_value(key.encode(), b"", 0, 0, 0))
        for key, at in deleted
    ]
    return writer.build({b"key": sorted(pairs), b"meta": []})


def key_of(number: int) -> str:
    resource = ("secrets", "pods", "deployments")[number % 3]
    return f"/registry/{resource}/ns{number % 5}/name-{number:05}"


ROWS: list[Row] = [(key_of(n), b"v" * (n % 97), n + 2, n + 2, 1) for n in range(6000)]
FOREIGN: Row = ("no-object", b"x", 7000, 7000, 1)


def look(path: Path, *, compare_to: Path | None = None, **wish: t.Any) -> tuple[Inspection, Lists]:
    keys = opened.Keys((), "/var/tmp")
    compared = None
    if compare_to:
        with opened.open_path(str(compare_to), keys, skip_hash_check=False) as older:
            compared = read_older(older, etcd_prefix="/registry")
    with (
        opened.open_path(str(path), keys, skip_hash_check=False) as found,
        open_lists(10, None) as lists,
    ):
        return inspect(found, Wish("/registry", **wish), compared, lists), lists


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("db") / "db"
    path.write_bytes(image([*ROWS, FOREIGN]))
    return path


@pytest.fixture(scope="module")
def plain() -> list[dict[str, t.Any]]:
    """What the query is applied to, made without the collection."""
    groups = {"deployments": "apps/deployments"}
    found: list[dict[str, t.Any]] = []
    for key, value, create, mod, version in [*ROWS, FOREIGN]:
        _e, _r, resource, namespace, name = key.split("/") if "/" in key else (None,) * 5
        found.append(
            {
                "etcd_key": key,
                "resource": groups.get(resource or "", resource),
                "namespace": namespace,
                "name": name,
                "create_revision": create,
                "mod_revision": mod,
                "version": version,
                "lease": "0",
                "size_bytes": len(value),
            }
        )
    return found


QUERIES = [
    "[?resource=='secrets'].name",
    "[*].size_bytes",
    "[?size_bytes>`90`] | [0:3]",
    "length(@)",
    "length([?namespace=='ns1'])",
    "sum([?resource=='pods'].size_bytes)",
    "reverse(sort_by([?namespace=='ns2'], &size_bytes))[:5].[resource, name]",
    "sort_by(@, &mod_revision)[-1].etcd_key",
    "max_by(@, &size_bytes).name",
    "{secrets: length([?resource=='secrets']), pods: length([?resource=='pods'])}",
    "[length([?resource=='pods']), length(@)]",
    "[?resource==null]",
    "[0:3].name",
    "[5]",
    "[-1].etcd_key",
    "[?contains(name || '', '00017')]",
    "[?namespace=='ns3'] | [?size_bytes>`95`].name | sort(@)",
    "not_null([?resource=='nothing'] | [0], 'none')",
    "[?size_bytes>`95`] && 'large'",
    "[?size_bytes>`1000`] || 'small'",
    "[].name | length(@)",
    "@[?version>`1`]",
    "`[1, 2]`",
    "name",
    "[?name=='x'] == [?name=='y']",
    "map(&name, [?size_bytes==`96` && namespace=='ns0'])",
    "[?resource=='secrets'] | [*].namespace | [0]",
]


@pytest.mark.parametrize("query", QUERIES)
def test_query_gives_what_it_gives_over_the_whole_list(
    query: str, db: Path, plain: list[dict[str, t.Any]]
) -> None:
    found, lists = look(db, query=query)
    want = jmespath.search(query, plain)
    assert found.query is not None
    if isinstance(want, list):
        assert found.query.count == len(want)
        assert found.query.answer == want[:10]
        assert lists.counts["query"] == len(want)
    else:
        assert (found.query.answer, found.query.count) == (want, None)


@pytest.mark.parametrize("query", ["[?", "sort_by(@)", "nope([*])", "[?abs(name)]", ""])
def test_query_that_cannot_be_used_is_said(query: str, db: Path) -> None:
    if not query:
        assert look(db, query=query)[0].query is None
        return
    with pytest.raises(OptionInvalid, match="Option query") as error:
        look(db, query=query)
    assert "[?resource=='secrets'" in str(error.value)


def test_query_that_gives_much_in_one_piece_is_refused(db: Path) -> None:
    with pytest.raises(OptionInvalid, match="bytes that are no list"):
        look(db, query="{all: [*].etcd_key}")


def test_query_that_keeps_too_much_is_refused(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_MOST", 3000)
    with pytest.raises(OptionInvalid, match="more than 3000 objects"):
        look(db, query="length(@)")
    assert look(db, query="length([?namespace=='ns1'])")[0].query.answer == 1200  # type: ignore[union-attr]


def test_comparison_tells_added_changed_and_removed(tmp_path: Path) -> None:
    secret = "/registry/secrets/a/s"
    before = [
        ("/registry/pods/a/kept", b"1", 2, 2, 1),
        ("/registry/pods/a/rewritten", b"1", 3, 3, 1),
        ("/registry/pods/a/gone", b"1", 4, 4, 1),
        (secret, b"before a restore", 5, 5, 1),
    ]
    after = [
        ("/registry/pods/a/kept", b"1", 2, 2, 1),
        (secret, b"after a restore", 5, 5, 1),  # the same revision of another history
        ("/registry/pods/a/rewritten", b"1", 3, 6, 2),
        ("/registry/apps/new", b"1", 7, 7, 1),
    ]
    (tmp_path / "before").write_bytes(image(before))
    (tmp_path / "after").write_bytes(image(after, deleted=[("/registry/pods/a/gone", 8)]))
    told = look(tmp_path / "after", compare_to=tmp_path / "before")[0].difference
    assert told is not None
    assert [told[f"{kind}_count"] for kind in ("added", "changed", "removed")] == [1, 2, 1]
    assert [item["etcd_key"] for item in told["added"]] == ["/registry/apps/new"]
    assert [item["etcd_key"] for item in told["changed"]] == [secret, "/registry/pods/a/rewritten"]
    assert [item["name"] for item in told["removed"]] == ["gone"]
    assert told["resources"]["pods"] == {"added": 0, "changed": 1, "removed": 1}
    assert told["resources"]["secrets"] == {"added": 0, "changed": 1, "removed": 0}
    assert (told["compared_to"], told["compared_revision"]) == (str(tmp_path / "before"), 5)
    same = look(tmp_path / "after", compare_to=tmp_path / "after")[0].difference
    assert same is not None
    assert [same[f"{kind}_count"] for kind in ("added", "changed", "removed")] == [0, 0, 0]


def test_resource_whose_group_is_told_last_has_one_name(tmp_path: Path) -> None:
    """Thousands of encrypted objects of an unknown resource, then a clear one that names it."""
    sealed = [
        (f"/registry/gadgets/ns/a{n:04}", b"k8s:enc:aescbc:v1:k:" + b"x" * 200, n, n, 1)
        for n in range(2, 3002)
    ]
    pod, gone = ("/registry/pods/ns/p", b"v", 1, 1, 1), ("/registry/gadgets/b/z", b"v", 1, 1, 1)
    clear = b'{"apiVersion":"example.org/v1","kind":"Gadget"}'
    (tmp_path / "before").write_bytes(image([gone]))
    (tmp_path / "after").write_bytes(
        image([pod, *sealed, ("/registry/gadgets/ns/z", clear, 4000, 4000, 1)])
    )
    for query, want in (
        ("[?resource=='example.org/gadgets'] | length(@)", 3001),
        ("[?resource=='gadgets'] | length(@)", 0),
        ("[*].resource | [1]", "example.org/gadgets"),
        ("length(@)", 3002),
    ):
        found, lists = look(tmp_path / "after", compare_to=tmp_path / "before", query=query)
        assert found.query is not None and found.query.answer == want, query
    assert found.catalogue.counts == {"example.org/gadgets": 3001, "pods": 1}
    assert found.difference is not None
    assert found.difference["resources"] == {
        "example.org/gadgets": {"added": 3001, "changed": 0, "removed": 1},
        "pods": {"added": 1, "changed": 0, "removed": 0},
    }
    assert {item["resource"] for item in lists.first("added")} == {"pods", "example.org/gadgets"}
    assert lists.counts["added"] == found.difference["added_count"] == 3002


def test_growth_names_the_large_the_rewritten_and_the_history(tmp_path: Path) -> None:
    long_name = "/registry/configmaps/a/" + "n" * 150  # a length of two varint bytes
    rows: list[Row] = [(key_of(n), b"v" * 50, n + 2, n + 2, 1) for n in range(300)]
    for turn in range(40):
        rows.append(("/registry/leases/a/busy", b"t" * 30, 400, 400 + turn, turn + 1))
        rows.append((long_name, b"c" * (100 + turn), 500, 500 + turn, turn + 200))
    rows.append(("/registry/configmaps/a/large", b"L" * 9000, 600, 600, 1))
    (tmp_path / "db").write_bytes(image(rows, deleted=[(key_of(0), 700)]))
    found, lists = look(tmp_path / "db")
    largest = lists.first("largest")
    assert (largest[0]["name"], largest[0]["size_bytes"]) == ("large", 9000)
    assert (largest[1]["etcd_key"], largest[1]["size_bytes"]) == (long_name, 139)
    assert [(item["etcd_key"], item["version"]) for item in lists.first("most_rewritten")] == [
        (long_name, 239),
        ("/registry/leases/a/busy", 40),
    ]
    history = lists.first("most_history")
    assert [(item["etcd_key"], item["revision_count"]) for item in history[:2]] == [
        (long_name, 39),
        ("/registry/leases/a/busy", 39),
    ]
    # Beside them the deleted key's last value, and its deletion.
    assert found.history_rows == 39 + 39 + 2
    assert found.history_bytes == sum(
        len(writer.key_value(key.encode(), value, create, mod, version))
        for key, value, create, mod, version in [rows[0], *rows[300:378]]
    ) + len(writer.key_value(key_of(0).encode(), b"", 0, 0, 0))


def test_prefix_without_objects_is_doubted(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(
        image(
            [("/openshift.io/x/y", b"v", 2, 2, 1)]
            + [(f"/kubernetes.io/pods/a/{n}", b"v", n, n, 1) for n in range(3, 10)]
        )
    )
    (doubt,) = look(tmp_path / "db")[0].warnings
    assert "no object lies under etcd_prefix '/registry'; 7 of 8 keys" in doubt
    assert "under /kubernetes.io." in doubt
    (tmp_path / "db").write_bytes(image([("key", b"v", 2, 2, 1)]))
    assert "1 of 1 keys lie under no path" in look(tmp_path / "db")[0].warnings[0]
    (tmp_path / "db").write_bytes(image([]))
    assert look(tmp_path / "db")[0].warnings == ()


@pytest.mark.parametrize(
    ("query", "unknown"),
    [
        ("[?nme=='x']", ["nme"]),
        ("[?nme=='x' && contains(Name, 'y')].name | [0]", ["Name", "nme"]),
        ("[*].{key: etcd_key, kind: kind}", ["kind"]),
        ("{a: `1`, b: length([?resource=='pods'].sizeBytes)}", ["sizeBytes"]),
        ("[?resource=='pods'].{n: name} | [?n=='x'].m", []),
        ("[*].lease.nothing", []),
        ("map(&nothing, [?version>`9`])", []),
        ("[?contains(@.nothing || '', 'x')]", []),
        (f"[?{' && '.join(sorted(objects.FIELDS))}]", []),
    ],
)
def test_field_that_no_object_has_is_doubted(query: str, unknown: list[str], db: Path) -> None:
    doubts = look(db, query=query)[0].warnings
    assert len(doubts) == bool(unknown)
    for name in unknown:
        assert repr(name) in doubts[0] and "they have create_revision, etcd_key" in doubts[0]


def test_fields_are_those_of_an_object(plain: list[dict[str, t.Any]]) -> None:
    assert set(plain[0]) == objects.FIELDS


@pytest.mark.parametrize("size", [127, 128, 16383, 16384, 20000])
def test_growth_finds_keys_of_any_length(size: int, tmp_path: Path) -> None:
    key = "/registry/roles/a/".ljust(size, "x")
    (tmp_path / "db").write_bytes(image([(key, b"value", 2, 9, 5)]))
    _found, lists = look(tmp_path / "db")
    assert [item["version"] for item in lists.first("most_rewritten")] == [5]
    assert [item["size_bytes"] for item in lists.first("largest")] == [5]


def test_lists_go_whole_to_a_file(tmp_path: Path) -> None:
    with open_lists(2, str(tmp_path / "lists.jsonl")) as lists:
        for number in range(5):
            lists.add("a", {"n": number})
        assert lists.first("a") == [{"n": 0}, {"n": 1}]
    lines = [json.loads(line) for line in (tmp_path / "lists.jsonl").read_text().splitlines()]
    assert lines == [{"list": "a", "item": {"n": number}} for number in range(5)]
    assert (tmp_path / "lists.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["", ".", "nothing/here", "folder/", "pipe", "link", "/proc/1/x"])
def test_lists_need_a_place_for_a_file(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("elsewhere")
    before = sorted(tmp_path.iterdir())
    dest = os.path.join(tmp_path, name)
    with pytest.raises(ArchiveError, match="cannot be written") as error:
        if name != "/proc/1/x":
            check_dest(dest, spare=(), archive=None)
        else:  # where permissions alone do not tell
            with open_lists(2, dest):
                pass
    assert dest in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("dest", ["", "lists.jsonl", "./lists.jsonl", "/tmp/a\0b"])
def test_lists_need_an_absolute_path(dest: str) -> None:
    with pytest.raises(OptionInvalid, match="is no absolute path"):
        check_dest(dest, spare=(), archive=None)


def test_lists_go_to_no_archive(tmp_path: Path) -> None:
    entry = tmp_path / "archive" / "prod" / "20261123T145000Z-7c9e1a2b"
    entry.mkdir(parents=True)
    (entry / "manifest.json").write_text("{}")
    (tmp_path / "way").symlink_to(entry)
    archive = str(tmp_path / "archive")
    for dest, given in (
        (entry / "manifest.json", archive),
        (entry / "manifest.json", None),
        (entry / "new", None),
        (tmp_path / "way" / "new", None),
        (entry.parent / "new", archive),
        (tmp_path / "archive" / "new", f"{archive}/"),
        (tmp_path / "archive" / ".." / "archive" / "new", archive),
    ):
        with pytest.raises(OptionInvalid, match="lies in an archive") as error:
            check_dest(str(dest), spare=(), archive=given)
        assert str(dest) in str(error.value)
    check_dest(str(tmp_path / "archive.jsonl"), spare=(), archive=archive)


def test_contents_that_no_sha256_was_taken_of_are_not_told(
    tmp_path: Path, reliability: Reliability
) -> None:
    """Other bytes in a value, after the file was opened and summed: its structure is as good."""
    path = tmp_path / "snapshot.db"
    data = image(ROWS)
    path.write_bytes(data + hashlib.sha256(data).digest())
    os.utime(path, (0, 0))
    readings: list[t.Callable[[opened.Opened], object]] = [
        lambda found: inspect(found, Wish("/registry"), None, Lists(10, None)),
        lambda found: read_older(found, etcd_prefix="/registry"),
        lambda found: look_into(found, etcd_prefix="/registry"),
    ]
    for read in readings:
        with opened.open_path(
            str(path), opened.Keys((), str(tmp_path)), skip_hash_check=False
        ) as found:
            with path.open("r+b") as file:
                file.seek(data.index(b"v" * 50))
                file.write(b"other")
            with pytest.raises(SnapshotInvalid, match=f"{path} was changed while") as error:
                read(found)
        path.write_bytes(data + hashlib.sha256(data).digest())
        os.utime(path, (0, 0))
    reliability(
        "a snapshot is written to between its sha256 and the reading of its contents",
        "etcd_snapshot_info and etcd_restore fail; nothing of it is told",
        area="content",
        message=str(error.value).replace(str(path), "/var/backups/etcd/a.db"),
    )


def test_inspect_doubts_are_warned_of() -> None:
    wish = Wish(etcd_prefix="/nothing", query="[?nme=='x']")
    found = inspect(reading.opened(snapshots.image("3.6.16/auth")), wish, None, Lists(10, None))
    first, second = found.warnings
    assert "no object lies under etcd_prefix '/nothing'" in first
    assert "option query reads 'nme', which no object has" in second


def test_paths_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    """Below the module: some ansible-cores can't log a NUL, and fail before it is asked."""
    keys = opened.Keys((), str(tmp_path))
    with pytest.raises(SnapshotInvalid, match="cannot be opened: "):
        opened.open_path("/a\0b", keys, skip_hash_check=False).__enter__()
    with pytest.raises(OptionInvalid, match="Option dest is '/a.x00b', which is no absolute path"):
        check_dest("/a\0b", spare=(), archive=None)
