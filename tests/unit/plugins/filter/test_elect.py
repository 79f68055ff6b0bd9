# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter elect over hostvars as they are: whole, failed, unreachable, missing."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.controlplane.etcd.plugins.filter.elect import FilterModule

elect = FilterModule().filters()["elect"]


def result(name: str, names: str = "abc", **changes: t.Any) -> dict[str, t.Any]:
    """Return an etcd_info result of the host of member `name`; a leads."""
    return {
        "cluster_id": "c1",
        "local_member": {"id": f"id-{name}", "is_learner": False},
        "quorum": {"has_quorum": True},
        "members": [
            {
                "id": f"id-{each}",
                "name": each,
                "peer_urls": [f"https://10.0.0.{number}:2380"],
                "is_learner": False,
                "is_leader": each == "a",
                "leader": "id-a",
                "reachable": True,
                "revision": 100 + number,
                "raft_term": 2,
                "round_trip_ms": 1.0,
                "alarms": [],
            }
            for number, each in enumerate(names, start=1)
        ],
        **changes,
    }


def hostvars(names: str = "abc", **changes: t.Any) -> dict[str, dict[str, t.Any]]:
    found = {
        f"host-{name}": {
            "etcd_cluster": "prod",
            "ansible_host": f"10.0.0.{number}",
            "info": result(name, names),
        }
        for number, name in enumerate(names, start=1)
    }
    found["elsewhere"] = {"etcd_cluster": "other", "info": {"msg": "not ours"}}
    found["no-cluster"] = {}
    for host, value in changes.items():
        found[f"host-{host}"]["info"] = value
    return found


def test_elect_before_the_hashes_names_asker_and_revision() -> None:
    found = elect(hostvars(), "prod", register="info")
    assert found["outcome"] == "elected"
    assert found["asker"] == found["source"] == "host-b"
    assert found["source_member"] == {"id": "id-b", "name": "b"}
    assert found["hash_revision"] == 101
    assert found["hash_agreement"] is None
    assert found["hosts"] == ["host-a", "host-b", "host-c"]
    assert found["error"] is None


def test_elect_after_the_hashes_gives_what_the_snapshot_compares() -> None:
    given = [
        {"member_id": f"id-{n}", "name": n, "hash": "1c0c4ad5", "revision": 101,
         "compact_revision": 7, "error": None}
        for n in "bc"
    ]  # fmt: skip
    found = elect(hostvars(), "prod", register="info", hash_kv=given)
    assert found["hash_agreement"] == "equal"
    assert (found["hash_kv"], found["hash_revision"], found["hash_compact_revision"]) == (
        "1c0c4ad5",
        101,
        7,
    )


def test_elect_with_no_answer_on_hashes_is_not_comparable() -> None:
    given = [{"member_id": "id-b", "name": "b", "hash": None, "error": {"msg": "too slow"}}]
    found = elect(hostvars(), "prod", register="info", hash_kv=given)
    assert found["outcome"] == "elected"
    assert found["hash_agreement"] == "not_comparable"
    assert found["hash_revision"] == 101
    assert "b: too slow" in found["hash_reasons"]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"unreachable": True, "msg": "ssh"}, "hosts_unreachable"),
        (None, "hosts_unreachable"),
        ("not even a result", "hosts_unreachable"),
        ({"failed": True, "msg": "no", "error": {"kind": "not_etcd"}}, "hosts_failed"),
        ({"msg": "no", "error": {"kind": "layout", "path": None}}, "hosts_without_member"),
        ({"msg": "no", "error": {"kind": "layout", "path": "/etc/x"}}, "hosts_failed"),
        ({"skipped": True}, "hosts_failed"),
    ],
    ids=["unreachable", "nothing", "text", "failed", "no-etcd", "layout-refused", "skipped"],
)
def test_elect_tolerates_a_host_without_a_result(value: t.Any, key: str) -> None:
    found = elect(hostvars(c=value), "prod", register="info")
    assert found["outcome"] == "elected"
    assert found[key] == ["host-c"]
    assert found["degraded"]
    assert found["hosts_by_member"]["id-c"] == "host-c", "by its address in the peer URL"


def test_elect_under_limit_refuses_by_name() -> None:
    found = elect(hostvars(c=None), "prod", register="info", play_hosts=["host-a", "host-b"])
    assert found["outcome"] == "refused"
    assert found["error"]["kind"] == "cluster_refused"
    assert found["error"]["reason"] == "limit"
    assert "host-c" in found["error"]["msg"]


def test_elect_of_one_instance_leaves_the_others_out() -> None:
    given = hostvars()
    given["host-c"]["etcd_instance"] = "events"
    assert elect(given, "prod", register="info")["hosts"] == ["host-a", "host-b"]
    assert elect(given, "prod", register="info", etcd_instance="events")["hosts"] == ["host-c"]


def test_elect_of_some_hosts_only() -> None:
    found = elect(hostvars(), "prod", register="info", hosts=["host-a", "host-b", "gone"])
    assert found["hosts"] == ["host-a", "host-b"]
    assert found["members_without_host"] == ["c"]


@pytest.mark.parametrize(("given", "cluster"), [([], "prod"), ({}, ""), ({}, None)])
def test_elect_misused_says_how(given: t.Any, cluster: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match="elect"):
        elect(given, cluster, register="info")
