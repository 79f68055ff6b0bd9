# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Find which layout a host has."""

from __future__ import annotations

import os

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import LayoutError

from .foreign import refuse_foreign, refuse_openshift
from .kubeadm import DEFAULT_STATIC_POD_PATH, find_kubeadm
from .model import Layout, LayoutKind, Tree
from .rancher import find_rancher, server_dir
from .systemd import find_systemd

__all__ = ["find"]


def find(
    kind: str = "auto",
    *,
    certificates_dir: str | None = None,
    static_pod_path: str | None = None,
    data_dir: str | None = None,
    root: str = "/",
) -> Layout:
    """Return this host's etcd member.

    `auto` takes the first that is there: kubeadm, systemd, k3s, rke2. `root` is another place of
    the host's file tree, for recorded trees.

    :raises LayoutError: nothing is found (the message says where was looked), or what is here is
        recognised and refused.
    """
    tree = Tree(root)
    looked: list[str] = []
    if kind == "auto" and static_pod_path is None:
        refuse_openshift(tree)
    if kind in ("auto", LayoutKind.KUBEADM):
        found = find_kubeadm(
            tree,
            certificates_dir=certificates_dir,
            static_pod_path=static_pod_path,
            data_dir=data_dir,
        )
        if found:
            return found
        looked.append(
            f"no etcd static pod in {static_pod_path or tree.path(DEFAULT_STATIC_POD_PATH)}"
        )
    if kind == "auto":
        refuse_foreign(tree)
    if kind in ("auto", LayoutKind.SYSTEMD):
        found = find_systemd(
            tree,
            certificates_dir=certificates_dir,
            static_pod_path=static_pod_path,
            data_dir=data_dir,
        )
        if found:
            return found
        looked.append("no systemd unit that starts etcd")
    for rancher in (LayoutKind.K3S, LayoutKind.RKE2):
        if kind in ("auto", rancher):
            found = find_rancher(tree, rancher, data_dir=data_dir)
            if found:
                return found
            looked.append(f"no {rancher.value} etcd below {server_dir(tree, rancher, data_dir)}")
    raise LayoutError(
        f"No etcd member found on this host: {'; '.join(looked)}.",
        hint="Run it on a control-plane host that holds an etcd member"
        + (", with become; " if os.geteuid() else "; ")
        + "set static_pod_path, data_dir or layout if its files lie elsewhere.",
    )
