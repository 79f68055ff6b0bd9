# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a restored control plane needs beside etcd's data, by layout, and what its lack would mean.

Parts go by standard names (_node/layouts/names.py). kubeadm's table is
cmd/kubeadm/app/phases/certs/certlist.go; what k3s and rke2 keep in etcd themselves, sealed with the
token, is ControlRuntimeBootstrap in pkg/daemons/config/types.go of k3s-io/k3s.
"""

from __future__ import annotations

import dataclasses

from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import names

__all__ = ["RANCHER", "Part", "is_api_host", "of_api_host", "of_member", "shared"]

RANCHER = ("k3s", "rke2")
# What tells a host with an API server from one of etcd alone.
_OF_API = frozenset(
    {
        "apiserver.crt",
        "apiserver.key",
        "apiserver-kubelet-client.crt",
        "controller-manager.conf",
        "manifests/kube-apiserver.yaml",
        "scheduler.conf",
    }
)


@dataclasses.dataclass(frozen=True)
class Part:
    """One part; `meaning` is what its lack would mean, a whole sentence."""

    name: str
    code: str
    meaning: str
    essential: bool = False
    """Without it, what it is for is lost, or does not start, until it is made anew."""
    made_with: str | None = None
    """The key in a kit that it can be made anew with."""


def shared(layout: str | None, *, tls: bool, kubernetes: bool) -> tuple[Part, ...]:
    """Return what all hosts of a cluster share: one kit's copy is enough.

    `tls`: etcd's members speak it. `kubernetes`: there is an API server.
    """
    if layout in RANCHER:
        return _RANCHER_SHARED
    return (*(_SHARED if kubernetes else ()), *(_ETCD_SHARED if tls else ()))


def of_api_host(layout: str | None) -> tuple[Part, ...]:
    """Return what each host with an API server has of its own."""
    if layout in RANCHER:
        return _RANCHER_HOST
    flags = (_kubelet("kubelet/kubeadm-flags.env"),) if layout == "kubeadm" else ()
    return (*_API_HOST, *flags)


def of_member(layout: str | None, *, tls: bool) -> tuple[Part, ...]:
    """Return what each host with a member has of its own."""
    if layout in RANCHER:
        return ()
    kubeadm = layout == "kubeadm"
    found: tuple[Part, ...] = (_manifest("etcd"),) if kubeadm else ()
    if tls:
        found += (*_MEMBER, *(_HEALTHCHECK if kubeadm else ()))
    return found


def is_api_host(layout: str | None, present: frozenset[str]) -> bool:
    """Tell whether a host with this kit ran an API server; kubeadm and kubespray make etcd's, too."""
    return layout in RANCHER or bool(_OF_API & present)


def _ca_key(name: str, meaning: str) -> Part:
    return Part(name, "no_ca_key", meaning)


_SHARED = (
    Part(
        "sa.key",
        "no_sa_key",
        "All service-account tokens are void: every pod that talks to the API server has to be "
        "started again after a new key is made.",
        essential=True,
    ),
    Part(
        "sa.pub",
        "no_sa_pub",
        "No API server starts without it; it has to be derived from sa.key (openssl pkey -pubout).",
        made_with="sa.key",
        essential=True,
    ),
    Part(
        "ca.crt",
        "no_ca",
        "The cluster's CA is lost: nothing that trusts it can talk to a restored API server, every "
        "kubeconfig, kubelet and certificate has to be made anew.",
        essential=True,
    ),
    _ca_key(
        "ca.key",
        "No certificates for new addresses, no renewal: an API server comes back only where its "
        "certificate says, for as long as that lasts.",
    ),
    Part(
        "front-proxy-ca.crt",
        "no_front_proxy_ca",
        "No API server starts without it; the front proxy's CA and client certificate have to be "
        "made anew on all hosts.",
    ),
    _ca_key(
        "front-proxy-ca.key",
        "front-proxy-client.crt cannot be renewed: aggregated APIs (metrics-server) fail when it ends.",
    ),
)
_ETCD_SHARED = (
    Part(
        "etcd/ca.crt",
        "no_etcd_ca",
        "etcd's CA is lost: members and API servers do not start until all of etcd's certificates "
        "are made anew by a new one.",
        essential=True,
    ),
    _ca_key(
        "etcd/ca.key",
        "No etcd certificates for new addresses, no renewal: a member comes back only where its "
        "certificate says, for as long as that lasts.",
    ),
)


