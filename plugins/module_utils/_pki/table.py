# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The certificates of a control plane: who issues each one, for what, who loads it, how to renew it.

kubeadm's table is cmd/kubeadm/app/phases/certs/certlist.go, its kubeconfigs' is
phases/kubeconfig/kubeconfig.go, and the words of `kubeadm certs renew` are phases/certs/renewal.
A layout is LayoutKind's value: `kubeadm`, `systemd`, `k3s`, `rke2`; any other text is unknown.
"""

from __future__ import annotations

import dataclasses
import typing as t

__all__ = [
    "KUBECONFIGS",
    "KUBELET",
    "KUBELET_CLIENT",
    "ROLES",
    "Role",
    "key_name",
    "remaking",
    "renewal",
    "restart",
    "restarted",
    "role_of",
]

KUBELET = "kubelet"
"""What the kubelet serves on port 10250."""
KUBELET_CLIENT = "kubelet.conf"
"""What the kubelet shows to the API server."""

_MANIFESTS = "/etc/kubernetes/manifests"
_ROTATION = "https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/"


@dataclasses.dataclass(frozen=True)
class Role:
    """One line of the table."""

    name: str
    """Its standard file's name without `.crt`; a kubeconfig's whole."""
    ca: str | None
    """The role that issues it; None: it signs itself, or nobody asks who did."""
    common_name: str | None = None
    """None: the node's name, or another that is free."""
    usages: tuple[str, ...] = ()
    """The extended key usages that it must have; it may have more."""
    renew: str | None = None
    """kubeadm's word for it; None: `kubeadm certs renew` does not know it."""
    loaded_by: tuple[str, ...] = ()
    """The components that read it."""
    is_ca: bool = False
    serves: bool = False
    """Clients check its names."""


_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
_BOTH = ("server", "client")
_API = ("kube-apiserver",)
_LINES = (
    Role("etcd/ca", None, "etcd-ca", is_ca=True, loaded_by=("etcd", "kube-apiserver")),
    # k3s and rke2 have a CA of their own for peers.
    Role("etcd/peer-ca", None, is_ca=True, loaded_by=("etcd",)),
    Role("ca", None, "kubernetes", is_ca=True, loaded_by=_PLANE),
    # k3s and rke2: `ca` issues what serves, `client-ca` what clients show.
    Role("client-ca", None, is_ca=True, loaded_by=_PLANE),
    Role("front-proxy-ca", None, "front-proxy-ca", is_ca=True, loaded_by=_API),
    Role("etcd/server", "etcd/ca", None, _BOTH, "etcd-server", ("etcd",), serves=True),
    Role("etcd/peer", "etcd/ca", None, _BOTH, "etcd-peer", ("etcd",), serves=True),
    Role(
        "etcd/healthcheck-client",
        "etcd/ca",
        "kube-etcd-healthcheck-client",
        ("client",),
        "etcd-healthcheck-client",
    ),
    Role(
        "apiserver-etcd-client",
        "etcd/ca",
        "kube-apiserver-etcd-client",
        ("client",),
        "apiserver-etcd-client",
        _API,
    ),
    Role("apiserver", "ca", "kube-apiserver", ("server",), "apiserver", _API, serves=True),
    Role(
        "apiserver-kubelet-client",
        "ca",
        "kube-apiserver-kubelet-client",
        ("client",),
        "apiserver-kubelet-client",
        _API,
    ),
    Role(
        "front-proxy-client",
        "front-proxy-ca",
        "front-proxy-client",
        ("client",),
        "front-proxy-client",
        _API,
    ),
    Role("admin.conf", "ca", "kubernetes-admin", ("client",), "admin.conf"),
    Role("super-admin.conf", "ca", "kubernetes-super-admin", ("client",), "super-admin.conf"),
    Role(
        "controller-manager.conf",
        "ca",
        "system:kube-controller-manager",
        ("client",),
        "controller-manager.conf",
        ("kube-controller-manager",),
    ),
    Role(
        "scheduler.conf",
        "ca",
        "system:kube-scheduler",
        ("client",),
        "scheduler.conf",
        ("kube-scheduler",),
    ),
    Role(KUBELET_CLIENT, "ca", None, ("client",), None, ("kubelet",)),
    # Signed by a CA that the kubelet throws away, or by the cluster's (serverTLSBootstrap).
    Role(KUBELET, None, None, ("server",), None, ("kubelet",), serves=True),
)
ROLES: t.Mapping[str, Role] = {role.name: role for role in _LINES}
KUBECONFIGS = frozenset(name for name in ROLES if name.endswith(".conf"))
"""The control plane's own, each a role by its name."""
_FILES = {
    "kubelet/client-current.pem": KUBELET_CLIENT,
    "kubelet/server-current.pem": KUBELET,
    "kubelet/pki/kubelet.crt": KUBELET,
    "kubelet/pki/kubelet.key": KUBELET,
}
_OF_ETCD = frozenset(name for name, role in ROLES.items() if "etcd/ca" in (name, role.ca))
_RANCHER = {"k3s": "k3s", "rke2": "rke2-server"}


