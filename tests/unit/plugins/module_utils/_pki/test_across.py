# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of a cluster against each other."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._pki import across
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import Kind, Severity

SHARED = {
    "ca": "a" * 64,
    "etcd/ca": "b" * 64,
    "front-proxy-ca": "c" * 64,
    "sa": "d" * 64,
    "encryption-config": {"sha256": "e" * 64, "key_names": ["k1"]},
}


def report(skew: float | None = 0.0, **shared: t.Any) -> dict[str, t.Any]:
    return {"findings": [], "shared": {**SHARED, **shared}, "clock_skew_seconds": skew}


def test_equal_hosts_are_silent() -> None:
    assert across.compare({"cp1": report(), "cp2": report(), "cp3": report(3.0)}) == []
    assert across.compare({"cp1": report()}) == []
    assert across.compare({}) == []


@pytest.mark.parametrize("name", sorted(SHARED))
def test_each_shared_thing_that_differs_is_told(name: str) -> None:
    odd = report(**{name: "f" * 64})
    (found,) = across.compare({"cp1": report(), "cp2": odd, "cp3": report()})
    finding = found.finding
    assert (finding.kind, finding.severity) == (Kind.HOSTS_DIFFER, Severity.CRITICAL)
    assert (finding.subject, found.hosts) == (name, ("cp1", "cp3", "cp2"))
    assert "cp1, cp3: sha256" in finding.message and "cp2: sha256 ffffffffffff" in finding.message
    assert finding.action and found.as_dict()["hosts"] == ["cp1", "cp3", "cp2"]


def test_hosts_of_other_clusters_are_not_compared() -> None:
    reports = {"a1": report(), "a2": report(), "b1": report(ca="0" * 64, sa="1" * 64)}
    clusters = {"a1": "a", "a2": "a", "b1": "b"}
    assert across.compare(reports, clusters=clusters) == []
    reports["b2"] = report(ca="0" * 64, sa="2" * 64)
    (found,) = across.compare(reports, clusters={**clusters, "b2": "b"})
    assert found.finding.where == "cluster b" and found.hosts == ("b1", "b2")


@pytest.mark.parametrize("nothing", [None, "", {}, []])
def test_host_that_has_none_is_not_compared(nothing: object) -> None:
    etcd_only = {"findings": [], "shared": {"etcd/ca": SHARED["etcd/ca"], "ca": nothing}}
    assert across.compare({"cp1": report(), "etcd1": etcd_only}) == []


def test_encryption_config_that_one_api_server_lacks_is_told() -> None:
    lacking = report(**{"encryption-config": None})
    (found,) = across.compare({"cp1": report(), "cp2": report(), "cp3": lacking})
    assert "cp3: none" in found.finding.message and found.finding.subject == "encryption-config"
    none = report(**{"encryption-config": None})
    assert across.compare({"cp1": none, "cp2": dict(none)}) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"unreachable": True, "msg": "ssh:\n no route to host."}, "ssh: no route to host."),
        ({"failed": True, "msg": "No layout."}, "No layout."),
        ({"skipped": True}, "no result"),
        ({}, "no result"),
        ({"findings": [], "unreachable": True}, "no result"),
        ({"failed": True, "msg": 5}, "no result"),
    ],
)
def test_host_that_told_nothing_is_critical(bad: dict[str, t.Any], words: str) -> None:
    (found,) = across.compare({"cp1": report(), "cp2": bad})
    assert found.hosts == ("cp2",)
    assert (found.finding.kind, found.finding.severity) == (Kind.NOT_LOOKED_AT, Severity.CRITICAL)
    assert f"not looked at: {words}" in found.finding.message.replace("no result.", "no result")


def test_host_that_failed_over_its_findings_is_looked_at() -> None:
    assert across.compare({"cp1": {**report(), "failed": True, "msg": "2 critical"}}) == []


@pytest.mark.parametrize(
    ("skews", "words"),
    [
        ((0, 29), None),
        ((-20, 20), "cp2 is 40 s ahead of that of cp1"),
        ((100, 0), "cp1 is 100 s ahead of that of cp2"),
        ((None, 100), None),
    ],
)
def test_clocks_apart_are_told(skews: tuple[float | None, float], words: str | None) -> None:
    found = across.compare({"cp1": report(skews[0]), "cp2": report(skews[1])}, max_clock_skew=30)
    assert [each.finding.kind for each in found] == ([Kind.CLOCK_OFF] if words else [])
    if words:
        assert words in found[0].finding.message


def test_many_hosts_are_not_all_listed() -> None:
    reports = {f"cp{number:03}": report() for number in range(150)}
    reports["odd"] = report(sa="0" * 64)
    (found,) = across.compare(reports)
    assert "cp004 and 145 more: sha256" in found.finding.message and len(found.hosts) == 151


def test_odd_reports_do_not_raise() -> None:
    odd = {"findings": [], "shared": ["x"], "clock_skew_seconds": "soon"}
    assert across.compare({"cp1": odd, "cp2": report(), "cp3": {"findings": None}})
