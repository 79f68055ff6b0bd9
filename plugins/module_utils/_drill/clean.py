# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Objects as a person would have written them: what servers and controllers added is taken off.

Pure: documents in, documents out. What is left out altogether comes back by itself when the rest is
applied, or would do harm.
"""

from __future__ import annotations

import enum
import re
import typing as t

__all__ = ["Reason", "clean", "left_out", "rank"]

Document = t.Dict[str, t.Any]  # noqa: UP006 (evaluated at run time, on Python 3.9 too)


class Reason(str, enum.Enum):
    """Why an object is left out."""

    OWNED = "owned"
    """A controller made it, and makes it again."""
    DEFAULT = "default"
    """A namespace or a cluster gets it by itself."""
    FINISHED = "finished"
    """It has run: applied, it would run again."""
    PASSING = "passing"
    """It tells of a moment: events, leases, status."""


# apimachinery, ObjectMeta: what a server fills in.
_OF_SERVER = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
_OF_CONTROLLERS = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deployment.kubernetes.io/revision",
        "deprecated.daemonset.template.generation",
        "kubernetes.io/service-account.uid",
        # pkg/controller/volume/persistentvolume: a claim with them counts as bound already.
        "pv.kubernetes.io/bind-completed",
        "pv.kubernetes.io/bound-by-controller",
        "endpoints.kubernetes.io/last-change-trigger-time",
    }
)
# pkg/apis/batch/types.go: made from the Job's uid.
_OF_JOB = frozenset({"controller-uid", "batch.kubernetes.io/controller-uid"})
# pkg/registry/core/service: given by the server; a new one is found.
_OF_SERVICE = ("clusterIP", "clusterIPs", "healthCheckNodePort")
# metav1: these finish a deletion that is not going on any more.
_OF_DELETION = frozenset({"foregroundDeletion", "orphan"})
_PASSING_KINDS = frozenset(
    {"Event", "Lease", "LeaseCandidate", "StorageVersion", "VolumeAttachment", "CSINode", "Node"}
)
_SYSTEM_NAMES = re.compile(r"(?:kubeadm:|system:|system-)")

# What others need comes first; what watches over others, last. As Helm sorts (pkg/release/util,
# InstallOrder), with what is younger.
_ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "VolumeAttributesClass",
    "CSIDriver",
    "IngressClass",
    "ClusterRole",
    "ClusterRoleBinding",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Role",
    "RoleBinding",
    "Service",
    "Endpoints",
    "EndpointSlice",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "Ingress",
)
_LAST = (
    "APIService",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
)
_RANK = {kind: number for number, kind in enumerate(_ORDER)}
_RANK.update({kind: 1000 + number for number, kind in enumerate(_LAST)})


def rank(group: str, kind: str) -> tuple[int, str, str]:
    """Return where objects of a kind come in the file; own kinds come after what is built in."""
    builtin = "." not in group or group.endswith(".k8s.io")
    return (_RANK.get(kind, 500) if builtin else 600, group, kind)


def left_out(item: t.Mapping[str, t.Any], *, asked: bool) -> Reason | None:
    """Return why an object is left out; None if it is taken.

    :param asked: its resource, or its name, was asked for: then moments and finished runs count.
    """
    metadata = item.get("metadata") or {}
    kind, name = item.get("kind", ""), metadata.get("name", "")
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    if any(each.get("controller") is True for each in metadata.get("ownerReferences") or []):
        return Reason.OWNED
    if "kubernetes.io/config.mirror" in annotations:  # a static pod's picture
        return Reason.OWNED
    if "endpointslice.kubernetes.io/managed-by" in labels or _is_of_service(
        kind, labels, annotations
    ):
        return Reason.OWNED
    if kind == "ConfigMap" and name == "kube-root-ca.crt":
        return Reason.DEFAULT
    if kind == "ServiceAccount" and name == "default" and not _is_changed(item, annotations):
        return Reason.DEFAULT
    if _is_of_cluster(kind, name, labels, annotations):
        return Reason.DEFAULT
    if asked:
        return None
    if kind in _PASSING_KINDS:
        return Reason.PASSING
    return Reason.FINISHED if _is_finished(kind, item.get("status") or {}) else None


def clean(item: t.Mapping[str, t.Any], *, kind: str, api_version: str) -> Document:
    """Return an object without what a server or a controller put there.

    :param kind: with `api_version`: items of a list may lack theirs.
    """
    found: Document = {"apiVersion": api_version, "kind": kind, "metadata": {}}
    found.update({name: value for name, value in item.items() if name != "status"})
    found["apiVersion"], found["kind"] = api_version, kind
    found["metadata"] = _metadata(item.get("metadata") or {})
    change = _BY_KIND.get((kind, api_version.rpartition("/")[0]))
    if change is not None:
        change(found)
    return t.cast(Document, _without_nulls(found))


def _metadata(metadata: t.Mapping[str, t.Any]) -> Document:
    kept = {name: value for name, value in metadata.items() if name not in _OF_SERVER}
    annotations = {
        name: value
        for name, value in (kept.pop("annotations", None) or {}).items()
        if name not in _OF_CONTROLLERS
    }
    finalizers = [each for each in kept.pop("finalizers", None) or [] if each not in _OF_DELETION]
    # A name that was generated is the object's name now.
    kept.pop("generateName", None)
    if annotations:
        kept["annotations"] = annotations
    if finalizers:
        kept["finalizers"] = finalizers
    return kept


def _spec(item: Document) -> Document:
    """Return the object's spec as a copy that may be changed."""
    item["spec"] = dict(item.get("spec") or {})
    return t.cast(Document, item["spec"])


