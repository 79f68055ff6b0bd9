# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drill comes to: a passed proof, a failed one, or none, and why."""

from __future__ import annotations

import datetime as dt
import typing as t

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import proofs, schemas
from ansible_collections.controlplane.etcd.plugins.module_utils._drill import record

NOW = dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.timezone.utc)
ENTRY = {"id": "20261123T145000Z-7c9e1a2b", "sha256": "5d" * 32}
DELIVERED = {"changed": True, "delivery": "/var/tmp/x", "entry": ENTRY, "seconds": 1.25}


def drill(**changes: t.Any) -> dict[str, t.Any]:
    return {
        "entry": ENTRY["id"],
        "sha256": ENTRY["sha256"],
        "etcd_cluster": "prod",
        "etcd_instance": "main",
        "verdict": "passed",
        "reason": "",
        "started_at": "2026-11-24T03:00:00Z",
        "finished_at": "2026-11-24T03:00:09Z",
        "phases": [{"name": "open", "seconds": 0.5}, {"name": "start", "seconds": 1}],
        "rto_seconds": 4,
        "comparisons": [
            {"name": "revision", "result": "passed", "expected": 7, "found": 7, "detail": ""},
            {"name": "hash_kv", "result": "not_comparable", "detail": "compacted"},
            {"name": "canary", "result": "passed", "expected": None, "found": None},
        ],
        "versions": {"etcd": "3.6.16", "etcdutl": "3.6.16", "kube_apiserver": None},
        "isolation": "namespace",
        "not_checked": [{"name": "secrets", "why": "KMS"}],
        "db_size_bytes": 20480,
        **changes,
    }


def judge(delivered: t.Any = None, drilled: t.Any = None) -> record.Judgement:
    return record.judge(
        DELIVERED if delivered is None else delivered,
        {"drill": drill()} if drilled is None else drilled,
        node="scratch1",
    )


def error(kind: str, **more: t.Any) -> dict[str, t.Any]:
    # failed_when: false takes `failed` away.
    return {"msg": f"It is {kind}.", "error": {"kind": kind}, "failed": False, **more}


def test_judge_passed_is_a_proof_with_the_way_there_in_its_rto() -> None:
    found = judge().found
    assert found is not None
    assert (judge().verdict, found["verdict"], found["reason"]) == ("passed", "passed", "")
    assert found["rto_seconds"] == 6
    assert [each["name"] for each in found["phases"]] == ["deliver", "open", "start"]
    assert found["phases"][0]["seconds"] == 1.25
    assert found["node"] == "scratch1"
    document = {**found, "schema": schemas.PROOF, "finished_at": "2026-11-24T03:00:10Z"}
    schemas.check(document, schemas.PROOF_V1, "proof")


def test_judge_failed_drill_is_a_failed_proof() -> None:
    said = judge(drilled={"drill": drill(verdict="failed", reason="etcd died: panic")})
    assert (said.verdict, said.reason) == ("failed", "etcd died: panic")
    assert said.found and said.found["verdict"] == "failed"


@pytest.mark.parametrize("kind", ["trust", "seal_damaged", "snapshot_invalid", "database_invalid"])
def test_judge_a_wrong_archive_is_a_failed_proof(kind: str) -> None:
    for said in (judge(error(kind, entry=ENTRY), {"skipped": True}), judge(None, error(kind))):
        assert (said.verdict, said.reason) == ("failed", f"It is {kind}.")
        assert said.found is not None
        document = {**said.found, "schema": schemas.PROOF, "finished_at": "2026-11-24T03:00:10Z"}
        schemas.check(document, schemas.PROOF_V1, "proof")
    # An entry that nobody vouches for gets no proof, not even that it failed.
    assert judge(error(kind), {}).verdict == "not_drilled"


@pytest.mark.parametrize(
    "kind",
    [
        *("space_missing", "option_invalid", "transfer", "locked", "key_missing", "archive", ""),
        # A bad recipient, or one that is wanted: a person's slip, no archive's fault.
        *("seal", "cage_refused", "tool_unusable", "dependency_missing", "restore_refused"),
    ],
)
def test_judge_what_a_node_lacks_is_no_drill(kind: str) -> None:
    for said in (judge(error(kind, entry=ENTRY), {}), judge(None, error(kind))):
        assert (said.verdict, said.reason, said.found) == ("not_drilled", f"It is {kind}.", None)


@pytest.mark.parametrize(
    "delivered, drilled, word",
    [
        ({"unreachable": True, "msg": "ssh: no route"}, {"skipped": True}, "ssh: no route"),
        (DELIVERED, {"unreachable": True, "msg": "Connection closed"}, "Connection closed"),
        (DELIVERED, {"unreachable": True}, "was lost: no answer"),
        (DELIVERED, {"skipped": True}, "Nothing was drilled on scratch1"),
        (DELIVERED, {}, "Nothing was drilled on scratch1"),
        ({}, {}, "Nothing was delivered to scratch1"),
        (DELIVERED, {"rc": 1}, "nothing was said"),
        (DELIVERED, {"msg": "MODULE FAILURE"}, "MODULE FAILURE"),
    ],
)
def test_judge_a_lost_node_is_no_drill(delivered: t.Any, drilled: t.Any, word: str) -> None:
    said = judge(delivered, drilled)
    assert (said.verdict, said.found) == ("not_drilled", None)
    assert word in said.reason


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"entry": "20261123T145000Z-00000000"}, "answers for entry 20261123T145000Z-00000000"),
        ({"sha256": "00" * 32}, "was delivered"),
        ({"verdict": "splendid"}, "contradicts itself"),
        ({"comparisons": []}, "did not find revision, canary"),
        ({"comparisons": None}, "did not find revision, canary"),
        (
            {"comparisons": [*drill()["comparisons"], {"name": "objects", "result": "failed"}]},
            "that objects differed",
        ),
    ],
)
def test_judge_a_node_that_contradicts_itself_proves_nothing(
    changes: dict[str, t.Any], word: str
) -> None:
    said = judge(drilled={"drill": drill(**changes)})
    assert (said.verdict, said.found) == ("not_drilled", None)
    assert word in said.reason


def test_judge_takes_known_fields_cut_to_size() -> None:
    said = judge(
        drilled={
            "drill": drill(
                verdict="failed",
                reason="x\n\x1b[31m" + "y" * 5000,
                loot={"key": "value"},
                rto_seconds="soon",
                phases=[{"name": "open", "seconds": -5, "loot": 1}, "loot"],
                versions=["loot"],
            )
        }
    )
    assert said.found is not None
    assert "loot" not in repr(said.found)
    assert len(said.reason) == 1000
    assert said.reason.isprintable()
    assert said.found["rto_seconds"] is None
    assert said.found["phases"][1] == {"name": "open", "seconds": 0.0}


@pytest.mark.parametrize(
    "finished_at, max_age, overdue",
    [
        (None, None, False),
        (None, 8.0, True),
        ("2026-11-16T03:00:00Z", 8.0, False),
        ("2026-11-16T02:59:59Z", 8.0, True),
        ("2020-01-01T00:00:00Z", None, False),
    ],
)
def test_overdue_is_told_by_the_newest_that_passed(
    finished_at: str | None, max_age: float | None, overdue: bool
) -> None:
    newest = finished_at and proofs.Proof("x", "y", "passed", finished_at)
    seconds = max_age and max_age * 86400
    assert record._overdue(newest or None, seconds, NOW) is overdue
