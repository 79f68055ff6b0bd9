# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_drill on real archives: every etcd, users and roles, a full quota, nothing at all."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from lab import objects, versions
from lab.archived import ask
from lab.drilled import drilled, leavings, result_of

PHASES = ["open", "verify", "restore", "start", "compare", "canary", "remove"]
PLANTED = [b"a value after it", *(text.encode() for text in objects.planted_forms())]


def looked_over(record: t.Mapping[str, t.Any], version: str) -> None:
    """Have a record say that all was compared, and passed."""
    wrong = [each for each in record["comparisons"] if each["result"] != "passed"]
    assert (record["verdict"], record["reason"], wrong) == ("passed", "", [])
    assert [phase["name"] for phase in record["phases"]] == PHASES
    assert record["versions"]["etcd"] == version
    assert 1 <= record["rto_seconds"] <= 60


@pytest.mark.parametrize("version", versions.ETCD_ALL)
def test_an_entry_of_every_etcd_passes(
    version: str, shelf: t.Any, work_dir: Path, tmp_path: Path
) -> None:
    delivery = shelf.delivery(tmp_path, version)
    manifest = delivery.manifest
    record = drilled(ask("etcd_drill", work_dir=str(work_dir), **delivery.options()))
    looked_over(record, version)
    compared = {each["name"]: each for each in record["comparisons"]}
    assert compared["revision"]["found"] == manifest["snapshot"]["revision"] > 80
    assert compared["compact_revision"]["found"] == manifest["snapshot"]["compact_revision"] > 80
    assert compared["hash_kv"]["found"] == manifest["snapshot"]["hash_kv"]
    assert compared["objects"]["found"] == manifest["kubernetes"]["object_count"] > 50
    assert compared["secrets"]["found"] > 5
    assert delivery.gone
    assert leavings(work_dir, planted=PLANTED) == []


def test_an_etcd_with_users_passes_as_root(shelf: t.Any, work_dir: Path, tmp_path: Path) -> None:
    delivery = shelf.delivery(tmp_path, versions.ETCD_DEFAULT, "auth")
    assert delivery.manifest["snapshot"]["auth_enabled"]
    record = drilled(ask("etcd_drill", work_dir=str(work_dir), **delivery.options()))
    looked_over(record, versions.ETCD_DEFAULT)


def test_a_full_etcd_passes_once_its_alarm_is_disarmed(
    shelf: t.Any, work_dir: Path, tmp_path: Path
) -> None:
    delivery = shelf.delivery(tmp_path, versions.ETCD_DEFAULT, "nospace")
    record = drilled(ask("etcd_drill", work_dir=str(work_dir), **delivery.options()))
    looked_over(record, versions.ETCD_DEFAULT)
    canary = next(each for each in record["comparisons"] if each["name"] == "canary")
    assert canary["detail"] == "alarm NOSPACE of the snapshot was disarmed first"


def test_an_etcd_with_nothing_in_it_passes(shelf: t.Any, work_dir: Path, tmp_path: Path) -> None:
    delivery = shelf.delivery(tmp_path, versions.ETCD_DEFAULT, "empty")
    record = drilled(ask("etcd_drill", work_dir=str(work_dir), **delivery.options()))
    looked_over(record, versions.ETCD_DEFAULT)
    assert result_of(record, "key_count") == "passed"


def test_check_mode_starts_nothing(shelf: t.Any, work_dir: Path, tmp_path: Path) -> None:
    delivery = shelf.delivery(tmp_path)
    answer = ask(
        "etcd_drill", work_dir=str(work_dir), _ansible_check_mode=True, **delivery.options()
    )
    assert answer["changed"] and "drill" not in answer
    assert answer["plan"]["entry"] == delivery.manifest["id"]
    assert answer["plan"]["free_bytes"] > answer["plan"]["need_bytes"] > 100_000_000
    assert [tool["name"] for tool in answer["plan"]["tools"]] == ["etcd", "etcdutl"]
    assert not delivery.gone
    assert list(work_dir.iterdir()) == []