def _namespace(item: Document) -> None:
    item.pop("spec", None)
    labels = dict(item["metadata"].get("labels") or {})
    labels.pop("kubernetes.io/metadata.name", None)
    _put(item["metadata"], "labels", labels)


def _service(item: Document) -> None:
    spec = _spec(item)
    if spec.get("clusterIP") != "None":
        for name in _OF_SERVICE:
            spec.pop(name, None)


def _pod(item: Document) -> None:
    spec = _spec(item)
    spec.pop("nodeName", None)


def _job(item: Document) -> None:
    spec = _spec(item)
    if spec.get("manualSelector") is True:
        return
    spec.pop("selector", None)
    template = dict(spec.get("template") or {})
    template["metadata"] = dict(template.get("metadata") or {})
    for metadata in (item["metadata"], template["metadata"]):
        labels = metadata.get("labels") or {}
        kept = {name: value for name, value in labels.items() if name not in _OF_JOB}
        _put(metadata, "labels", kept)
    spec["template"] = template


def _volume(item: Document) -> None:
    spec = _spec(item)
    claim = dict(spec.get("claimRef") or {})
    for name in ("uid", "resourceVersion"):
        claim.pop(name, None)
    _put(spec, "claimRef", claim)


def _secret(item: Document) -> None:
    # The token's own controller writes it anew, for the account as it is then.
    if item.get("type") == "kubernetes.io/service-account-token":
        item.pop("data", None)


_BY_KIND: dict[tuple[str, str], t.Callable[[Document], None]] = {
    ("Job", "batch"): _job,
    ("Namespace", ""): _namespace,
    ("PersistentVolume", ""): _volume,
    ("Pod", ""): _pod,
    ("Secret", ""): _secret,
    ("Service", ""): _service,
}


def _put(target: Document, name: str, value: Document) -> None:
    """Set a mapping, or remove it once nothing is left in it."""
    if value:
        target[name] = value
    else:
        target.pop(name, None)


def _without_nulls(value: t.Any) -> t.Any:
    """Return `value` without the nulls that Go writes for empty times."""
    if isinstance(value, dict):
        return {
            name: _without_nulls(each)
            for name, each in value.items()
            if not (each is None and name == "creationTimestamp")
        }
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _is_of_service(
    kind: str, labels: t.Mapping[str, str], annotations: t.Mapping[str, str]
) -> bool:
    """Tell whether the endpoints controller keeps these Endpoints for a Service."""
    return kind == "Endpoints" and (
        "endpoints.kubernetes.io/managed-by" in labels
        or "endpoints.kubernetes.io/last-change-trigger-time" in annotations
    )


def _is_changed(account: t.Mapping[str, t.Any], annotations: t.Mapping[str, str]) -> bool:
    """Tell whether somebody gave a default ServiceAccount something of its own."""
    return bool(account.get("imagePullSecrets") or annotations)


def _is_of_cluster(
    kind: str, name: str, labels: t.Mapping[str, str], annotations: t.Mapping[str, str]
) -> bool:
    """Tell whether every API server makes this object at its start."""
    if labels.get("kubernetes.io/bootstrapping") == "rbac-defaults":
        return True
    if annotations.get("apf.kubernetes.io/autoupdate-spec") == "true":
        return True
    if "kube-aggregator.kubernetes.io/automanaged" in labels:
        return True
    return kind == "PriorityClass" and _SYSTEM_NAMES.match(name) is not None


def _is_finished(kind: str, status: t.Mapping[str, t.Any]) -> bool:
    if kind == "Pod":
        return status.get("phase") in ("Succeeded", "Failed")
    return kind == "Job" and any(
        each.get("type") in ("Complete", "Failed") and each.get("status") == "True"
        for each in status.get("conditions") or []
    )
