# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubeconfigs of the control plane that log in as nobody, or as somebody else."""

from __future__ import annotations

import base64
import shutil
import typing as t

import pytest
import yaml

from lab.certified import Host
from lab.pki import issue

NAMES = ("admin.conf", "controller-manager.conf", "scheduler.conf", "kubelet.conf")


def change(host: Host, name: str, **values: t.Any) -> None:
    path = host.kubernetes / name
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


def log_in_as(host: Host, name: str, common_name: str) -> None:
    document = yaml.safe_load((host.kubernetes / name).read_text())
    pair = issue(host.pki.ca, common_name)
    document["users"][0]["user"] = {
        "client-certificate-data": base64.b64encode(pair.certificate_pem).decode(),
        "client-key-data": base64.b64encode(pair.key_pem).decode(),
    }
    change(host, name, users=document["users"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "values",
    [
        {"current-context": "elsewhere"},
        {"current-context": ""},
        {"current-context": None},
        {"contexts": []},
        {"contexts": None},
        {"contexts": [{"name": "x", "context": {}}], "current-context": "x"},
    ],
)
def test_current_context_that_leads_nowhere(
    host: Host, name: str, values: dict[str, t.Any]
) -> None:
    change(host, name, **values)
    (found,) = host.check()["findings"]
    assert (found["severity"], found["kind"]) == ("critical", "kubeconfig")
    assert (found["where"], found["name"]) == (f"/etc/kubernetes/{name}", name)
    assert "context" in found["message"] and found["action"]


@pytest.mark.parametrize("section", ["users", "clusters"])
def test_current_context_of_somebody_that_it_lacks(host: Host, section: str) -> None:
    document = yaml.safe_load((host.kubernetes / "scheduler.conf").read_text())
    document[section][0]["name"] = "another"
    change(host, "scheduler.conf", **{section: document[section]})
    (found,) = host.check()["findings"]
    assert (found["severity"], found["kind"]) == ("critical", "kubeconfig")
    assert f"a {section[:-1]} that it lacks" in found["message"]


@pytest.mark.parametrize(
    ("name", "of", "severity"),
    [
        ("scheduler.conf", "admin.conf", "warning"),
        ("scheduler.conf", "controller-manager.conf", "critical"),
        ("controller-manager.conf", "scheduler.conf", "critical"),
        ("controller-manager.conf", "super-admin.conf", "warning"),
        ("admin.conf", "scheduler.conf", "critical"),
        ("kubelet.conf", "admin.conf", "warning"),
    ],
)
def test_kubeconfig_that_is_a_copy_of_another(
    host: Host, name: str, of: str, severity: str
) -> None:
    shutil.copyfile(host.kubernetes / of, host.kubernetes / name)
    found = [each for each in host.check()["findings"] if each["kind"] == "kubeconfig"]
    assert [(each["severity"], each["name"]) for each in found] == [(severity, name)]
    assert f"as {of} does" in found[0]["message"]


def test_kubeconfig_of_a_name_that_nobody_knows(host: Host) -> None:
    log_in_as(host, "scheduler.conf", "my-scheduler")
    assert host.findings() == [("warning", "kubeconfig", "/etc/kubernetes/scheduler.conf")]


@pytest.mark.parametrize("name", ["admin.conf", "super-admin.conf"])
def test_kubeconfig_of_an_admin_of_another_name_is_fine(host: Host, name: str) -> None:
    log_in_as(host, name, "alice")
    assert host.findings() == []
    log_in_as(host, name, "kubernetes-admin")
    assert host.findings() == []


def test_replaced_ca_is_to_be_put_back_first(host: Host) -> None:
    shutil.copyfile(host.folder / "front-proxy-ca.crt", host.folder / "ca.crt")
    chains = [each for each in host.check()["findings"] if each["kind"] == "chain"]
    assert chains
    for each in chains:
        assert each["action"].startswith("If ca.crt was replaced, put the right one back"), each
