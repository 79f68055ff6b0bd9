# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter elect in real playbooks over real etcds: who is elected, and what refuses a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import time
import typing as t
from pathlib import Path

import etcd3.etcdrpc as rpc
import grpc
import pytest
import yaml

from lab.loopback import Cluster

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(VENV / "collections"))
ELECT = (
    "hostvars | controlplane.etcd.elect(etcd_cluster, register='etcd', "
    "play_hosts=ansible_play_hosts_all"
)
PLAY = [
    {
        "hosts": "etcd",
        "gather_facts": False,
        "module_defaults": {
            "group/controlplane.etcd.etcd": {
                "certificates_dir": "{{ etcd_certificates_dir }}",
                "static_pod_path": "{{ etcd_static_pod_path }}",
                "data_dir": "{{ etcd_data_dir }}",
            }
        },
        "tasks": [
            {
                "controlplane.etcd.etcd_info": {},
                "register": "etcd",
                "failed_when": False,
                "ignore_unreachable": True,
            },
            {"ansible.builtin.set_fact": {"first": "{{ " + ELECT + ") }}"}},
            {
                "controlplane.etcd.etcd_info": {"hash_revision": "{{ first.hash_revision }}"},
                "register": "hashes",
                "when": "first.asker == inventory_hostname",
            },
            {
                "ansible.builtin.set_fact": {
                    "second": "{{ " + ELECT + ", hash_kv=hostvars[first.asker].hashes.hash_kv) }}"
                },
                "when": "first.outcome == 'elected'",
            },
            {
                "ansible.builtin.copy": {
                    "content": "{{ second | default(first) | to_json }}",
                    "dest": "{{ out }}/{{ etcd_cluster }}.json",
                    "mode": "0600",
                },
                "delegate_to": "localhost",
                "vars": {"ansible_connection": "local"},
            },
        ],
    }
]
Elections = dict[str, dict[str, t.Any]]