def role_of(name: str | None) -> Role | None:
    """Return the role of a file by its standard name, or by the role's own."""
    if name is None:
        return None
    plain = name[:-4] if name.endswith((".crt", ".key")) else name
    return ROLES.get(_FILES.get(name, plain))


def key_name(role: str) -> str | None:
    """Return the standard name of the file with a role's key; None: it lies with the certificate."""
    if role == KUBELET:
        return "kubelet/pki/kubelet.key"
    return f"{role}.key" if role in ROLES and not role.endswith(".conf") else None


def renewal(role: str | None, *, layout: str) -> str:
    """Say how to renew a certificate, as a sentence with its command."""
    known = ROLES.get(role or "")
    if known and known.is_ca:
        return _ca_renewal(layout)
    if layout in _RANCHER:
        service = _RANCHER[layout]
        return (
            f"Restart it, which renews what ends within 90 days: systemctl restart {service} "
            f"(to renew everything: stop it, {layout} certificate rotate, start it)."
        )
    if known is None:
        return "Issue it anew with what made it."
    if known.name == KUBELET:
        return (
            "Remove kubelet.crt and kubelet.key of /var/lib/kubelet/pki and restart the kubelet, "
            "which makes them anew; with serverTLSBootstrap, approve its request: kubectl get csr."
        )
    if known.name == KUBELET_CLIENT:
        return (
            "The kubelet renews it itself; see journalctl -u kubelet why it did not. If it has "
            "expired: kubeadm kubeconfig user --org system:nodes --client-name system:node:NODE "
            "on a control plane, put it in as /etc/kubernetes/kubelet.conf, restart the kubelet."
        )
    if layout == "systemd" and known.name in _OF_ETCD:
        return (
            "Issue it anew with what made it (kubespray: cluster.yml --tags etcd "
            "-e force_etcd_cert_refresh=true)."
        )
    if layout in ("kubeadm", "systemd"):
        return f"Renew it: kubeadm certs renew {known.renew}."
    return "Issue it anew with what made it."


def remaking(role: str | None, *, layout: str) -> str:
    """Say how to make a certificate anew where renewing would keep what is wrong with it.

    `kubeadm certs renew` reads the certificate that is there, and keeps its names and usages
    (phases/certs/renewal/manager.go, certToConfig).
    """
    known = ROLES.get(role or "")
    ours = layout == "kubeadm" or (layout == "systemd" and role not in _OF_ETCD)
    if known is None or known.renew is None or not ours:
        return renewal(role, layout=layout)
    if known.name.endswith(".conf"):
        phase = f"kubeadm init phase kubeconfig {known.name[: -len('.conf')]}"
        return f"Move {known.name} away and make it anew: {phase}."
    return (
        f"Move {known.name}.crt and .key away and make them anew with kubeadm's configuration: "
        f"kubeadm init phase certs {known.renew}."
    )


def _ca_renewal(layout: str) -> str:
    if layout in _RANCHER:
        return (
            f"Replace it, on one server: {layout} certificate rotate-ca; then restart every node."
        )
    return f"No command renews a CA: replace it and all that it issued, as {_ROTATION} says."


def restart(role: str | None, *, layout: str) -> str:
    """Say how to have a renewed certificate loaded; empty where nothing keeps it loaded."""
    known = ROLES.get(role or "")
    if known is None:
        return "Restart what loads it."
    told = (restarted(component, layout=layout) for component in known.loaded_by)
    return " ".join(dict.fromkeys(told))


def restarted(component: str, *, layout: str) -> str:
    """Say how to restart one of the control plane's programs."""
    if layout in _RANCHER:  # one process holds them all
        return f"Restart it: systemctl restart {_RANCHER[layout]}."
    if component == "kubelet" and layout in ("kubeadm", "systemd"):
        return "Restart the kubelet: systemctl restart kubelet."
    if component == "etcd" and layout == "systemd":
        return "Restart etcd, one member at a time: systemctl restart etcd."
    if layout in ("kubeadm", "systemd"):
        # https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/
        return (
            f"Restart {component}: mv {_MANIFESTS}/{component}.yaml /root/, "
            "wait 20 s, move it back."
        )
    return f"Restart {component}."
