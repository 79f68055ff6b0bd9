# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Standard names of a control plane's files: kubeadm's words, whatever a layout calls them.

A file's standard name is what results and manifests may show of it: it tells its role, and nothing
that somebody made up. kubeadm's table is cmd/kubeadm/app/phases/certs/certlist.go; k3s's is
pkg/daemons/control/deps/deps.go of k3s-io/k3s, which rke2 shares.
"""

from __future__ import annotations

__all__ = [
    "CA_KEYS",
    "CORE",
    "ENCRYPTION_CONFIG",
    "KUBEADM_PKI",
    "KUBECONFIGS",
    "KUBERNETES_DIR",
    "MANIFESTS",
    "RANCHER_CRED",
    "RANCHER_TLS",
    "flag_name",
    "names_a_file",
]

ENCRYPTION_CONFIG = "encryption-config"

_PAIRS = (
    "ca",
    "apiserver",
    "apiserver-kubelet-client",
    "apiserver-etcd-client",
    "front-proxy-ca",
    "front-proxy-client",
    "etcd/ca",
    "etcd/server",
    "etcd/peer",
    "etcd/healthcheck-client",
)
# Below kubeadm's certificatesDir.
KUBEADM_PKI = {
    name: name
    for name in (
        *(f"{pair}.{suffix}" for pair in _PAIRS for suffix in ("crt", "key")),
        "sa.key",
        "sa.pub",
    )
}
# Beside the folder of the static pods' manifests; the second half is kubespray's.
KUBERNETES_DIR = {
    "admin.conf": "admin.conf",
    "super-admin.conf": "super-admin.conf",
    "kubelet.conf": "kubelet.conf",
    "bootstrap-kubelet.conf": "bootstrap-kubelet.conf",
    "controller-manager.conf": "controller-manager.conf",
    "scheduler.conf": "scheduler.conf",
    "kubeadm-config.yaml": "kubeadm-config",
    "kubelet-config.yaml": "kubelet/config.yaml",
    "kubelet.env": "kubelet/kubelet.env",
}
KUBECONFIGS = frozenset(name for name in KUBERNETES_DIR.values() if name.endswith(".conf"))
MANIFESTS = {
    f"{component}.yaml": f"manifests/{component}.yaml"
    for component in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
}
# Below the server folder's `tls` and `cred`.
RANCHER_TLS = {
    **{
        f"{theirs}.{suffix}": f"{ours}.{suffix}"
        for theirs, ours in {
            "server-ca": "ca",
            "client-ca": "client-ca",
            "request-header-ca": "front-proxy-ca",
            "client-auth-proxy": "front-proxy-client",
            "serving-kube-apiserver": "apiserver",
            "client-kube-apiserver": "apiserver-kubelet-client",
            "etcd/server-ca": "etcd/ca",
            "etcd/peer-ca": "etcd/peer-ca",
            "etcd/client": "apiserver-etcd-client",
            "etcd/server-client": "etcd/server",
            "etcd/peer-server-client": "etcd/peer",
        }.items()
        for suffix in ("crt", "key")
    },
    "service.key": "sa.key",
    "dynamic-cert.json": "dynamic-cert.json",
}
RANCHER_CRED = {
    "admin.kubeconfig": "admin.conf",
    "controller.kubeconfig": "controller-manager.conf",
    "scheduler.kubeconfig": "scheduler.conf",
    "encryption-config.json": ENCRYPTION_CONFIG,
    "encryption-state.json": "encryption-state",
    "passwd": "passwd",
    "ipsec.psk": "ipsec.psk",
}
# Keys that sign certificates. sa.key signs tokens: it is none of them.
CA_KEYS = frozenset(
    {"ca.key", "client-ca.key", "etcd/ca.key", "etcd/peer-ca.key", "front-proxy-ca.key"}
)

# A file may have several of these (one certificate as server and peer); any other name only
# where it has none.
CORE = frozenset(
    {
        *KUBEADM_PKI.values(),
        *KUBERNETES_DIR.values(),
        *MANIFESTS.values(),
        *RANCHER_TLS.values(),
        *RANCHER_CRED.values(),
    }
) - {"etcd/peer-ca.crt"}

_BY_FLAG = {
    "etcd": {
        "cert-file": "etcd/server.crt",
        "key-file": "etcd/server.key",
        "trusted-ca-file": "etcd/ca.crt",
        "peer-cert-file": "etcd/peer.crt",
        "peer-key-file": "etcd/peer.key",
        "peer-trusted-ca-file": "etcd/peer-ca.crt",
        "config-file": "etcd/config",
        "client-crl-file": "etcd/client-crl",
        "peer-crl-file": "etcd/peer-crl",
    },
    "kube-apiserver": {
        "client-ca-file": "ca.crt",
        "tls-cert-file": "apiserver.crt",
        "tls-private-key-file": "apiserver.key",
        "kubelet-client-certificate": "apiserver-kubelet-client.crt",
        "kubelet-client-key": "apiserver-kubelet-client.key",
        "kubelet-certificate-authority": "kubelet-ca.crt",
        "etcd-cafile": "etcd/ca.crt",
        "etcd-certfile": "apiserver-etcd-client.crt",
        "etcd-keyfile": "apiserver-etcd-client.key",
        "requestheader-client-ca-file": "front-proxy-ca.crt",
        "proxy-client-cert-file": "front-proxy-client.crt",
        "proxy-client-key-file": "front-proxy-client.key",
        "service-account-key-file": "sa.pub",
        "service-account-signing-key-file": "sa.key",
        "encryption-provider-config": ENCRYPTION_CONFIG,
        "admission-control-config-file": "admission-control-config",
        "audit-policy-file": "audit-policy",
        "audit-webhook-config-file": "audit-webhook-config",
        "authentication-config": "authentication-config",
        "authentication-token-webhook-config-file": "authentication-token-webhook-config",
        "authorization-config": "authorization-config",
        "authorization-policy-file": "authorization-policy",
        "authorization-webhook-config-file": "authorization-webhook-config",
        "egress-selector-config-file": "egress-selector-config",
        "tracing-config-file": "tracing-config",
        "oidc-ca-file": "oidc-ca.crt",
        "token-auth-file": "token-auth",
        "tls-sni-cert-key": "apiserver-sni",
        "cloud-config": "cloud-config",
    },
    "kube-controller-manager": {
        "kubeconfig": "controller-manager.conf",
        "root-ca-file": "root-ca.crt",
        "cluster-signing-cert-file": "cluster-signing.crt",
        "cluster-signing-key-file": "cluster-signing.key",
        "service-account-private-key-file": "sa.key",
        "cloud-config": "cloud-config",
        "tls-cert-file": "controller-manager.crt",
        "tls-private-key-file": "controller-manager.key",
    },
    "kube-scheduler": {
        "kubeconfig": "scheduler.conf",
        "config": "scheduler-config",
        "tls-cert-file": "scheduler.crt",
        "tls-private-key-file": "scheduler.key",
    },
    "kubelet": {
        "kubeconfig": "kubelet.conf",
        "bootstrap-kubeconfig": "bootstrap-kubelet.conf",
        "config": "kubelet/config.yaml",
        "tls-cert-file": "kubelet/pki/kubelet.crt",
        "tls-private-key-file": "kubelet/pki/kubelet.key",
        "image-credential-provider-config": "kubelet/image-credential-provider-config",
        "cloud-config": "cloud-config",
    },
}
# Absolute paths that name no file to keep: keys, URL paths, outputs, folders of the system.
_NO_FILES = frozenset(
    {
        "audit-log-path",
        "authorization-always-allow-paths",
        "cert-dir",
        "cgroup-root",
        "data-dir",
        "etcd-prefix",
        "experimental-wal-dir",
        "flex-volume-plugin-dir",
        "lock-file",
        "log-dir",
        "log-file",
        "log-outputs",
        "resolv-conf",
        "root-dir",
        "runtime-cgroups",
        "kubelet-cgroups",
        "system-cgroups",
        "volume-plugin-dir",
        "wal-dir",
    }
)
_FILE_ENDINGS = (
    "file",
    "kubeconfig",
    "config",
    "-certificate",
    "-certificate-authority",
    "-cert-key",
    "-client-key",
)


def flag_name(component: str, flag: str) -> str | None:
    """Return the standard name of the file that a flag of a control-plane program names."""
    return _BY_FLAG.get(component, {}).get(flag)


def names_a_file(flag: str) -> bool | None:
    """Tell whether a flag's absolute path is a file that must be there; None: it may be one."""
    if flag in _NO_FILES:
        return False
    return True if flag.endswith(_FILE_ENDINGS) else None
