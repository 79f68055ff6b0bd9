# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""kubeadm: etcd as a static pod, its manifest beside the control plane's."""

from __future__ import annotations

import os

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import LayoutError

from . import pods
from .model import Layout, LayoutKind, StaticPod, Tree
from .settings import local_endpoints, quota

__all__ = ["DEFAULT_CERTIFICATES_DIR", "DEFAULT_STATIC_POD_PATH", "find_kubeadm", "kubernetes_dir"]

DEFAULT_STATIC_POD_PATH = "/etc/kubernetes/manifests"
DEFAULT_CERTIFICATES_DIR = "/etc/kubernetes/pki"
_DEFAULT_DATA_DIR = "/var/lib/etcd"


def find_kubeadm(
    tree: Tree,
    *,
    certificates_dir: str | None,
    static_pod_path: str | None,
    data_dir: str | None,
) -> Layout | None:
    """Return the member whose static pod lies in the manifests folder, None where there is none.

    :raises LayoutError: a manifest can't be read, or several etcds are there and `data_dir`
        doesn't say which one is meant.
    """
    folder = static_pod_path or tree.path(DEFAULT_STATIC_POD_PATH)
    found = pods.read_folder(tree, folder)
    etcds = [pod for pod in found if pod.component == "etcd"]
    if not etcds:
        return None
    pod = _choose(tree, etcds, data_dir, folder)
    certificates = certificates_dir or _certificates_dir(tree, pod, found)
    api_server = next((each for each in found if each.component == "kube-apiserver"), None)
    wal = pod.flags.get("wal-dir")
    return Layout(
        kind=LayoutKind.KUBEADM,
        name=pod.flags.get("name"),
        data_dir=data_dir or _data_dir(tree, pod),
        wal_dir=(pod.host_path(wal) or wal) if wal else None,
        endpoints=local_endpoints(pod.flags),
        peer_urls=pod.flags.split("initial-advertise-peer-urls"),
        cacert=_file(pod, "trusted-ca-file", certificates, certificates_dir, "ca.crt"),
        cert=_file(pod, "cert-file", certificates, certificates_dir, "server.crt"),
        key=_file(pod, "key-file", certificates, certificates_dir, "server.key"),
        certificates_dir=certificates,
        static_pod_path=folder,
        kubernetes_dir=kubernetes_dir(tree, folder),
        manifest=pod.manifest,
        etcd_version=pod.version,
        kubernetes_version=api_server.version if api_server else None,
        quota_bytes=quota(pod.flags),
        flags=pod.flags,
        pods=(pod, *(each for each in found if each.component != "etcd")),
    )


def kubernetes_dir(tree: Tree, static_pod_path: str) -> str:
    """Return the folder of the kubeconfigs: beside the manifests, where those have their name."""
    if os.path.basename(static_pod_path.rstrip("/")) == "manifests":
        return os.path.dirname(static_pod_path.rstrip("/"))
    return tree.path("/etc/kubernetes")


def _data_dir(tree: Tree, pod: StaticPod) -> str:
    inside = pod.flags.get("data-dir") or _DEFAULT_DATA_DIR
    return pod.host_path(inside) or tree.path(inside)


def _choose(tree: Tree, etcds: list[StaticPod], data_dir: str | None, folder: str) -> StaticPod:
    if data_dir:
        wanted = os.path.realpath(data_dir)
        for pod in etcds:
            if os.path.realpath(_data_dir(tree, pod)) == wanted:
                return pod
    if len(etcds) == 1:
        return etcds[0]
    for pod in etcds:
        if os.path.basename(pod.manifest).split(".")[0] == "etcd":
            return pod
    names = ", ".join(pod.manifest for pod in etcds)
    raise LayoutError(
        f"Folder {folder} holds {len(etcds)} etcd static pods ({names}), none of them named etcd.yaml.",
        hint="Set data_dir to the data folder of the one that is meant.",
        path=folder,
    )


def _certificates_dir(tree: Tree, pod: StaticPod, found: tuple[StaticPod, ...]) -> str:
    """Return the folder that the manifests reference, kubeadm's default where they don't."""
    authority = pod.host_file("trusted-ca-file")
    if authority and os.path.basename(os.path.dirname(authority)) == "etcd":
        return os.path.dirname(os.path.dirname(authority))
    for each in found:
        client_ca = each.host_file("client-ca-file") if each.component == "kube-apiserver" else None
        if client_ca:
            return os.path.dirname(client_ca)
    return tree.path(DEFAULT_CERTIFICATES_DIR)


def _file(pod: StaticPod, flag: str, folder: str, asked: str | None, name: str) -> str | None:
    """Return a certificate file: in the folder that was asked for, else what the flag names.

    An etcd that serves plain HTTP has none.
    """
    if asked:
        return os.path.join(folder, "etcd", name)
    inside = pod.flags.get(flag)
    if inside:
        return pod.host_path(inside) or inside
    if not any(url.startswith("https:") for url in local_endpoints(pod.flags)):
        return None
    return os.path.join(folder, "etcd", name)
