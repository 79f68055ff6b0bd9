# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubeadm's table, and the commands that it gives."""

from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import names
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import (
    LayoutKind,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import table

LAYOUTS = [*(kind.value for kind in LayoutKind), ""]
# `kubeadm certs renew --help` of 1.36, without `all`.
RENEWABLE = {
    *("admin.conf", "apiserver", "apiserver-etcd-client", "apiserver-kubelet-client"),
    *("controller-manager.conf", "etcd-healthcheck-client", "etcd-peer", "etcd-server"),
    *("front-proxy-client", "scheduler.conf", "super-admin.conf"),
}


def test_roles_renew_with_kubeadms_words() -> None:
    assert {role.renew for role in table.ROLES.values() if role.renew} == RENEWABLE


def test_roles_name_an_issuer_that_is_a_ca() -> None:
    for role in table.ROLES.values():
        assert role.ca is None or table.ROLES[role.ca].is_ca
        assert not (role.is_ca and role.renew)


@pytest.mark.parametrize("name", sorted(names.KUBEADM_PKI))
def test_role_of_every_certificate_of_kubeadm(name: str) -> None:
    role = table.role_of(name)
    if name.startswith("sa."):
        assert role is None
    else:
        assert role is not None and role.name == name.rsplit(".", 1)[0]
        assert table.key_name(role.name) == f"{role.name}.key"


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("kubelet/client-current.pem", "kubelet.conf"),
        ("kubelet/server-current.pem", "kubelet"),
        ("kubelet/pki/kubelet.crt", "kubelet"),
        ("admin.conf", "admin.conf"),
        ("etcd/server", "etcd/server"),
        (None, None),
        ("made-up.crt", None),
    ],
)
def test_role_of_other_names(name: str | None, role: str | None) -> None:
    found = table.role_of(name)
    assert (found.name if found else None) == role


def test_key_name_of_what_lies_with_its_certificate_is_none() -> None:
    assert table.key_name("admin.conf") is None and table.key_name("nonsense") is None
    assert table.key_name(table.KUBELET) == "kubelet/pki/kubelet.key"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("role", [*table.ROLES, None, "nonsense"])
def test_every_role_and_layout_has_something_to_do(role: str | None, layout: str) -> None:
    for told in (table.renewal(role, layout=layout), table.remaking(role, layout=layout)):
        assert told.endswith(".") and "None" not in told
    known = table.ROLES.get(role or "")
    assert bool(table.restart(role, layout=layout)) is (known is None or bool(known.loaded_by))


@pytest.mark.parametrize(
    ("role", "layout", "words"),
    [
        ("etcd/server", "kubeadm", "kubeadm certs renew etcd-server"),
        ("apiserver", "systemd", "kubeadm certs renew apiserver"),
        ("etcd/server", "systemd", "force_etcd_cert_refresh"),
        ("etcd/server", "k3s", "systemctl restart k3s "),
        ("apiserver", "rke2", "systemctl restart rke2-server "),
        ("ca", "kubeadm", "manual-rotation-of-ca-certificates"),
        ("ca", "k3s", "k3s certificate rotate-ca"),
        ("kubelet.conf", "kubeadm", "--org system:nodes"),
        ("kubelet", "kubeadm", "kubelet.crt and kubelet.key"),
        ("etcd/server", "", "what made it"),
    ],
)
def test_renewal_names_the_command(role: str, layout: str, words: str) -> None:
    assert words in table.renewal(role, layout=layout)


@pytest.mark.parametrize(
    ("role", "layout", "words"),
    [
        ("etcd/server", "kubeadm", "mv /etc/kubernetes/manifests/etcd.yaml /root/, wait 20 s"),
        ("scheduler.conf", "kubeadm", "manifests/kube-scheduler.yaml"),
        ("etcd/peer", "systemd", "one member at a time: systemctl restart etcd"),
        ("apiserver", "systemd", "manifests/kube-apiserver.yaml"),
        ("apiserver", "rke2", "systemctl restart rke2-server"),
        ("kubelet.conf", "kubeadm", "systemctl restart kubelet"),
        ("apiserver", "", "Restart kube-apiserver."),
    ],
)
def test_restart_names_the_command(role: str, layout: str, words: str) -> None:
    assert words in table.restart(role, layout=layout)


@pytest.mark.parametrize("component", ["etcd", "kube-apiserver", "kubelet"])
def test_restarted_of_one_program(component: str) -> None:
    assert table.restarted(component, layout="k3s") == "Restart it: systemctl restart k3s."
    assert component in table.restarted(component, layout="kubeadm")
    assert table.restarted(component, layout="") == f"Restart {component}."


def test_restart_of_a_ca_says_each_program_once() -> None:
    assert table.restart("ca", layout="rke2") == "Restart it: systemctl restart rke2-server."
    assert table.restart("ca", layout="kubeadm").count("wait 20 s") == 3


def test_remaking_does_not_renew_what_renewing_keeps() -> None:
    told = table.remaking("etcd/server", layout="kubeadm")
    assert "kubeadm init phase certs etcd-server" in told and "renew" not in told
    told = table.remaking("controller-manager.conf", layout="kubeadm")
    assert "kubeadm init phase kubeconfig controller-manager" in told
