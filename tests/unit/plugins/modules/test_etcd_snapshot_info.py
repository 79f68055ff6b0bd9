# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcd_snapshot_info says of good files, and what it warns of."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

import pytest
from unit.fixtures import bolt_writer, snapshots

from ansible_collections.controlplane.etcd.plugins.module_utils import _module
from ansible_collections.controlplane.etcd.plugins.modules.etcd_snapshot_info import (
    ARGUMENT_SPEC,
    action,
)

if t.TYPE_CHECKING:
    from unit.fixtures.asking import Ask

IMAGE = snapshots.image("3.6.16/history")
UIDS = ("0c2f2a0e-6d8c-4d55-9d6b-5f0c1a7a9f5e", "1d3f2a0e-6d8c-4d55-9d6b-5f0c1a7a9f5e")


def _cluster(path: Path, uid: str, *, revision: int = 2) -> Path:
    """Write a snapshot of a cluster that has one namespace, as JSON."""
    value = b'{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"%s"}}'
    key = b"/registry/namespaces/kube-system"
    row = bolt_writer.key_value(key, value % uid.encode(), revision, revision, 1)
    image = bolt_writer.build({b"key": [(bolt_writer.revision(revision), row)], b"meta": []})
    path.write_bytes(image + hashlib.sha256(image).digest())
    return path


def look(path: Path, **options: t.Any) -> _module.Outcome:
    """Run the module's action: warnings of its boundary pile up in one process."""
    defaults = {name: each.get("default") for name, each in ARGUMENT_SPEC.items()}
    params = {**defaults, "path": str(path), **options}
    return action(_module.Call(params, check_mode=False, diff_mode=False))


def test_wrong_trailer_of_either_file_is_warned_of(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.db", tmp_path / "bad.db"
    good.write_bytes(IMAGE)
    bad.write_bytes(IMAGE[:-1] + bytes([IMAGE[-1] ^ 1]))
    said = look(good, compare_to=str(bad), skip_hash_check=True)
    assert {each["name"]: each["result"] for each in said.result["checks"]} == {
        "trailer": "passed",
        "structure": "passed",
        "compared_trailer": "failed",
    }
    (warning,) = said.warnings
    assert warning.startswith(f"{bad}: ") and "may not be true" in warning
    said = look(bad, compare_to=str(good), skip_hash_check=True)
    (warning,) = said.warnings
    assert warning.startswith(f"{bad}: ") and "do not restore it" in warning
    assert not look(good, compare_to=str(good)).warnings


def test_comparison_with_another_cluster_is_warned_of(tmp_path: Path) -> None:
    mine = _cluster(tmp_path / "mine.db", UIDS[0])
    other = _cluster(tmp_path / "other.db", UIDS[1])
    said = look(mine, compare_to=str(other))
    assert said.result["kubernetes"]["kube_system_uid"] == UIDS[0]
    (warning,) = said.warnings
    assert all(each in warning for each in (*UIDS, str(mine), str(other)))


def test_comparison_with_a_newer_one_is_warned_of(tmp_path: Path) -> None:
    old = _cluster(tmp_path / "old.db", UIDS[0])
    new = _cluster(tmp_path / "new.db", UIDS[0], revision=9)
    (warning,) = look(old, compare_to=str(new)).warnings
    assert f"{new}, which compare_to names as the older one, ends at revision 9" in warning
    assert not look(new, compare_to=str(old)).warnings


@pytest.mark.parametrize("name", ["3.6.16/history", "3.6.16/tombstone", "3.4.23/history"])
def test_hash_revision_of_0_is_the_newest(tmp_path: Path, ask: Ask, name: str) -> None:
    path = tmp_path / "snapshot.db"
    path.write_bytes(snapshots.image(name))
    assert ask(path, hash_revision=0)["snapshot"] == ask(path)["snapshot"]


def test_compact_revision_of_minus_1_is_never(tmp_path: Path, ask: Ask) -> None:
    path = tmp_path / "snapshot.db"
    path.write_bytes(snapshots.image("3.6.16/fresh"))
    assert ask(path)["snapshot"]["compact_revision"] == -1
    assert ask(path, hash_compact_revision=-1)["snapshot"] == ask(path)["snapshot"]
