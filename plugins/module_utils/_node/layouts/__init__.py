# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Where a member's files, and those of the control plane around it, lie on a host: the only place
that knows.
"""

from __future__ import annotations

from .find import find
from .kubeadm import DEFAULT_STATIC_POD_PATH, kubernetes_dir
from .model import Layout, LayoutKind, StaticPod, Tree
from .places import SYSTEM_FOLDERS, Folder, Place, Places, places
from .pods import containers, read_folder

__all__ = [
    "DEFAULT_STATIC_POD_PATH",
    "SYSTEM_FOLDERS",
    "Folder",
    "Layout",
    "LayoutKind",
    "Place",
    "Places",
    "StaticPod",
    "Tree",
    "containers",
    "find",
    "kubernetes_dir",
    "places",
    "read_folder",
]