def run(tmp_path: Path, inventory: dict[str, t.Any], *arguments: str) -> Elections:
    """Run the playbook and return each cluster's election."""
    (tmp_path / "play.yml").write_text(yaml.safe_dump(PLAY))
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory))
    playbook = [VENV / "bin" / "ansible-playbook", "-i", "inventory.yml", "play.yml"]
    done = subprocess.run(
        [*playbook, "-e", f"out={tmp_path}", *arguments],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert found, done.stdout + done.stderr
    return found


def hosts_of(inventory: dict[str, t.Any], cluster: str) -> dict[str, t.Any]:
    children = inventory["all"]["children"]["etcd"]["children"]
    return t.cast("dict[str, t.Any]", children[cluster]["hosts"])


@pytest.fixture(scope="module")
def alpha() -> t.Iterator[Cluster]:
    with Cluster("alpha", size=3) as cluster:
        for number in range(10):
            cluster.etcdctl("put", f"key{number}", "value")
        yield cluster


@pytest.fixture(scope="module")
def beta() -> t.Iterator[Cluster]:
    with Cluster("beta", size=1) as cluster:
        yield cluster


def test_two_clusters_in_one_run(alpha: Cluster, beta: Cluster, tmp_path: Path) -> None:
    found = run(tmp_path, alpha.inventory(beta))
    one, two = found["alpha"], found["beta"]
    assert one["outcome"] == two["outcome"] == "elected"
    assert one["hash_agreement"] == two["hash_agreement"] == "equal"
    assert one["source"] != alpha.leader(), "a follower before the leader"
    assert two["source"] == "beta-cp1"
    assert sorted(one["hosts_by_member"].values()) == sorted(alpha.members)
    assert not one["degraded"]
    assert not one["warnings"]
    answer = alpha.etcdctl("endpoint", "hashkv", f"--rev={one['hash_revision']}")
    assert {f"{each['HashKV']['hash']:08x}" for each in answer} == {one["hash_kv"]}


def test_limit_that_cuts_a_member_off(
    alpha: Cluster, beta: Cluster, tmp_path: Path, reliability: t.Any
) -> None:
    names = list(alpha.members)
    found = run(tmp_path, alpha.inventory(beta), "--limit", f"{names[0]},{names[1]},beta")
    assert found["beta"]["outcome"] == "elected"
    assert found["alpha"]["outcome"] == "refused"
    assert found["alpha"]["error"]["reason"] == "limit"
    assert names[2] in found["alpha"]["error"]["msg"]
    reliability(
        "--limit that leaves members out",
        "that cluster is refused, the host named; others go on",
        area="elect",
        message=found["alpha"]["error"]["msg"],
    )


def test_host_that_is_unreachable_degrades(alpha: Cluster, tmp_path: Path) -> None:
    inventory = alpha.inventory()
    follower = next(name for name in alpha.members if name != alpha.leader())
    # Nothing answers ssh there.
    hosts_of(inventory, "alpha")[follower].update(
        ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1
    )
    found = run(tmp_path, inventory)["alpha"]
    assert found["outcome"] == "elected"
    assert found["source"] != follower
    assert found["hosts_unreachable"] == [follower]
    assert found["degraded"]
    assert found["hash_agreement"] == "equal", "its member answers all the same"
    assert any(follower in warning for warning in found["warnings"])


def test_member_that_the_inventory_lacks(alpha: Cluster, tmp_path: Path) -> None:
    inventory = alpha.inventory()
    follower = next(name for name in alpha.members if name != alpha.leader())
    del hosts_of(inventory, "alpha")[follower]
    found = run(tmp_path, inventory)["alpha"]
    assert found["outcome"] == "elected"
    assert found["members_without_host"] == [follower]
    assert found["degraded"]


def test_hosts_of_another_cluster_under_this_name(
    alpha: Cluster, beta: Cluster, tmp_path: Path, reliability: t.Any
) -> None:
    inventory = alpha.inventory()
    hosts_of(inventory, "alpha")["beta-cp1"] = beta.host_variables("beta-cp1")
    found = run(tmp_path, inventory)["alpha"]
    assert found["error"]["reason"] == "several_clusters"
    assert "beta-cp1" in found["error"]["msg"]
    reliability(
        "a host of another cluster under this cluster's name",
        "refused, hosts and cluster IDs named",
        area="elect",
        message=found["error"]["msg"],
    )


def test_two_hosts_that_are_one_member(alpha: Cluster, tmp_path: Path) -> None:
    inventory = alpha.inventory()
    hosts = hosts_of(inventory, "alpha")
    name = next(iter(alpha.members))
    hosts["twin"] = dict(hosts[name])
    found = run(tmp_path, inventory)["alpha"]
    assert found["error"]["reason"] == "same_member"
    assert name in found["error"]["msg"]
    assert "twin" in found["error"]["msg"]


def test_host_without_a_member(alpha: Cluster, tmp_path: Path) -> None:
    inventory = alpha.inventory()
    hosts_of(inventory, "alpha")["worker"] = {
        **alpha.host_variables(next(iter(alpha.members))),
        "etcd_static_pod_path": str(tmp_path / "manifests"),
    }
    found = run(tmp_path, inventory)["alpha"]
    assert found["outcome"] == "elected"
    assert found["hosts_without_member"] == ["worker"]
    assert found["degraded"]


def test_one_members_hash_differs(tmp_path: Path, reliability: t.Any) -> None:
    with Cluster("torn", size=3, corrupt_check=False) as cluster:
        for number in range(10):
            cluster.etcdctl("put", f"key{number}", "the-original-value")
        wrong = next(name for name in cluster.members if name != cluster.leader())
        cluster.stop(wrong)
        assert cluster.overwrite(wrong, b"the-original-value", b"the-tampered-value")
        cluster.start(wrong)
        found = run(tmp_path, cluster.inventory())["torn"]
    assert found["outcome"] == "refused"
    assert found["hash_agreement"] == "different"
    assert found["error"]["reason"] == "hash_different"
    # Followers are asked first; where the leader breaks the tie, the wrong one is named alone.
    assert f"Not to be trusted: {wrong}." in found["error"]["msg"]
    reliability(
        "one member's HashKV differs", "the cluster is refused, the member named",
        area="elect", message=found["error"]["msg"],
    )  # fmt: skip


def test_member_with_corrupt_alarm_is_not_elected(tmp_path: Path, reliability: t.Any) -> None:
    with Cluster("rotten", size=3) as cluster:
        followers = sorted(name for name in cluster.members if name != cluster.leader())
        identity = cluster.status(followers[0])["header"]["member_id"]
        raise_alarm(cluster, identity, rpc.CORRUPT)
        found = run(tmp_path, cluster.inventory())["rotten"]
    assert found["outcome"] == "elected"
    assert found["source"] == followers[1]
    assert any(f"{followers[0]} raised alarm CORRUPT" in reason for reason in found["reasons"])
    assert any("CORRUPT" in warning for warning in found["warnings"])
    reliability(
        "CORRUPT alarm of one member", "another one is elected, with a warning", area="elect"
    )


def raise_alarm(cluster: Cluster, member_id: int, alarm: int) -> None:
    """Raise an alarm in a member's name, as etcd's own corruption check does."""
    member = next(iter(cluster.members.values()))
    pki = member.certificates_dir / "etcd"
    credentials = grpc.ssl_channel_credentials(
        *((pki / name).read_bytes() for name in ("ca.crt", "server.key", "server.crt"))
    )
    target = member.endpoint.replace("https://", "")
    with grpc.secure_channel(target, credentials) as channel:
        request = rpc.AlarmRequest(
            action=rpc.AlarmRequest.ACTIVATE, memberID=member_id, alarm=alarm
        )
        rpc.MaintenanceStub(channel).Alarm(request, timeout=20)


def test_no_quorum(tmp_path: Path, reliability: t.Any) -> None:
    with Cluster("halved", size=3) as cluster:
        names = list(cluster.members)
        for name in names[1:]:
            cluster.stop(name, kill=True)
        end = time.monotonic() + 30
        while cluster.status(names[0]).get("leader"):
            assert time.monotonic() < end
            time.sleep(0.2)
        found = run(tmp_path, cluster.inventory())["halved"]
    assert found["error"]["reason"] == "no_quorum"
    for word in (names[1], names[2], "1 of 3", "emergency", "bring one"):
        assert word in found["error"]["msg"]
    reliability(
        "no quorum", "refused, with the missing members and the two ways on",
        area="elect", message=found["error"]["msg"],
    )  # fmt: skip


def test_learner_only(tmp_path: Path, reliability: t.Any) -> None:
    with Cluster("learning", size=1) as cluster:
        voter = next(iter(cluster.members))
        cluster.add_learner("learning-new")
        inventory = cluster.inventory()
        both = run(tmp_path, inventory)["learning"]
        assert both["source"] == voter
        del hosts_of(inventory, "learning")[voter]
        found = run(tmp_path, inventory)["learning"]
    assert found["error"]["reason"] == "learner_only"
    assert "learning-new" in found["error"]["msg"]
    reliability(
        "learner only", "refused, the learner's host named",
        area="elect", message=found["error"]["msg"],
    )  # fmt: skip


def test_no_member_runs(tmp_path: Path) -> None:
    cluster = Cluster("dead", size=1)
    try:
        found = run(tmp_path, cluster.inventory())["dead"]
    finally:
        cluster.close()
    assert found["error"]["reason"] == "no_answer"
    assert "connection refused" in found["error"]["msg"]
