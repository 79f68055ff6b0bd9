# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in the made-up cluster: workloads with their pods, storage, policies, own kinds."""

from __future__ import annotations

import random
import typing as t

from .manifests import NAMESPACES, NODES, SERVICES, WORKERS, Manifest, manifest

GROUP = "certs.example.org"


def owner(kind: str, made: Manifest) -> Manifest:
    """Return the metadata of something that `made`, as the API server answered, owns."""
    version, _mark, kind = kind.rpartition(" ")
    name, uid = made["metadata"]["name"], made["metadata"]["uid"]
    reference = {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": True}
    return {"ownerReferences": [reference]}


def accounts() -> list[Manifest]:
    """Return service accounts; no pod is admitted without its own."""
    made = []
    for namespace in ("default", "kube-system", "kube-public", *NAMESPACES):
        made.append(manifest("v1 ServiceAccount", "default", namespace=namespace))
    for namespace, name, *_rest in SERVICES:
        made.append(manifest("v1 ServiceAccount", name, namespace=namespace))
        rule = {
            "apiGroups": [""],
            "resources": ["configmaps", "endpoints"],
            "verbs": ["get", "watch"],
        }
        kind = "rbac.authorization.k8s.io/v1"
        made.append(manifest(f"{kind} Role", name, namespace=namespace, rules=[rule]))
        made.append(
            manifest(
                f"{kind} RoleBinding",
                name,
                namespace=namespace,
                roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                subjects=[{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            )
        )
    return made


def pod_template(name: str, image: str, port: int) -> Manifest:
    """Return the pod template of a service."""
    probe = {"tcpSocket": {"port": port}, "periodSeconds": 10, "failureThreshold": 3}
    container = {
        "name": name,
        "image": image,
        "ports": [{"containerPort": port, "name": "main"}],
        "env": [{"name": "GOMAXPROCS", "value": "2"}, {"name": "LOG_LEVEL", "value": "info"}],
        "envFrom": [{"secretRef": {"name": f"{name}-env", "optional": True}}],
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"memory": "512Mi"},
        },
        "livenessProbe": probe,
        "readinessProbe": probe,
        "volumeMounts": [{"name": "config", "mountPath": "/etc/app", "readOnly": True}],
        "securityContext": {"runAsNonRoot": True, "readOnlyRootFilesystem": True},
    }
    volume = {"name": "config", "configMap": {"name": f"{name}-config", "optional": True}}
    spec = {"serviceAccountName": name, "containers": [container], "volumes": [volume]}
    return {"metadata": {"labels": {"app": name}}, "spec": spec}


def deployment(namespace: str, name: str, replicas: int, image: str, port: int) -> Manifest:
    """Return the Deployment of a service."""
    spec = {
        "replicas": replicas,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": {"app": name}},
        "template": pod_template(name, image, port),
    }
    return manifest("apps/v1 Deployment", name, namespace=namespace, spec=spec)


def replica_set(deployed: Manifest) -> Manifest:
    """Return what the deployment controller would have made."""
    name, namespace = deployed["metadata"]["name"], deployed["metadata"]["namespace"]
    number = f"{random.Random(name).getrandbits(38):x}"
    template = deployed["spec"]["template"]
    labels = {"app": name, "pod-template-hash": number}
    spec = {
        "replicas": deployed["spec"]["replicas"],
        "selector": {"matchLabels": labels},
        "template": {**template, "metadata": {"labels": labels}},
    }
    metadata = {**owner("apps/v1 Deployment", deployed), "labels": labels}
    return manifest(
        "apps/v1 ReplicaSet", f"{name}-{number}", namespace=namespace, spec=spec, metadata=metadata
    )


def pods(of: Manifest) -> t.Iterator[Manifest]:
    """Yield the pods that a ReplicaSet's controller would have made, bound to workers."""
    name, namespace = of["metadata"]["name"], of["metadata"]["namespace"]
    rng = random.Random(name)
    for number in range(of["spec"]["replicas"]):
        suffix = "".join(rng.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
        template = of["spec"]["template"]
        node = WORKERS[(number + len(name)) % len(WORKERS)]
        metadata = {**owner("apps/v1 ReplicaSet", of), "labels": template["metadata"]["labels"]}
        yield manifest(
            "v1 Pod",
            f"{name}-{suffix}",
            namespace=namespace,
            metadata=metadata,
            spec={**template["spec"], "nodeName": node},
        )


def pod_status(pod: Manifest, address: str, at: str) -> Manifest:
    """Return the status of a pod that runs since `at`."""
    container = pod["spec"]["containers"][0]
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": at,
        "conditions": [{"type": k, "status": "True", "lastTransitionTime": at} for k in kinds],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": container["image"] + "@sha256:" + "0123456789abcdef" * 4,
                "containerID": "containerd://" + "fedcba9876543210" * 4,
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": at}},
            }
        ],
    }


def service(namespace: str, name: str, port: int) -> Manifest:
    """Return the Service in front of a deployment."""
    spec = {"selector": {"app": name}, "ports": [{"name": "main", "port": port}]}
    return manifest("v1 Service", name, namespace=namespace, spec=spec)


