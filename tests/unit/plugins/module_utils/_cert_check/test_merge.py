# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of several hosts, honest ones and others, brought together."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._cert_check import check, merge
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from lab.certified import Host


def together(reports: dict[str, t.Any], **options: t.Any) -> check.Answer:
    asked = {"clusters": {}, "max_clock_skew": 30.0, "fail_on": "critical", **options}
    return merge.together(reports, **asked)


@pytest.fixture(scope="module")
def report(made: Host) -> dict[str, t.Any]:
    """A good host's report as the role hands it on."""
    found = made.check(controller_time="2020-01-01T00:00:00Z", max_clock_skew=1e12)
    return {key: value for key, value in found.items() if key not in ("certificates", "served")}


def test_together_of_equal_hosts_is_good(report: dict[str, t.Any]) -> None:
    answer = together({"cp2": report, "cp1": copy.deepcopy(report)})
    assert answer.failed is None
    assert answer.result["findings"] == []
    assert answer.result["counts"]["certificates"] == 2 * report["counts"]["certificates"]
    assert answer.result["soonest"] == {**report["soonest"], "host": "cp1"}
    assert any("all good" in line for line in answer.result["lines"])


@pytest.mark.parametrize("name", check.report.SHARED)
def test_together_hosts_that_differ_fail(report: dict[str, t.Any], name: str) -> None:
    one, other = copy.deepcopy(report), copy.deepcopy(report)
    one["shared"][name], other["shared"][name] = "1" * 64, "0" * 64
    answer = together({"cp1": one, "cp2": other})
    assert answer.failed is not None
    (finding,) = answer.result["findings"]
    assert (finding["kind"], finding["severity"]) == ("hosts_differ", "critical")
    assert sorted(finding["hosts"]) == ["cp1", "cp2"]
    apart = together({"cp1": one, "cp2": other}, clusters={"cp1": "a", "cp2": "b"})
    assert apart.result["findings"] == []


def test_together_skewed_clocks(report: dict[str, t.Any]) -> None:
    late = {**report, "clock_skew_seconds": report["clock_skew_seconds"] - 60}
    kinds = [each["kind"] for each in together({"a": report, "b": late}).result["findings"]]
    assert kinds == ["clock_off"]


@pytest.mark.parametrize(
    "lost",
    [
        {"unreachable": True, "msg": "no route to host"},
        {"failed": True, "msg": "No etcd member found"},
        {"skipped": True},
        None,
        "text",
        [],
        {},
        {"findings": [], "counts": {}},
        {"findings": [{"severity": "fine"}], "counts": {"critical": 0}},
        {"findings": [None], "counts": None},
    ],
    ids=str,
)
def test_together_a_host_without_a_report_is_critical(
    report: dict[str, t.Any], lost: object
) -> None:
    answer = together({"cp1": report, "cp2": lost})
    assert answer.failed is not None
    assert "cp2" in str(answer.failed)
    (finding,) = answer.result["findings"]
    assert (finding["kind"], finding["severity"]) == ("not_looked_at", "critical")
    assert finding["hosts"] == ["cp2"]
    assert not any("all good" in line for line in answer.result["lines"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shared", [1]),
        ("shared", "x"),
        ("soonest", 3),
        ("soonest", {"name": 1}),
        ("days_left", "many"),
        ("clock_skew_seconds", float("inf")),
        ("counts", {"critical": "9" * 5000}),
        ("findings", {"a": 1}),
        ("days_left", "9" * 400),
        ("failed", True),
        (
            "counts",
            {"critical": 0, "warning": 0, "info": 0, "certificates": 0},
        ),
    ],
)
def test_together_never_trips_over_what_a_host_says(
    report: dict[str, t.Any], key: str, value: object
) -> None:
    answer = together({"cp1": report, "cp2": {**report, key: value}})
    assert [each["kind"] for each in answer.result["findings"]] == ["not_looked_at"]


def test_together_report_of_a_module_that_failed_over_its_findings_is_one(
    report: dict[str, t.Any],
) -> None:
    failed = {**report, "failed": True, "error": {"kind": "certificates"}}
    assert together({"cp1": failed}).result["findings"] == []


def test_together_shows_no_control_characters(report: dict[str, t.Any]) -> None:
    finding = {
        "kind": "expired",
        "severity": "warning",
        "subject": "\x1b[2Jx",
        "where": "a\nb",
        "message": "m" * 9000,
        "action": "",
        "name": None,
        "days_left": "-3",
    }
    answer = together({"cp1": {**report, "findings": [finding]}}, fail_on="warning")
    (shown,) = answer.result["findings"]
    assert shown["subject"] == "\\x1b[2Jx"
    assert shown["where"] == "a\\x0ab"
    assert len(shown["message"]) == 2000
    assert shown["days_left"] == -3
    assert answer.failed is not None and answer.failed.kind == "certificates"
    assert together({"cp1": {**report, "findings": [finding]}}).failed is None


def test_together_nothing_at_all_is_an_error() -> None:
    with pytest.raises(OptionInvalid, match="Option reports is empty"):
        together({})
