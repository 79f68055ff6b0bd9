# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write static pod manifests as kubeadm writes them (cmd/kubeadm/app/phases/{etcd,controlplane})."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from lab import versions


@dataclass(frozen=True)
class Node:
    """One control-plane host and the etcd member on it."""

    name: str
    address: str
    etcd_version: str
    root: Path
    seen: str
    client_port: int = 2379
    peer_port: int = 2380
    metrics_port: int = 2381
    api_port: int = 6443

    @property
    def kubernetes(self) -> str:
        return f"{self.seen}/etc/kubernetes"

    @property
    def pki(self) -> str:
        return f"{self.kubernetes}/pki"

    @property
    def data_dir(self) -> str:
        return f"{self.seen}/var/lib/etcd"

    @property
    def client_url(self) -> str:
        return f"https://{self.address}:{self.client_port}"

    @property
    def peer_url(self) -> str:
        return f"https://{self.address}:{self.peer_port}"

    @property
    def kubernetes_version(self) -> str:
        return versions.KUBERNETES[versions.minor(self.etcd_version)]


@dataclass(frozen=True)
class EtcdSettings:
    """What may differ from kubeadm's own etcd flags."""

    initial_cluster: str
    joined: bool = False
    corrupt_check: bool = True
    extra_flags: tuple[str, ...] = ()


def etcd_command(node: Node, settings: EtcdSettings) -> list[str]:
    """Return etcd's command as kubeadm writes it, sorted, `--flag=value`."""
    pki = f"{node.pki}/etcd"
    listen = [f"https://127.0.0.1:{node.client_port}", node.client_url]
    flags = {
        "advertise-client-urls": node.client_url,
        "cert-file": f"{pki}/server.crt",
        "client-cert-auth": "true",
        "data-dir": node.data_dir,
        "initial-advertise-peer-urls": node.peer_url,
        "initial-cluster": settings.initial_cluster,
        "key-file": f"{pki}/server.key",
        "listen-client-urls": ",".join(dict.fromkeys(listen)),
        "listen-metrics-urls": f"http://127.0.0.1:{node.metrics_port}",
        "listen-peer-urls": node.peer_url,
        "name": node.name,
        "peer-cert-file": f"{pki}/peer.crt",
        "peer-client-cert-auth": "true",
        "peer-key-file": f"{pki}/peer.key",
        "peer-trusted-ca-file": f"{pki}/ca.crt",
        "snapshot-count": "10000",
        "trusted-ca-file": f"{pki}/ca.crt",
    }
    if settings.joined:
        flags["initial-cluster-state"] = "existing"
    minor = versions.minor(node.etcd_version)
    if minor in ("3.4", "3.5"):
        if settings.corrupt_check:
            flags["experimental-initial-corrupt-check"] = "true"
        if minor == "3.5":
            flags["experimental-watch-progress-notify-interval"] = "5s"
    else:
        if settings.corrupt_check:
            flags["feature-gates"] = "InitialCorruptCheck=true"
        flags["watch-progress-notify-interval"] = "5s"
    command = [f"--{name}={value}" for name, value in sorted(flags.items())]
    return ["etcd", *command, *settings.extra_flags]


def _pod(
    node: Node,
    component: str,
    *,
    command: list[str],
    image: str,
    annotations: dict[str, str],
    mounts: dict[str, tuple[str, str]],
    probe_port: int,
    scheme: str,
) -> str:
    """Return a static pod's manifest; `mounts` is name -> (path, hostPath type)."""
    probe = {
        "failureThreshold": 8,
        "httpGet": {
            "host": "127.0.0.1",
            "path": "/livez",
            "port": "probe-port",
            "scheme": scheme,
        },
        "initialDelaySeconds": 10,
        "periodSeconds": 10,
        "timeoutSeconds": 15,
    }
    container = {
        "command": command,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "livenessProbe": probe,
        "name": component,
        "ports": [{"containerPort": probe_port, "name": "probe-port", "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m"}},
        "volumeMounts": [
            {"mountPath": path, "name": name} | ({} if name == "etcd-data" else {"readOnly": True})
            for name, (path, _kind) in mounts.items()
        ],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "annotations": annotations,
            "labels": {"component": component, "tier": "control-plane"},
            "name": component,
            "namespace": "kube-system",
        },
        "spec": {
            "containers": [container],
            "hostNetwork": True,
            "priority": 2000001000,
            "priorityClassName": "system-node-critical",
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [
                {"hostPath": {"path": path, "type": kind}, "name": name}
                for name, (path, kind) in mounts.items()
            ],
        },
        "status": {},
    }
    if not annotations:
        del pod["metadata"]["annotations"]  # type: ignore[attr-defined]
    return yaml.safe_dump(pod, default_flow_style=False, width=10000)


