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
import typing as t
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab import versions
from lab.pki import CLIENT, SERVER, ClusterPki, authority, issue, write

ENCRYPTION_KEYS = {
    "aescbc": ("key1", b"PLANTED-SECRET-aescbc-key1-32byt"),
    "secretbox": ("key2", b"PLANTED-SECRET-secretbox-key2-32"),
}
"""The keys that the recorded Kubernetes objects (tests/lab/objects) were encrypted with."""


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
            for name, (path, _) in mounts.items()
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


def _apiserver_manifest(node: Node) -> str:
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


def _controller_manager_manifest(node: Node) -> str:
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


def _scheduler_manifest(node: Node) -> str:
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


def encryption_config() -> str:
    """Return the EncryptionConfiguration that reads the recorded Secrets."""
    providers: list[dict[str, t.Any]] = [
        {kind: {"keys": [{"name": name, "secret": _encoded(key)}]}}
        for kind, (name, key) in ENCRYPTION_KEYS.items()
    ]
    return yaml.safe_dump(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [{"resources": ["secrets"], "providers": [*providers, {"identity": {}}]}],
        }
    )


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
        ("kube-apiserver", _apiserver_manifest(node)),
        ("kube-controller-manager", _controller_manager_manifest(node)),
        ("kube-scheduler", _scheduler_manifest(node)),
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
    write(etc / "enc" / "encryption-config.yaml", encryption_config())
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
