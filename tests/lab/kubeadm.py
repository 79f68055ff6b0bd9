# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the files that kubeadm leaves on a control-plane host: a *host tree*.

The templates are kubeadm's (cmd/kubeadm/app/phases/{etcd,controlplane,kubeconfig,kubelet}). A tree
is written below `root` and its files speak of paths below `seen`: "" on a host of its own,
`root` itself for a loopback host.
"""

from __future__ import annotations

import base64

import yaml

from lab import objects
from lab.pki import CLIENT, SERVER, ClusterPki, authority, issue, write
from lab.static_pods import (
    EtcdSettings,
    Node,
    apiserver_manifest,
    controller_manager_manifest,
    etcd_manifest,
    scheduler_manifest,
)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _kubeconfig(pki: ClusterPki, *, server: str, user: str, credentials: dict[str, str]) -> str:
    context = f"{user}@kubernetes"
    cluster = {"certificate-authority-data": _encoded(pki.ca.certificate_pem), "server": server}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "clusters": [{"cluster": cluster, "name": "kubernetes"}],
            "contexts": [{"context": {"cluster": "kubernetes", "user": user}, "name": context}],
            "current-context": context,
            "kind": "Config",
            "users": [{"name": user, "user": credentials}],
        },
        width=100000,
    )


def _embedded(pki: ClusterPki, *, server: str, user: str, organization: str | None) -> str:
    pair = issue(pki.ca, user, organization=organization)
    credentials = {
        "client-certificate-data": _encoded(pair.certificate_pem),
        "client-key-data": _encoded(pair.key_pem),
    }
    return _kubeconfig(pki, server=server, user=user, credentials=credentials)


ADMISSION = """\
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: EventRateLimit
  path: eventconfig.yaml
"""
EVENT_RATE_LIMIT = """\
apiVersion: eventratelimit.admission.k8s.io/v1alpha1
kind: Configuration
limits:
- type: Server
  qps: 5000
  burst: 20000
"""
AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  resources: [{group: "", resources: [events]}]
- level: Metadata
"""


def write_tree(
    node: Node,
    pki: ClusterPki,
    settings: EtcdSettings,
    *,
    first: bool,
    endpoint: str = "k8s-api.example.test",
) -> None:
    """Write the whole host tree of `node`: PKI, manifests, kubeconfigs, kubelet, the rest."""
    etc = node.root / "etc" / "kubernetes"
    pki.write_host(etc / "pki", node=node.name, addresses=[node.address], endpoint=endpoint)
    manifests = etc / "manifests"
    manifests.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("etcd", etcd_manifest(node, settings)),
        ("kube-apiserver", apiserver_manifest(node)),
        ("kube-controller-manager", controller_manager_manifest(node)),
        ("kube-scheduler", scheduler_manifest(node)),
    ):
        write(manifests / f"{name}.yaml", text)
    server = f"https://{endpoint}:{node.api_port}"
    users = {
        "admin": ("kubernetes-admin", "kubeadm:cluster-admins"),
        "controller-manager": ("system:kube-controller-manager", None),
        "scheduler": ("system:kube-scheduler", None),
    }
    if first:
        users["super-admin"] = ("kubernetes-super-admin", "system:masters")
    for file, (user, organization) in users.items():
        text = _embedded(pki, server=server, user=user, organization=organization)
        write(etc / f"{file}.conf", text)
    write(etc / "enc" / "encryption-config.yaml", objects.encryption_configuration())
    write(etc / "admission" / "admission.yaml", ADMISSION)
    write(etc / "admission" / "eventconfig.yaml", EVENT_RATE_LIMIT)
    write(etc / "audit" / "policy.yaml", AUDIT_POLICY)
    _write_kubelet(node, pki, server=server)
    data = node.root / "var" / "lib" / "etcd"
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)


def _write_kubelet(node: Node, pki: ClusterPki, *, server: str) -> None:
    folder = node.root / "var" / "lib" / "kubelet"
    seen = f"{node.seen}/var/lib/kubelet"
    certificates = folder / "pki"
    user = f"system:node:{node.name}"
    client = issue(pki.ca, user, organization="system:nodes")
    rotated = "kubelet-client-2026-11-01-00-00-00.pem"
    write(certificates / rotated, client.certificate_pem + client.key_pem)
    current = certificates / "kubelet-client-current.pem"
    current.unlink(missing_ok=True)
    current.symlink_to(f"{seen}/pki/{rotated}")
    serving_ca = authority(f"{node.name}-ca@1793491200")
    serving = issue(serving_ca, node.name, usages=(SERVER, CLIENT), names=[node.name])
    serving.write(certificates / "kubelet")
    pem = f"{seen}/pki/kubelet-client-current.pem"
    credentials = {"client-certificate": pem, "client-key": pem}
    kubelet_conf = _kubeconfig(pki, server=server, user=user, credentials=credentials)
    write(node.root / "etc" / "kubernetes" / "kubelet.conf", kubelet_conf)
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{node.pki}/ca.crt"},
        },
        "cgroupDriver": "systemd",
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "kind": "KubeletConfiguration",
        "rotateCertificates": True,
        "staticPodPath": f"{node.kubernetes}/manifests",
    }
    write(folder / "config.yaml", yaml.safe_dump(config), 0o644)
    runtime = "unix:///var/run/containerd/containerd.sock"
    write(
        folder / "kubeadm-flags.env",
        f'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint={runtime}"\n',
        0o644,
    )
