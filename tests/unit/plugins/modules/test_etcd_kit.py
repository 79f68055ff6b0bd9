# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd_kit as Ansible runs it: options in, JSON out, as its RETURN says."""

from __future__ import annotations

import importlib
import typing as t
from pathlib import Path

import pytest
import yaml
from unit.fixtures import asked

from lab import kubeadm
from lab.pki import ClusterPki
from lab.planted import secrets_of
from lab.static_pods import EtcdSettings, Node

MODULE = f"{asked.MODULES}.etcd_kit"
AGE = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
SHARED = {"invocation", "warnings", "deprecations", "changed", "failed"}


def ask(*, check_mode: bool = False, **params: t.Any) -> tuple[dict[str, t.Any], str]:
    return asked.ask_and_hear("etcd_kit", **params, _ansible_check_mode=check_mode)


@pytest.fixture
def host(tmp_path: Path) -> dict[str, t.Any]:
    """A loopback host's options."""
    root = tmp_path / "cp1"
    node = Node("cp1", "127.0.0.1", "3.6.16", root, str(root), 2379, 2380, 2381, 6443)
    kubeadm.write_tree(node, ClusterPki(), EtcdSettings(""), first=True)
    (tmp_path / "dest").mkdir()
    return {
        "static_pod_path": str(root / "etc/kubernetes/manifests"),
        "dest_dir": str(tmp_path / "dest"),
        "name": "cp1",
    }


def test_main_writes_and_tells_no_secret(host: dict[str, t.Any], tmp_path: Path) -> None:
    result, said = ask(**host, recipients=[AGE])
    assert result["changed"] is True
    assert [each["name"] for each in result["files"]] == [
        "encryption.tar.zst.age",
        "pki/cp1.tar.zst.age",
    ]
    for each in result["files"]:
        assert Path(each["path"]).stat().st_size == each["size_bytes"]
        assert each["encryption"] == {"scheme": "age", "recipients": [AGE]}
    planted = secrets_of(tmp_path / "cp1")
    assert len(planted) > 10
    assert not [secret for secret in planted if secret in said]


def test_main_check_mode_tells_all_and_writes_nothing(host: dict[str, t.Any]) -> None:
    result, _said = ask(check_mode=True, **host, recipients=[AGE])
    assert result["changed"] is True
    assert not list(Path(host["dest_dir"]).iterdir())
    assert len(result["contents"]) == result["file_count"]
    assert any(each["names"] == ["sa.key"] for each in result["contents"])
    assert all(each["clear_size_bytes"] > 0 for each in result["files"])
    real, _said = ask(**host, recipients=[AGE])
    for key in ("kit", "certificates", "encryption", "file_count"):
        assert real[key] == result[key]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({}, "seal", "Part encryption and pki must not lie unsealed"),
        ({"recipients": ["AGE-SECRET-KEY-1PLANTED"]}, "seal", "PRIVATE key"),
        ({"recipients": [AGE], "name": "../x"}, "option_invalid", "'../x'"),
        ({"recipients": [AGE], "dest_dir": "/nowhere/at/all"}, "kit", "/nowhere/at/all/"),
        ({"recipients": [AGE], "static_pod_path": "/nowhere"}, "layout", "/nowhere"),
    ],
    ids=["unsealed", "private key", "name", "dest_dir", "layout"],
)
def test_main_fails_by_name(
    host: dict[str, t.Any], options: dict[str, t.Any], kind: str, words: str
) -> None:
    result, said = ask(**{**host, "layout": "kubeadm", **options})
    assert result["failed"] is True
    assert result["error"]["kind"] == kind
    assert result["error"]["hint"]
    assert words in result["msg"]
    assert "PLANTED" not in said.split('"invocation"')[0]
    assert not list(Path(host["dest_dir"]).iterdir())


def compare(result: t.Any, documented: dict[str, t.Any], where: str) -> None:
    kinds = {"str": str, "int": int, "bool": bool, "list": list, "dict": dict}
    assert isinstance(result, kinds[documented["type"]]), where
    if documented["type"] == "list" and result:
        assert isinstance(result[0], kinds[documented["elements"]]), where
    inner = documented.get("contains")
    sample = documented["sample"] if not inner else None
    if sample and documented["type"] == "list" and documented["elements"] == "dict":
        assert set(result[0]) == set(sample[0]), where
    for each in result if isinstance(result, list) else [result]:
        for name, body in (inner or {}).items():
            if name in each or "returned" not in body:
                compare(each[name], body, f"{where}.{name}")
        if inner:
            assert set(each) <= set(inner), where


def test_return_documents_what_is_returned(host: dict[str, t.Any]) -> None:
    documented = yaml.safe_load(importlib.import_module(MODULE).RETURN)
    for check_mode in (True, False):
        result, _said = ask(check_mode=check_mode, **host, recipients=[AGE])
        assert set(result) - SHARED <= set(documented)
        expected = {
            name
            for name, body in documented.items()
            if body["returned"] == "success" or (check_mode and body["returned"] == "in check mode")
        }
        assert expected == set(result) - SHARED
        for name in expected:
            compare(result[name], documented[name], name)


def test_options_are_documented(host: dict[str, t.Any]) -> None:
    module = importlib.import_module(MODULE)
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    for name, spec in module.ARGUMENT_SPEC.items():
        if name in module.LAYOUT:
            continue
        assert documented[name]["type"] == spec["type"], name
        assert documented[name].get("default") == spec.get("default"), name
        assert documented[name].get("required", False) == spec.get("required", False), name
        assert documented[name].get("elements") == spec.get("elements"), name
