# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Layouts that are recognised and refused by name: what they are, and what to do instead."""

from __future__ import annotations

import glob
import os

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import LayoutError

from . import files
from .model import LayoutKind, Tree
from .rancher import server_dir

__all__ = ["refuse_foreign", "refuse_openshift"]


def refuse_openshift(tree: Tree) -> None:
    """Look for OpenShift, whose etcd is a static pod that looks like kubeadm's.

    :raises LayoutError: it is here.
    """
    openshift = sorted(
        glob.glob(
            os.path.join(glob.escape(tree.path("/etc/kubernetes/static-pod-resources")), "etcd-*")
        )
    )
    if openshift or tree.exists("/etc/kubernetes/manifests/etcd-pod.yaml"):
        seen = openshift[0] if openshift else tree.path("/etc/kubernetes/manifests/etcd-pod.yaml")
        raise _refused(
            "OpenShift", seen, "its operators own etcd: use /usr/local/bin/cluster-backup.sh there"
        )


def refuse_foreign(tree: Tree) -> None:
    """Look for layouts that we don't serve.

    :raises LayoutError: one is here; names it, what showed it, and its own way to a backup.
    """
    if tree.exists("/var/lib/k0s"):
        raise _refused("k0s", tree.path("/var/lib/k0s"), "use `k0s backup` and `k0s restore`")
    if tree.exists("/var/snap/microk8s"):
        raise _refused(
            "MicroK8s",
            tree.path("/var/snap/microk8s"),
            "it keeps its objects in dqlite, not in etcd: use `microk8s dbctl backup`",
        )
    for kind in (LayoutKind.K3S, LayoutKind.RKE2):
        _refuse_kine(tree, kind)


def _refuse_kine(tree: Tree, kind: LayoutKind) -> None:
    server = server_dir(tree, kind)
    if os.path.isdir(os.path.join(server, "db", "etcd")):
        return
    database = os.path.join(server, "db", "state.db")
    if os.path.exists(database):
        raise _refused(
            f"{kind.value} with SQLite (kine)",
            database,
            "there is no etcd: copy that file while the server is stopped, or move to embedded "
            "etcd with --cluster-init",
        )
    config = tree.path(f"/etc/rancher/{kind.value}/config.yaml")
    if os.path.isfile(config) and files.read_yaml(config).get("datastore-endpoint"):
        raise _refused(
            f"{kind.value} with an external datastore (kine)",
            config,
            "its datastore-endpoint is another database: back that up with its own tools",
        )
    for socket_path in (os.path.join(server, "kine.sock"), tree.path("/var/run/kine.sock")):
        if os.path.exists(socket_path):
            raise _refused("kine", socket_path, "back up the database behind it")


def _refused(name: str, seen: str, instead: str) -> LayoutError:
    return LayoutError(
        f"This host runs {name} (seen by {seen}), which controlplane.etcd does not serve.",
        hint=f"Leave this host out; {instead}.",
        path=seen,
    )
