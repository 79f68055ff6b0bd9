# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""k3s and rke2: etcd embedded in, or started by, their server; its config lies beside its data."""

from __future__ import annotations

import os

from . import files, flags, pods
from .model import Flags, Layout, LayoutKind, StaticPod, Tree
from .settings import is_loopback, local_endpoints, quota

__all__ = ["find_rancher", "server_dir"]

_BASES = {LayoutKind.K3S: "/var/lib/rancher/k3s", LayoutKind.RKE2: "/var/lib/rancher/rke2"}
_DATA_BELOW_SERVER = os.path.join("db", "etcd")


def server_dir(tree: Tree, kind: LayoutKind, data_dir: str | None = None) -> str:
    """Return the `server` folder: from etcd's data folder, k3s's own config file, or the default."""
    if data_dir and data_dir.rstrip("/").endswith(f"server/{_DATA_BELOW_SERVER}"):
        return data_dir.rstrip("/")[: -len(_DATA_BELOW_SERVER) - 1]
    config = tree.path(f"/etc/rancher/{kind.value}/config.yaml")
    if os.path.isfile(config):
        base = files.read_yaml(config).get("data-dir")
        if base:
            return tree.path(str(base), "server")
    return tree.path(_BASES[kind], "server")


def find_rancher(tree: Tree, kind: LayoutKind, *, data_dir: str | None) -> Layout | None:
    """Return the member that k3s or rke2 runs, None where it keeps no etcd here.

    :raises LayoutError: its config file can't be read.
    """
    server = server_dir(tree, kind, data_dir)
    data = data_dir or os.path.join(server, _DATA_BELOW_SERVER)
    config = os.path.join(data, "config")
    if not os.path.isfile(config):
        return None
    given = flags.from_config(files.read_yaml(config))
    tls = os.path.join(server, "tls")
    base = os.path.dirname(server)
    manifests = os.path.join(base, "agent", "pod-manifests")  # rke2 only
    found = pods.read_folder(tree, manifests)
    return Layout(
        kind=kind,
        name=given.get("name"),
        data_dir=data,
        wal_dir=None,
        endpoints=local_endpoints(given),
        peer_urls=given.split("initial-advertise-peer-urls") or _peer_urls(given),
        cacert=os.path.join(tls, "etcd", "server-ca.crt"),
        cert=os.path.join(tls, "etcd", "client.crt"),
        key=os.path.join(tls, "etcd", "client.key"),
        certificates_dir=tls,
        static_pod_path=manifests if found else None,
        kubernetes_dir=os.path.join(server, "cred"),
        manifest=_manifest(found),
        config_file=config,
        etcd_version=_version(found, "etcd"),
        kubernetes_version=_version(found, "kube-apiserver"),
        quota_bytes=quota(given),
        flags=given,
        pods=found,
    )


def _peer_urls(given: Flags) -> tuple[str, ...]:
    """Return where it listens for peers, without loopback: k3s and rke2 announce the same."""
    urls = given.split("listen-peer-urls")
    return tuple(url for url in urls if not is_loopback(url)) or urls


def _manifest(found: tuple[StaticPod, ...]) -> str | None:
    return next((pod.manifest for pod in found if pod.component == "etcd"), None)


def _version(found: tuple[StaticPod, ...], component: str) -> str | None:
    return next((pod.version for pod in found if pod.component == component), None)
