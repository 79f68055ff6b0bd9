# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The made-up cluster that record.py creates: what a small shop might run, as manifests.

Every secret value contains PLANTED-SECRET-, so that a leak test can search for it.
"""

from __future__ import annotations

import random
import typing as t

Manifest = dict[str, t.Any]

NAMESPACES = ("shop", "payments", "monitoring", "ingress-nginx", "certs", "ci")
NODES = ("cp-1", "cp-2", "cp-3", "worker-1", "worker-2", "worker-3", "worker-4")
WORKERS = NODES[3:]
SERVICES = (
    ("kube-system", "coredns", 2, "registry.k8s.io/coredns/coredns:v1.12.1", 53),
    ("shop", "frontend", 4, "registry.example.org/shop/frontend:4.18.2", 8080),
    ("shop", "cart", 3, "registry.example.org/shop/cart:2.7.0", 8080),
    ("shop", "catalogue", 3, "registry.example.org/shop/catalogue:3.3.1", 8080),
    ("shop", "search", 2, "registry.example.org/shop/search:1.9.4", 9200),
    ("payments", "gateway", 3, "registry.example.org/payments/gateway:7.0.3", 8443),
    ("payments", "ledger", 2, "registry.example.org/payments/ledger:5.2.2", 8443),
    ("monitoring", "grafana", 1, "docker.io/grafana/grafana:12.1.0", 3000),
    ("monitoring", "alertmanager", 2, "quay.io/prometheus/alertmanager:v0.28.1", 9093),
    ("ingress-nginx", "controller", 2, "registry.k8s.io/ingress-nginx/controller:v1.13.0", 443),
    ("certs", "issuer", 1, "registry.example.org/certs/issuer:1.4.0", 9402),
    ("ci", "runner", 3, "registry.example.org/ci/runner:18.3.0", 8093),
)


def planted(name: str) -> str:
    """Return the made-up secret of that name: unmistakable, and of a password's length."""
    return f"PLANTED-SECRET-{name}-{random.Random(name).getrandbits(64):016x}"


def manifest(kind: str, name: str, *, namespace: str = "", **fields: t.Any) -> Manifest:
    """Return an object of `kind` ("apps/v1 Deployment") with the labels that everybody sets."""
    version, _mark, kind = kind.rpartition(" ")
    metadata: Manifest = {"name": name, "labels": {"app.kubernetes.io/name": name}}
    if namespace:
        metadata["namespace"] = namespace
    metadata.update(fields.pop("metadata", {}))
    return {"apiVersion": version or "v1", "kind": kind, "metadata": metadata, **fields}


def secret(namespace: str, name: str, *, kind: str = "Opaque", **values: str) -> Manifest:
    """Return a Secret with these values."""
    return manifest("v1 Secret", name, namespace=namespace, type=kind, stringData=values)


def secrets_in_clear() -> list[Manifest]:
    """Return what is written before there was encryption at rest."""
    return [secret("default", "before-encryption", password=planted("clear-password"))]


def secrets_by_the_second_key() -> list[Manifest]:
    """Return what is written while secretbox/key2 is the first provider."""
    return [
        secret("ci", "registry-login", username="ci", password=planted("registry-password")),
        secret("ci", "deploy-key", key=planted("deploy-key")),
        secret("monitoring", "grafana-admin", password=planted("grafana-password")),
    ]