def _leaf(pair: str, who: str, ca: str, *, essential: bool = True) -> tuple[Part, ...]:
    return tuple(
        Part(
            f"{pair}.{suffix}",
            "no_certificate" if suffix == "crt" else "no_key",
            f"{who} until a new one is issued.",
            essential=essential,
            made_with=ca,
        )
        for suffix in ("crt", "key")
    )


def _kubeconfig(who: str, meaning: str, *, essential: bool = True) -> Part:
    return Part(f"{who}.conf", "no_kubeconfig", meaning, essential=essential, made_with="ca.key")


def _manifest(component: str) -> Part:
    return Part(
        f"manifests/{component}.yaml",
        "no_manifest",
        f"{component} is not started until its static pod's manifest is written anew, with all that "
        "was set in it by hand.",
        essential=True,
    )


def _kubelet(name: str) -> Part:
    return Part(
        name, "no_kubelet_file", "The kubelet does not come back as it was: join the host anew."
    )


_API_HOST = (
    *_leaf("apiserver", "The API server does not start", "ca.key"),
    *_leaf("apiserver-kubelet-client", "The API server does not start", "ca.key"),
    *_leaf("apiserver-etcd-client", "The API server cannot talk to etcd", "etcd/ca.key"),
    *_leaf("front-proxy-client", "The API server does not start", "front-proxy-ca.key"),
    _kubeconfig("controller-manager", "The controller manager does not start without it."),
    _kubeconfig("scheduler", "The scheduler does not start without it."),
    _kubeconfig(
        "admin", "Nobody has an administrator's access until it is made anew.", essential=False
    ),
    *(
        _manifest(component)
        for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ),
    *(
        _kubelet(name)
        for name in ("kubelet.conf", "kubelet/config.yaml", "kubelet/client-current.pem")
    ),
)
_MEMBER = (
    *_leaf("etcd/server", "The member does not start", "etcd/ca.key"),
    *_leaf("etcd/peer", "The member does not start", "etcd/ca.key"),
)
_HEALTHCHECK = _leaf(
    "etcd/healthcheck-client",
    "kubeadm cannot ask etcd for its health",
    "etcd/ca.key",
    essential=False,
)
_FROM_BOOTSTRAP = "A server has to take it from its bootstrap data in etcd, which the token opens."
_RANCHER_SHARED = (
    Part(
        "token",
        "no_token",
        "The bootstrap data in etcd (CAs, their keys, the service accounts' key) stay locked: no "
        "server starts on this snapshot.",
        essential=True,
    ),
    *(
        Part(name, code, _FROM_BOOTSTRAP, essential=True, made_with="token")
        for name, code in (
            ("sa.key", "no_sa_key"),
            ("ca.crt", "no_ca"),
            ("client-ca.crt", "no_ca"),
            ("front-proxy-ca.crt", "no_front_proxy_ca"),
            ("etcd/ca.crt", "no_etcd_ca"),
            ("etcd/peer-ca.crt", "no_etcd_ca"),
            *((name, "no_ca_key") for name in sorted(names.CA_KEYS)),
        )
    ),
)
_RANCHER_KNOWN = frozenset(part.name for part in _RANCHER_SHARED)
_MADE_AT_START = "It is made anew when the service starts."
# One certificate serves as server and peer: etcd/peer is another name of etcd/server there.
_RANCHER_HOST = (
    *(
        Part(name, "no_certificate", _MADE_AT_START)
        for name in sorted(set(names.RANCHER_TLS.values()) - _RANCHER_KNOWN)
        if name != "dynamic-cert.json" and not name.startswith("etcd/peer.")
    ),
    *(
        Part(name, "no_kubeconfig", _MADE_AT_START)
        for name in ("admin.conf", "controller-manager.conf", "scheduler.conf")
    ),
    Part(
        "node-password",
        "no_node_password",
        "The node is refused until its Secret NODE.node-password.k3s is deleted.",
    ),
)
