# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table that a person reads."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._pki import across, shown

RESTART = (
    "Renew it: kubeadm certs renew etcd-server. Restart etcd: mv "
    "/etc/kubernetes/manifests/etcd.yaml /root/, wait 20 s, move it back."
)


def finding(severity: str = "critical", **more: t.Any) -> dict[str, t.Any]:
    return {
        "kind": "expires_soon",
        "severity": severity,
        "subject": "CN=cp1",
        "where": "/etc/kubernetes/pki/etcd/server.crt",
        "message": "It ends on 2026-11-27T00:00:00Z, in 3 days; fail_days is 7.",
        "action": RESTART,
        "name": "etcd/server.crt",
        "days_left": 3,
        **more,
    }


def report(*findings: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {
        "findings": list(findings),
        "counts": {"certificates": 20},
        "soonest": {"name": "etcd/server.crt", "where": "/x"},
        "days_left": 3,
        **more,
    }


def test_table_shows_a_finding_with_what_to_do_and_the_hosts() -> None:
    told = shown.lines({"cp1": report(finding())}, clusters={"cp1": "prod"})
    assert told == [
        "SEVERITY  HOST  WHAT             DAYS  WHERE",
        "critical  cp1   etcd/server.crt     3  /etc/kubernetes/pki/etcd/server.crt",
        "          It ends on 2026-11-27T00:00:00Z, in 3 days; fail_days is 7.",
        "          Do: Renew it: kubeadm certs renew etcd-server. Restart etcd: mv "
        "/etc/kubernetes/manifests/etcd.yaml",
        "              /root/, wait 20 s, move it back.",
        "",
        "HOST  CLUSTER  CERTIFICATES  CRITICAL  WARNING  DAYS  ENDS FIRST",
        "cp1   prod               20         1        -     3  etcd/server.crt",
        "",
        "20 certificates on 1 host: 1 critical, 0 warnings.",
    ]


def test_table_is_worst_first() -> None:
    reports = {
        "a": report(finding("warning", days_left=1), finding("warning", days_left=None)),
        "b": report(finding(days_left=5)),
        "c": report(finding(days_left=-2), finding("info")),
    }
    rows = [line.split() for line in shown.lines(reports) if line.startswith(("crit", "warn"))]
    assert [(row[0], row[1]) for row in rows] == [
        ("critical", "c"),
        ("critical", "b"),
        ("warning", "a"),
        ("warning", "a"),
    ]


def test_hosts_are_in_the_order_of_their_ends() -> None:
    told = shown.lines(
        {"late": report(days_left=90), "soon": report(days_left=4), "gone": {"msg": "no route"}}
    )
    assert [line.split()[0] for line in told[1:4]] == ["gone", "soon", "late"]
    assert "not looked at" in told[1]


def test_table_of_nothing_found_is_all_good() -> None:
    told = shown.lines({"cp1": report(), "cp2": report(finding("info"))})
    assert told[-1] == "40 certificates on 2 hosts: all good."
    assert "CLUSTER" not in told[0]


@pytest.mark.parametrize(
    "blank",
    [
        {},
        {"unreachable": True, "findings": [], "counts": {"certificates": 9}},
        {"failed": True, "msg": "x"},
        {"findings": [], "counts": {"certificates": 0}},
        {"findings": []},
        {"findings": None, "certificates": [1]},
    ],
)
def test_table_is_never_all_good_where_a_host_showed_nothing(blank: dict[str, t.Any]) -> None:
    told = " ".join(shown.lines({"cp1": report(), "cp2": blank})[-2:])
    assert "all good" not in told and "No certificate was seen on cp2" in told
    assert "all good" not in " ".join(shown.lines({"cp2": blank}))
    assert "all good" not in " ".join(shown.lines({}))


def test_table_counts_listed_certificates() -> None:
    assert "2 certificates on 1 host: all good." in shown.lines(
        {"cp1": {"findings": [], "certificates": [{}, {}]}}
    )


def test_table_shows_differences_of_several_hosts() -> None:
    shared = {"sa": "a" * 64}
    reports = {"cp1": report(shared=shared), "cp2": report(shared={"sa": "b" * 64})}
    told = shown.lines(reports, differences=across.compare(reports))
    assert told[1].startswith("critical  2 hosts  sa")
    assert told[-1] == "40 certificates on 2 hosts: 1 critical, 0 warnings."


@pytest.mark.parametrize("width", [100, 110])
def test_no_line_is_wider_than_asked(width: int) -> None:
    long = finding(
        where="/very" * 40 + "/end.crt",
        message="word " * 90,
        name="n" * 90,
        subject="CN=" + "s" * 99,
    )
    reports = {
        "host-with-a-very-long-name.of.some.domain.example.org": report(long),
        "b": report(soonest={"name": None, "where": "/very" * 40}),
    }
    told = shown.lines(reports, clusters=dict.fromkeys(reports, "cluster" * 9), width=width)
    assert max(len(line) for line in told) <= width
    assert any(line.endswith("/end.crt") for line in told)


def test_table_of_very_many_findings_ends() -> None:
    reports = {f"cp{number}": report(finding(), finding("warning")) for number in range(150)}
    told = shown.lines(reports)
    assert "… and 100 more, not shown: see `findings`." in told
    assert told[-1] == "3000 certificates on 150 hosts: 150 critical, 150 warnings."


def test_odd_reports_do_not_raise() -> None:
    odd = {"findings": [None, {}, 3], "soonest": "x", "days_left": "soon", "counts": []}
    assert shown.lines({"cp1": odd, "cp2": {"findings": "x"}})