def endpoint_slice(made: Manifest, addresses: list[str]) -> Manifest:
    """Return the EndpointSlice of a Service."""
    name, namespace = made["metadata"]["name"], made["metadata"]["namespace"]
    return manifest(
        "discovery.k8s.io/v1 EndpointSlice",
        f"{name}-{random.Random(name).getrandbits(24):x}",
        namespace=namespace,
        metadata={**owner("v1 Service", made), "labels": {"kubernetes.io/service-name": name}},
        addressType="IPv4",
        ports=[{"name": "main", "port": made["spec"]["ports"][0]["port"], "protocol": "TCP"}],
        endpoints=[{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
    )


def event(pod: Manifest, reason: str, message: str, at: str) -> Manifest:
    """Return an event about a pod; the API server stores it under a lease."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    involved = {"kind": "Pod", "namespace": namespace, "name": name, "apiVersion": "v1"}
    return manifest(
        "v1 Event",
        f"{name}.{random.Random(name + reason).getrandbits(60):x}",
        namespace=namespace,
        involvedObject={**involved, "uid": pod["metadata"]["uid"]},
        reason=reason,
        message=message,
        type="Normal",
        source={"component": "kubelet", "host": pod["spec"]["nodeName"]},
        firstTimestamp=at,
        lastTimestamp=at,
        count=1,
    )


def storage() -> list[Manifest]:
    """Return a StorageClass, volumes and their claims."""
    made = [
        manifest(
            "storage.k8s.io/v1 StorageClass",
            "fast",
            provisioner="csi.example.org",
            reclaimPolicy="Delete",
            volumeBindingMode="WaitForFirstConsumer",
        )
    ]
    for number, namespace in enumerate(("payments", "payments", "monitoring", "shop")):
        volume, claim = f"pvc-{number:08d}", f"data-{number}"
        capacity = {"storage": "50Gi"}
        common = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}
        csi = {"driver": "csi.example.org", "volumeHandle": f"vol-{number:04d}", "fsType": "ext4"}
        made.append(
            manifest(
                "v1 PersistentVolume", volume, spec={**common, "capacity": capacity, "csi": csi}
            )
        )
        spec = {**common, "volumeName": volume, "resources": {"requests": capacity}}
        made.append(manifest("v1 PersistentVolumeClaim", claim, namespace=namespace, spec=spec))
    return made


def policies() -> list[Manifest]:
    """Return network policies, quotas, disruption budgets, an ingress, a priority class."""
    made = []
    for namespace in NAMESPACES:
        spec: Manifest = {"podSelector": {}, "policyTypes": ["Ingress"]}
        kind = "networking.k8s.io/v1 NetworkPolicy"
        made.append(manifest(kind, "default-deny", namespace=namespace, spec=spec))
        hard = {"pods": "200", "requests.cpu": "64"}
        made.append(manifest("v1 ResourceQuota", "quota", namespace=namespace, spec={"hard": hard}))
    for namespace, name, replicas, *_rest in SERVICES:
        if replicas > 1:
            spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}}
            kind = "policy/v1 PodDisruptionBudget"
            made.append(manifest(kind, name, namespace=namespace, spec=spec))
    backend = {"service": {"name": "frontend", "port": {"number": 8080}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    rule = {"host": "shop.example.org", "http": {"paths": [path]}}
    kind = "networking.k8s.io/v1 Ingress"
    made.append(manifest(kind, "frontend", namespace="shop", spec={"rules": [rule]}))
    kind = "scheduling.k8s.io/v1 PriorityClass"
    return [*made, manifest(kind, "payments", value=100_000, description="Money first.")]


def definition() -> Manifest:
    """Return a CustomResourceDefinition."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"plural": "certificates", "singular": "certificate", "kind": "Certificate"}
    spec = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]}
    kind = "apiextensions.k8s.io/v1 CustomResourceDefinition"
    return manifest(kind, f"certificates.{GROUP}", spec=spec)


def custom_objects() -> list[Manifest]:
    """Return objects of that definition, which the API server stores as JSON."""
    made = []
    for namespace, name, *_rest in SERVICES:
        spec = {
            "secretName": f"{name}-tls",
            "dnsNames": [f"{name}.{namespace}.svc", f"{name}.example.org"],
            "issuerRef": {"name": "internal", "kind": "Issuer"},
            "duration": "2160h",
        }
        made.append(manifest(f"{GROUP}/v1 Certificate", name, namespace=namespace, spec=spec))
    return made


def per_node() -> list[Manifest]:
    """Return the mirror pods of the static pods, as kubelets publish them."""
    made = []
    for node in (name for name in NODES if name.startswith("cp-")):
        for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
            image = f"registry.k8s.io/{name}:v1.36.3"
            container = {"name": name, "image": image, "command": [name]}
            annotations = {"kubernetes.io/config.mirror": f"{name}-{node}"}
            labels = {"component": name, "tier": "control-plane"}
            spec = {"nodeName": node, "hostNetwork": True, "containers": [container]}
            made.append(
                manifest(
                    "v1 Pod",
                    f"{name}-{node}",
                    namespace="kube-system",
                    metadata={"annotations": annotations, "labels": labels},
                    spec={**spec, "automountServiceAccountToken": False},
                )
            )
    return made
