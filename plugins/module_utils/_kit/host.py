# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Find where a control-plane host has its files, with or without an etcd member of its own."""

from __future__ import annotations

import dataclasses

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import LayoutError
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import (
    find,
    kubeadm,
    model,
    places,
    pods,
)

from .tree import HostTree

__all__ = ["Host", "find_host"]


@dataclasses.dataclass(frozen=True)
class Host:
    """What a host is, and where to look on it."""

    places: places.Places
    layout: model.Layout | None
    """The etcd member; None: there is none, or its manifest is broken."""
    pods: tuple[model.StaticPod, ...]
    """The control plane's static pods, as far as they can be read."""
    warnings: tuple[str, ...] = ()


def find_host(
    kind: str = "auto",
    *,
    certificates_dir: str | None = None,
    static_pod_path: str | None = None,
    data_dir: str | None = None,
    root: str = "/",
) -> Host:
    """Return where to look, and what there is to say about it.

    A control-plane host needs no etcd member of its own, and one with a broken manifest has a PKI
    all the same.

    :raises LayoutError: what lies here is no control plane that we know.
    """
    tree = model.Tree(root)
    layout: model.Layout | None = None
    warnings: list[str] = []
    folder = static_pod_path or tree.path(kubeadm.DEFAULT_STATIC_POD_PATH)
    found: tuple[model.StaticPod, ...] = ()
    try:
        layout = find.find(
            kind,
            certificates_dir=certificates_dir,
            static_pod_path=static_pod_path,
            data_dir=data_dir,
            root=root,
        )
        found = layout.pods
    except LayoutError as exc:
        if isinstance(exc.__cause__, OSError) or kind in ("k3s", "rke2"):
            raise
        if exc.__cause__ is None:
            found = () if exc.path is not None else pods.read_folder(tree, folder)
            if not any(pod.component == "kube-apiserver" for pod in found):
                raise
        else:
            warnings.append(f"{exc.message} What it references could not be followed.")
    host = HostTree(root)
    kubernetes_dir = (layout and layout.kubernetes_dir) or kubeadm.kubernetes_dir(tree, folder)
    pki = (layout and layout.certificates_dir) or certificates_dir
    return Host(
        places.places(
            layout.kind if layout else model.LayoutKind.KUBEADM,
            layout=layout,
            kubernetes_dir=host.inside(kubernetes_dir),
            static_pod_path=host.inside((layout and layout.static_pod_path) or folder),
            certificates_dir=host.inside(pki) if pki else None,
        ),
        layout,
        found,
        tuple(warnings),
    )
