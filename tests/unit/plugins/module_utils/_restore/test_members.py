# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who the restored members are; the IDs are those that etcdutl 3.6.16 wrote for the same input."""

from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._restore.members import (
    Membership,
    plan_members,
)

TWO = "n1=http://127.0.0.1:2380,n2=http://127.0.0.1:2382"


def plan(
    name: str = "n1", cluster: str = TWO, urls: str | None = None, token: str = "tok"
) -> Membership:
    return plan_members(
        name, initial_cluster=cluster, initial_advertise_peer_urls=urls, token=token
    )


def test_plan_members_computes_etcds_own_ids() -> None:
    found = plan()
    assert [(each.id, each.name) for each in found.members] == [
        ("71405583d3e2d5ce", "n1"),
        ("bf923f8405cbb3bc", "n2"),
    ]
    assert found.own_id == "71405583d3e2d5ce"
    assert plan("n2").own_id == "bf923f8405cbb3bc"
    assert found.own.initial_advertise_peer_urls == "http://127.0.0.1:2380"


def test_plan_members_takes_order_and_several_urls() -> None:
    one = plan(cluster="a=https://h1:1,b=https://h2:2,a=https://h0:3", name="a")
    other = plan(cluster="b=https://h2:2,a=https://h0:3,a=https://h1:1", name="a")
    assert one.cluster_id == other.cluster_id and one.own_id == other.own_id
    assert one.own.initial_advertise_peer_urls == "https://h0:3,https://h1:1"
    assert plan(cluster="a=https://h1:1,a=https://h0:3", name="a", urls="https://h1:1,https://h0:3")
    assert plan(token="other").cluster_id != plan().cluster_id
    assert plan(cluster="n1=https://[fd00::1]:2380").members[0].peer_urls == (
        "https://[fd00::1]:2380",
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "n3"}, "no member 'n3', but n1, n2"),
        ({"cluster": "n1"}, "'n1' is not NAME=URL"),
        ({"cluster": TWO + ","}, "'' is not NAME=URL"),
        ({"cluster": "n1=127.0.0.1:2380"}, "no peer URL"),
        ({"cluster": "n1=http://127.0.0.1"}, "no peer URL"),
        ({"cluster": "n1=http://127.0.0.1:2380/x"}, "no peer URL"),
        ({"cluster": "n1=http://a:1,n2=http://a:1"}, "two members have the same URLs"),
        ({"urls": "http://127.0.0.1:9"}, "are not the URLs"),
        ({"token": ""}, "is no token"),
        ({"token": "a b"}, "is no token"),
    ],
)
def test_plan_members_names_what_is_wrong(given: dict[str, str], words: str) -> None:
    with pytest.raises(OptionInvalid, match="Option initial_") as raised:
        plan(**given)
    assert words in str(raised.value) and raised.value.hint