def secrets_by_the_first_key() -> list[Manifest]:
    """Return what is written while aescbc/key1 is the first provider."""
    tls = {"tls.crt": "made up, no certificate", "tls.key": planted("tls-key")}
    made = [
        secret("payments", "gateway-tls", kind="kubernetes.io/tls", **tls),
        secret("payments", "psp-token", token=planted("psp-token")),
        secret("kube-system", "etcd-backup", passphrase=planted("backup-passphrase")),
    ]
    for namespace, name, *_rest in SERVICES:
        made.append(secret(namespace, f"{name}-env", PASSWORD=planted(f"{namespace}-{name}")))
    release = "".join(random.Random("release").choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", k=6000))
    for revision in (1, 2, 3):
        name = f"sh.helm.release.v1.frontend.v{revision}"
        value = f"{planted(f'release-{revision}')}\n{release}"
        made.append(secret("shop", name, kind="helm.sh/release.v1", release=value))
    return made


def configuration() -> list[Manifest]:
    """Return the ConfigMaps: kubeadm's, the services', and dashboards of a few hundred KB."""
    kubeadm = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
    kubeadm += "clusterName: shop-prod\nkubernetesVersion: v1.36.3\n"
    corefile = (
        ".:53 {\n    errors\n    health\n    kubernetes cluster.local\n    forward . 10.1.1.1\n}"
    )
    made = [
        manifest(
            "v1 ConfigMap",
            "kubeadm-config",
            namespace="kube-system",
            data={"ClusterConfiguration": kubeadm},
        ),
        manifest("v1 ConfigMap", "coredns", namespace="kube-system", data={"Corefile": corefile}),
    ]
    for namespace, name, *_rest, port in SERVICES:
        text = "\n".join(f"{name}.{word} = {port + i}" for i, word in enumerate(WORDS))
        made.append(
            manifest("v1 ConfigMap", f"{name}-config", namespace=namespace, data={"app.conf": text})
        )
    for size, name in ((120_000, "nodes"), (310_000, "workloads"), (700_000, "everything")):
        made.append(
            manifest(
                "v1 ConfigMap",
                f"dashboard-{name}",
                namespace="monitoring",
                data={f"{name}.json": dashboard(name, size)},
            )
        )
    return made


WORDS = ("listen", "threads", "queue", "timeout", "retries", "cache", "batch", "backlog", "ttl")


def dashboard(name: str, size: int) -> str:
    """Return JSON text of about `size` bytes, as repetitive as dashboards are."""
    rng = random.Random(name)
    panels: list[str] = []
    length = 0
    while length < size:
        word = rng.choice(WORDS)
        panel = (
            f'{{"id":{len(panels)},"type":"timeseries","title":"{word} by instance",'
            f'"gridPos":{{"h":8,"w":12,"x":{rng.randrange(2) * 12},"y":{len(panels) * 8}}},'
            f'"targets":[{{"expr":"sum(rate({word}_total{{job=\\"{name}\\"}}[5m])) by (instance)",'
            f'"refId":"A"}}],"fieldConfig":{{"defaults":{{"unit":"short","min":0}}}}}}'
        )
        panels.append(panel)
        length += len(panel) + 1
    return f'{{"title":"{name}","panels":[{",".join(panels)}]}}'


def nodes() -> list[Manifest]:
    """Return the nodes and what the kubelets and controllers keep beside them."""
    made: list[Manifest] = []
    for number, name in enumerate(NODES):
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        taints = []
        if name.startswith("cp-"):
            labels["node-role.kubernetes.io/control-plane"] = ""
            taints = [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
        made.append(
            manifest(
                "v1 Node",
                name,
                metadata={"labels": labels},
                spec={"podCIDR": f"10.244.{number}.0/24", "taints": taints},
            )
        )
        made.append(lease("kube-node-lease", name, 40))
    made += [
        lease("kube-system", f"kube-{name}", 15) for name in ("scheduler", "controller-manager")
    ]
    return made


def lease(namespace: str, name: str, seconds: int) -> Manifest:
    """Return a Lease."""
    spec = {"holderIdentity": name, "leaseDurationSeconds": seconds}
    return manifest("coordination.k8s.io/v1 Lease", name, namespace=namespace, spec=spec)


def node_status(name: str, beat: str) -> Manifest:
    """Return what a kubelet reports of itself at the time `beat`."""
    conditions = [
        {"type": kind, "status": status, "reason": f"Kubelet{reason}", "lastHeartbeatTime": beat}
        for kind, status, reason in (
            ("MemoryPressure", "False", "HasSufficientMemory"),
            ("DiskPressure", "False", "HasNoDiskPressure"),
            ("PIDPressure", "False", "HasSufficientPID"),
            ("Ready", "True", "Ready"),
        )
    ]
    images = [
        {"names": [image], "sizeBytes": 31_000_000 + 1_000_003 * number}
        for number, (*_names, image, _port) in enumerate(SERVICES)
    ]
    resources = {"cpu": "8", "memory": "32646236Ki", "pods": "110", "ephemeral-storage": "98G"}
    return {
        "capacity": resources,
        "allocatable": {**resources, "memory": "32543836Ki"},
        "conditions": conditions,
        "addresses": [
            {"type": "InternalIP", "address": f"10.11.0.{11 + NODES.index(name)}"},
            {"type": "Hostname", "address": name},
        ],
        "nodeInfo": {
            "machineID": name,
            "systemUUID": name,
            "bootID": name,
            "kernelVersion": "6.1.0-40-amd64",
            "osImage": "Debian GNU/Linux 12 (bookworm)",
            "containerRuntimeVersion": "containerd://2.1.4",
            "kubeletVersion": "v1.36.3",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
        "images": images,
    }
