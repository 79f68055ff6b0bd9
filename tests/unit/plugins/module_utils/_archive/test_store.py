# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory store: what it lists, what it refuses, and what it never touches."""

from __future__ import annotations

import datetime as dt
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import names, store
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    OptionInvalid,
)

if t.TYPE_CHECKING:
    from .conftest import Bench

ENTRY = "20261123T145000Z-7c9e1a2b"


@pytest.mark.parametrize("location", ["s3://bucket/x", "gs://x", "http://x/y"])
def test_open_store_object_store_is_refused_clearly(location: str) -> None:
    with pytest.raises(ArchiveError, match="directories only") as caught:
        store.open_store(location)
    assert location in str(caught.value)


def test_open_store_relative_path_is_refused() -> None:
    with pytest.raises(ArchiveError, match="absolute"):
        store.open_store("archive")
    assert store.open_store("file:///srv/archive").location == "/srv/archive"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "-a", ".hidden", "a\nb", "a b", "tools", "wheelhouse"]
)
def test_prefix_bad_cluster_is_refused(name: str) -> None:
    with pytest.raises(OptionInvalid, match="etcd_cluster"):
        names.Prefix(name)


@pytest.mark.parametrize("name", ["", "..", "a/b", "identity", ENTRY, ".x"])
def test_prefix_bad_instance_is_refused(name: str) -> None:
    with pytest.raises(OptionInvalid, match="etcd_instance"):
        names.Prefix("prod", name)


def test_prefix_main_has_no_folder_of_its_own() -> None:
    assert names.Prefix("prod").parts == ("prod",)
    assert names.Prefix("prod", "events").parts == ("prod", "events")


@pytest.mark.parametrize(
    "entry", ["", "latest", "../x", ENTRY + "/..", "20261323T145000Z-7c9e1a2b"]
)
def test_entry_time_bad_id_is_refused(entry: str) -> None:
    with pytest.raises(OptionInvalid):
        names.entry_time(entry)


def test_new_entry_sorts_by_time() -> None:
    now = dt.datetime(2026, 11, 23, 14, 50, tzinfo=dt.timezone.utc)
    first, second = names.new_entry(now), names.new_entry(now + dt.timedelta(seconds=1))
    assert first < second
    assert names.entry_time(first) == now


def test_entries_lists_only_what_has_its_name(tmp_path: Path) -> None:
    place, prefix = store.DirectoryStore(str(tmp_path)), names.Prefix("prod")
    for name in (ENTRY, f".{ENTRY}.part", "identity", "events", "notes"):
        (tmp_path / "prod" / name).mkdir(parents=True)
    (tmp_path / "prod" / "20261123T145000Z-00000000").write_text("a file")
    os.symlink(tmp_path / "prod" / ENTRY, tmp_path / "prod" / "20261123T145000Z-11111111")
    (tmp_path / "prod" / "events" / ENTRY).mkdir()
    (tmp_path / "tools" / ENTRY).mkdir(parents=True)
    assert place.entries(prefix) == [ENTRY]
    assert place.prefixes() == [prefix, names.Prefix("prod", "events")]
    assert place.entries(names.Prefix("nothing")) == []


def test_put_record_never_writes_over(tmp_path: Path) -> None:
    place, prefix = store.DirectoryStore(str(tmp_path)), names.Prefix("prod")
    place.put_record(prefix, "identity/a.json", b"1")
    with pytest.raises(ArchiveError, match="nothing is written over"):
        place.put_record(prefix, "identity/a.json", b"2")
    assert place.read(prefix, "identity/a.json") == b"1"
    assert place.read(prefix, "identity/b.json") is None


def test_commit_never_replaces_an_entry(bench: Bench) -> None:
    made = bench.add()
    data = (Path(made.path) / "manifest.json").read_bytes()
    part = Path(bench.place.part_path(bench.prefix, made.entry.id))
    part.mkdir()
    (part / ".owner.json").write_text("{}")
    with pytest.raises(ArchiveError, match="cannot write"):
        bench.place.commit(bench.prefix, made.entry.id, manifest=b"{}", signature=b"")
    assert (Path(made.path) / "manifest.json").read_bytes() == data


def test_drop_touches_only_the_part(bench: Bench) -> None:
    made = bench.add()
    assert bench.place.drop(bench.prefix, made.entry.id) is False
    assert Path(made.path).is_dir()


def test_start_where_a_file_is_in_the_way_names_it(bench: Bench) -> None:
    (bench.root / "archive").write_text("not a folder")
    with pytest.raises(ArchiveError) as caught:
        bench.add()
    assert str(bench.root / "archive") in str(caught.value)
