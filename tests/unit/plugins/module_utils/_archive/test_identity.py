# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose name it is: the truth table of matches, and what happens to records."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import shutil
import typing as t

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import identity, names
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import Lineage
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    IdentityMismatch,
    TrustError,
)

if t.TYPE_CHECKING:
    from .conftest import Bench

NOW = dt.datetime(2026, 11, 23, 14, 50, tzinfo=dt.timezone.utc)
PREFIX = names.Prefix("prod")
ENTRY = "20261123T145000Z-7c9e1a2b"


def _before(uid: str | None, *ids: str) -> identity.IdentityRecord:
    return identity.IdentityRecord(
        uid, tuple(Lineage(cluster_id, "2026-01-01T00:00:00Z") for cluster_id in ids)
    )


@pytest.mark.parametrize(
    ("before", "seen", "news", "warns"),
    [
        (None, ("u", "1"), True, False),
        (_before("u", "1"), ("u", "1"), False, False),
        (_before("u", "1"), (None, "1"), False, False),
        (_before("u", "1"), ("u", "2"), True, False),
        (_before("u", "1", "2"), ("u", "1"), False, False),
        (_before(None, "1"), ("u", "1"), True, False),
        (_before(None, "1"), (None, "1"), False, False),
        (_before("u", "1"), ("v", "1"), False, True),
    ],
    ids=[
        "new name",
        "same",
        "uid not readable",
        "restored",
        "older id of the lineage",
        "uid learned",
        "not Kubernetes",
        "same id but another uid",
    ],
)
def test_guard_match(
    before: identity.IdentityRecord | None,
    seen: tuple[str | None, str],
    news: bool,
    warns: bool,
) -> None:
    guarded = identity.guard(before, identity.Seen(*seen), PREFIX, entry=ENTRY, now=NOW)
    assert (guarded.is_news, bool(guarded.warnings)) == (news, warns)
    assert seen[1] in [line.cluster_id for line in guarded.record.lineage]
    if before:
        assert guarded.record.lineage[: len(before.lineage)] == before.lineage
        assert (
            guarded.record.kube_system_uid == before.kube_system_uid or not before.kube_system_uid
        )


@pytest.mark.parametrize(
    ("before", "seen"),
    [
        (_before("u", "1"), ("v", "2")),
        (_before("u", "1"), (None, "2")),
        (_before(None, "1"), ("v", "2")),
        (_before(None, "1"), (None, "2")),
    ],
)
def test_guard_another_cluster_names_both(
    before: identity.IdentityRecord, seen: tuple[str | None, str]
) -> None:
    with pytest.raises(IdentityMismatch) as caught:
        identity.guard(before, identity.Seen(*seen), PREFIX, entry=ENTRY, now=NOW)
    assert str(before) in str(caught.value)
    assert str(identity.Seen(*seen)) in str(caught.value)
    assert "prod" in str(caught.value)


def test_known_first_backup_writes_one_record(bench: Bench) -> None:
    first = bench.add()
    assert first.identity_record
    second = bench.add(now=NOW + dt.timedelta(hours=1))
    assert second.identity_record is None
    record, warnings = identity.known(bench.place, bench.prefix, bench.wish().signers)
    assert record is not None
    assert (record.kube_system_uid, warnings) == (bench.kube_system_uid, [])
    assert record.lineage == (
        Lineage("cdf818194e3a8c32", "2026-11-23T14:50:00Z", "backup", first.entry.id),
    )


def test_known_after_a_restore_the_lineage_grows(bench: Bench) -> None:
    bench.add()
    restored = dataclasses.replace(bench, cluster_id="abc")
    hour = NOW + dt.timedelta(hours=1)
    assert restored.add(now=hour).identity_record
    assert restored.add(now=hour).identity_record is None
    unreadable = dataclasses.replace(restored, kube_system_uid=None)
    found = unreadable.add(now=hour).entry.manifest
    assert found is not None
    assert [line.cluster_id for line in found.cluster.lineage] == ["cdf818194e3a8c32", "abc"]


def test_known_records_lost_the_newest_entry_tells(bench: Bench) -> None:
    bench.add()
    shutil.rmtree(bench.folder / "identity")
    with pytest.raises(IdentityMismatch):
        dataclasses.replace(bench, cluster_id="1", kube_system_uid="v").add()
    assert bench.add().identity_record is None


def test_known_forged_record_is_passed_over(bench: Bench) -> None:
    first = bench.add()
    name = str(first.identity_record)
    document = json.loads((bench.folder / name).read_text())
    document["lineage"][0]["cluster_id"] = "1"
    forged = bench.folder / "identity" / "20991231T000000Z-00000000.json"
    forged.write_text(json.dumps(document))
    shutil.copy(bench.folder / f"{name}.sig", f"{forged}.sig")
    with pytest.raises(IdentityMismatch):
        dataclasses.replace(bench, cluster_id="1", kube_system_uid=None).add()
    second = bench.add()
    assert any("20991231T000000Z" in text and "forged" in text for text in second.warnings)


def test_known_nothing_trusted_is_refused(bench: Bench) -> None:
    first = bench.add()
    (bench.folder / f"{first.identity_record}.sig").unlink()
    (bench.folder / first.entry.id / "manifest.json.sig").unlink()
    with pytest.raises(TrustError, match="etcd_allowed_signers"):
        bench.add()


def test_known_record_of_another_cluster_is_passed_over(bench: Bench) -> None:
    first = bench.add()
    stage = dataclasses.replace(bench, cluster="stage", cluster_id="1", kube_system_uid="v")
    stage.add()
    for suffix in ("", ".sig"):
        shutil.copy(
            bench.folder / f"{first.identity_record}{suffix}",
            stage.folder / "identity" / f"20991231T000000Z-00000000.json{suffix}",
        )
    assert any("put under stage" in text for text in stage.add().warnings)
