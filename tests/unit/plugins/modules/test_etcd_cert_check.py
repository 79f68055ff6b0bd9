# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_cert_check as Ansible runs it: options in, JSON out, as its RETURN says."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from unit.fixtures import asked

from lab import kubeadm
from lab.pki import ClusterPki, issue, now
from lab.planted import secrets_of
from lab.static_pods import EtcdSettings, Node

PKI = "etc/kubernetes/pki"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClusterPki]:
    root = tmp_path_factory.mktemp("host") / "cp1"
    pki = ClusterPki()
    kubeadm.write_tree(
        Node("cp1", "127.0.0.1", "3.6.16", root, str(root)), pki, EtcdSettings(""), first=True
    )
    return root, pki


def ask(root: Path, **params: t.Any) -> dict[str, t.Any]:
    where = {"static_pod_path": str(root / "etc/kubernetes/manifests"), "served": False}
    return asked.ask("etcd_cert_check", **{**where, **params})


def test_main_of_a_good_host_changes_nothing_and_tells_no_secret(
    made: tuple[Path, ClusterPki],
) -> None:
    root, _pki = made
    result = ask(root, query="[?is_ca].name", controller_time="2020-01-01T00:00:00Z")
    assert result["changed"] is False
    assert {each["kind"] for each in result["findings"]} == {"clock_off"}
    assert result["clock_skew_seconds"] > 0
    assert sorted(result["query_result"]) == ["ca.crt", "etcd/ca.crt", "front-proxy-ca.crt"]
    planted = secrets_of(root)
    assert len(planted) > 10
    assert not [secret for secret in planted if secret in str(result)]


def test_main_fails_with_everything(made: tuple[Path, ClusterPki]) -> None:
    root, pki = made
    base = root / PKI / "front-proxy-client"
    kept = {each: each.read_bytes() for each in (Path(f"{base}.crt"), Path(f"{base}.key"))}
    issue(pki.front_proxy_ca, "front-proxy-client", not_after=now()).write(base)
    try:
        result = ask(root)
        assert result["failed"] is True
        assert result["error"]["kind"] == "certificates"
        assert f"{base}.crt" in result["msg"]
        assert "kubeadm certs renew front-proxy-client" in result["msg"]
        assert result["findings"][0]["kind"] == "expired"
        assert result["counts"]["critical"] == 1
        assert result["days_left"] == -1
        assert ask(root, fail_on="never")["findings"] == result["findings"]
    finally:
        for path, data in kept.items():
            path.write_bytes(data)


def test_main_fail_on_warning(made: tuple[Path, ClusterPki]) -> None:
    root, _pki = made
    late = {"controller_time": "2020-01-01T00:00:00Z"}
    assert ask(root, **late).get("failed") is not True
    assert ask(root, fail_on="warning", **late)["failed"] is True


def test_main_forbids_ca_keys(made: tuple[Path, ClusterPki]) -> None:
    root, _pki = made
    found = ask(root, ca_key_on_host="forbid")["findings"]
    assert {each["name"] for each in found} == {"ca.key", "etcd/ca.key", "front-proxy-ca.key"}
    assert {each["kind"] for each in found} == {"ca_key_on_host"}


def test_main_brings_reports_together(made: tuple[Path, ClusterPki]) -> None:
    root, _pki = made
    one = ask(root)
    good = ask(root, reports={"cp1": one, "cp2": one}, clusters={"cp1": "prod", "cp2": "prod"})
    assert good["changed"] is False
    assert good["findings"] == []
    assert any("all good" in line for line in good["lines"])
    bad = ask(root, reports={"cp1": one, "cp2": {"unreachable": True, "msg": "no route"}})
    assert bad["failed"] is True
    assert bad["error"]["kind"] == "certificates"
    assert bad["findings"][0]["hosts"] == ["cp2"]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"paths": ["/nowhere/at/all"]}, "option_invalid", "/nowhere/at/all"),
        ({"static_pod_path": "/nowhere"}, "layout", "/nowhere"),
        ({"query": "[?"}, "option_invalid", "Option query"),
        ({"query": "length(@[0].days_left)"}, "option_invalid", "does not fit the certificates"),
        ({"endpoints": ["nobody"]}, "option_invalid", "'nobody'"),
        ({"timeout": "soon"}, "option_invalid", "Option timeout"),
        ({"timeout": "0"}, "option_invalid", "Option timeout"),
        ({"max_clock_skew": "x"}, "option_invalid", "Option max_clock_skew"),
        ({"controller_time": "now"}, "option_invalid", "Option controller_time"),
        ({"warn_days": 3}, "option_invalid", "fail_days"),
        ({"reports": {}}, "option_invalid", "Option reports"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_main_fails_by_name(
    made: tuple[Path, ClusterPki], options: dict[str, t.Any], kind: str, words: str
) -> None:
    result = ask(made[0], **{"layout": "kubeadm", **options})
    assert result["failed"] is True
    assert result["error"]["kind"] == kind
    assert result["error"]["hint"]
    assert words in result["msg"]
    assert "findings" not in result