def etcd_manifest(node: Node, settings: EtcdSettings) -> str:
    """Return manifests/etcd.yaml."""
    return _pod(
        node,
        "etcd",
        command=etcd_command(node, settings),
        image=f"registry.k8s.io/etcd:{node.etcd_version}-0",
        annotations={"kubeadm.kubernetes.io/etcd.advertise-client-urls": node.client_url},
        mounts={
            "etcd-data": (node.data_dir, "DirectoryOrCreate"),
            "etcd-certs": (f"{node.pki}/etcd", "DirectoryOrCreate"),
        },
        probe_port=node.metrics_port,
        scheme="HTTP",
    )


def apiserver_manifest(node: Node) -> str:
    """Return manifests/kube-apiserver.yaml."""
    pki, kubernetes = node.pki, node.kubernetes
    command = [
        "kube-apiserver",
        f"--admission-control-config-file={kubernetes}/admission/admission.yaml",
        f"--advertise-address={node.address}",
        "--allow-privileged=true",
        f"--audit-log-path={node.seen}/var/log/kubernetes/audit/audit.log",
        f"--audit-policy-file={kubernetes}/audit/policy.yaml",
        "--authorization-mode=Node,RBAC",
        f"--client-ca-file={pki}/ca.crt",
        "--enable-admission-plugins=NodeRestriction,EventRateLimit",
        "--enable-bootstrap-token-auth=true",
        f"--encryption-provider-config={kubernetes}/enc/encryption-config.yaml",
        f"--etcd-cafile={pki}/etcd/ca.crt",
        f"--etcd-certfile={pki}/apiserver-etcd-client.crt",
        f"--etcd-keyfile={pki}/apiserver-etcd-client.key",
        f"--etcd-servers=https://127.0.0.1:{node.client_port}",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
        f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
        "--requestheader-allowed-names=front-proxy-client",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--secure-port={node.api_port}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--service-cluster-ip-range=10.96.0.0/12",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
    ]
    address = f"{node.address}:{node.api_port}"
    return _pod(
        node,
        "kube-apiserver",
        command=command,
        image=f"registry.k8s.io/kube-apiserver:v{node.kubernetes_version}",
        annotations={"kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint": address},
        mounts={
            "ca-certs": ("/etc/ssl/certs", "DirectoryOrCreate"),
            "k8s-certs": (pki, "DirectoryOrCreate"),
            "admission": (f"{kubernetes}/admission", "Directory"),
            "audit-policy": (f"{kubernetes}/audit/policy.yaml", "File"),
            "audit-log": (f"{node.seen}/var/log/kubernetes/audit", "DirectoryOrCreate"),
            "enc": (f"{kubernetes}/enc", "Directory"),
        },
        probe_port=node.api_port,
        scheme="HTTPS",
    )


def controller_manager_manifest(node: Node) -> str:
    """Return manifests/kube-controller-manager.yaml."""
    pki, kubernetes = node.pki, node.kubernetes
    kubeconfig = f"{kubernetes}/controller-manager.conf"
    command = [
        "kube-controller-manager",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--client-ca-file={pki}/ca.crt",
        "--cluster-name=kubernetes",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--controllers=*,bootstrapsigner,tokencleaner",
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=true",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        f"--root-ca-file={pki}/ca.crt",
        f"--service-account-private-key-file={pki}/sa.key",
        "--use-service-account-credentials=true",
    ]
    return _pod(
        node,
        "kube-controller-manager",
        command=command,
        image=f"registry.k8s.io/kube-controller-manager:v{node.kubernetes_version}",
        annotations={},
        mounts={
            "ca-certs": ("/etc/ssl/certs", "DirectoryOrCreate"),
            "k8s-certs": (pki, "DirectoryOrCreate"),
            "kubeconfig": (kubeconfig, "FileOrCreate"),
        },
        probe_port=10257,
        scheme="HTTPS",
    )


def scheduler_manifest(node: Node) -> str:
    """Return manifests/kube-scheduler.yaml."""
    kubeconfig = f"{node.kubernetes}/scheduler.conf"
    return _pod(
        node,
        "kube-scheduler",
        command=[
            "kube-scheduler",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--kubeconfig={kubeconfig}",
            "--leader-elect=true",
        ],
        image=f"registry.k8s.io/kube-scheduler:v{node.kubernetes_version}",
        annotations={},
        mounts={"kubeconfig": (kubeconfig, "FileOrCreate")},
        probe_port=10259,
        scheme="HTTPS",
    )
