# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Keys: group, resource, namespace and name from an etcd key.

kube-apiserver keeps its own resources without their group (pkg/kubeapiserver,
default_storage_factory_builder.go: SpecialDefaultResourcePrefixes; apiserver pkg/server/storage,
storage_factory.go: ResourcePrefix); apiextensions and kube-aggregator put GROUP/RESOURCE.
"""

from __future__ import annotations

import typing as t

__all__ = ["INTERNAL", "ObjectKey", "normalize_prefix", "parse_key", "parse_place"]

# What lies under the prefix but is no API resource: pkg/controlplane/reconcilers (leases of API
# servers), pkg/registry/core/service (allocators), apiserver etcd3 health and compaction.
INTERNAL = frozenset({"masterleases", "peerserverleases", "ranges", "health", "compact_rev_key"})

_RENAMED = {
    "controllers": ("", "replicationcontrollers"),
    "ingress": ("networking.k8s.io", "ingresses"),
    "minions": ("", "nodes"),
    "podsecuritypolicy": ("policy", "podsecuritypolicies"),
}
_SERVICES = {"specs": "services", "endpoints": "endpoints"}
_BY_GROUP = {
    "": "configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims "
    "persistentvolumes pods podtemplates replicationcontrollers resourcequotas secrets "
    "serviceaccounts services",
    "admissionregistration.k8s.io": "mutatingadmissionpolicies mutatingadmissionpolicybindings "
    "mutatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings "
    "validatingwebhookconfigurations",
    "apps": "controllerrevisions daemonsets deployments replicasets statefulsets",
    "autoscaling": "horizontalpodautoscalers",
    "batch": "cronjobs jobs",
    "certificates.k8s.io": "certificatesigningrequests clustertrustbundles podcertificaterequests",
    "coordination.k8s.io": "leasecandidates leases",
    "discovery.k8s.io": "endpointslices",
    "flowcontrol.apiserver.k8s.io": "flowschemas prioritylevelconfigurations",
    "internal.apiserver.k8s.io": "storageversions",
    "networking.k8s.io": "ingressclasses ipaddresses networkpolicies servicecidrs",
    "node.k8s.io": "runtimeclasses",
    "policy": "poddisruptionbudgets",
    "rbac.authorization.k8s.io": "clusterrolebindings clusterroles rolebindings roles",
    "resource.k8s.io": "deviceclasses devicetaintrules podschedulingcontexts resourceclaims "
    "resourceclaimtemplates resourceclasses resourcepoolstatusrequests resourceslices",
    "scheduling.k8s.io": "podgroups priorityclasses workloads",
    "storage.k8s.io": "csidrivers csinodes csistoragecapacities storageclasses volumeattachments "
    "volumeattributesclasses",
    "storagemigration.k8s.io": "storageversionmigrations",
}
_GROUPS = {name: group for group, names in _BY_GROUP.items() for name in names.split()}

# Longer than the prefix, group, resource and namespace of any API server.
_MOST_PLACE = 4096


class ObjectKey(t.NamedTuple):
    """Which object a key holds; `group` None: a resource that no table of ours knows."""

    group: str | None
    resource: str
    namespace: str | None
    name: str

    @property
    def group_resource(self) -> str:
        """Return `group/resource`, or `resource` alone for the core group and an unknown one."""
        return f"{self.group}/{self.resource}" if self.group else self.resource


def normalize_prefix(prefix: str) -> bytes:
    """Return an `--etcd-prefix` as keys start with it (storagebackend: path.Join("/", prefix))."""
    parts = [part for part in prefix.split("/") if part]
    return ("/" + "".join(f"{part}/" for part in parts)).encode()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def parse_place(directory: bytes, prefix: bytes) -> ObjectKey | None:
    """Parse what stands before a key's last slash; the name is left empty.

    :returns: None for what holds no API object.
    """
    if not directory.startswith(prefix) or len(directory) > _MOST_PLACE:
        return None
    parts = _text(directory[len(prefix) :]).split("/")
    first, rest = parts[0], parts[1:]
    group: str | None
    if first in INTERNAL or "" in parts:
        return None
    if "." in first:
        if not 1 <= len(rest) <= 2:
            return None
        group, resource, rest = first, rest[0], rest[1:]
    elif first == "services":
        if len(rest) != 2 or rest[0] not in _SERVICES:
            return None
        group, resource, rest = "", _SERVICES[rest[0]], rest[1:]
    elif len(rest) > 1:
        return None
    else:
        group, resource = _RENAMED.get(first, (_GROUPS.get(first), first))
    return ObjectKey(group, resource, rest[0] if rest else None, "")


def parse_key(key: bytes, prefix: bytes = b"/registry/") -> ObjectKey | None:
    """Parse one key; None for keys outside `prefix` and for the API server's own bookkeeping.

    :param prefix: as `normalize_prefix` returns it.
    """
    directory, slash, name = key.rpartition(b"/")
    place = parse_place(directory, prefix) if slash and name else None
    return place._replace(name=_text(name)) if place else None
