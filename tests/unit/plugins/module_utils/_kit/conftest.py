# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host trees for the kit's tests: kubeadm's and kubespray's from the lab, k3s's and rke2's recorded."""

from __future__ import annotations

import importlib.util
import typing as t
from pathlib import Path

import pytest

from lab import kubeadm, kubespray
from lab.pki import ClusterPki
from lab.static_pods import EtcdSettings, Node

TREES = Path(__file__).parents[3] / "fixtures" / "trees"


def _build(name: str, root: Path) -> Path:
    spec = importlib.util.spec_from_file_location("trees_build", TREES / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return t.cast(Path, module.build(name, root))


def _node(root: Path, seen: str) -> Node:
    return Node("cp1", "10.0.0.11", "3.6.16", root, seen, 2379, 2380, 2381, 6443)


@pytest.fixture(scope="session")
def pki() -> ClusterPki:
    return ClusterPki()


@pytest.fixture
def kubeadm_host(tmp_path: Path, pki: ClusterPki) -> Path:
    """A host of its own: its files speak of /etc/kubernetes."""
    root = tmp_path / "host"
    kubeadm.write_tree(_node(root, ""), pki, EtcdSettings("cp1=https://10.0.0.11:2380"), first=True)
    return root


@pytest.fixture
def kubespray_host(tmp_path: Path, pki: ClusterPki) -> Path:
    root = tmp_path / "host"
    node = _node(root, "")
    kubespray.write_tree(node, pki, [node], endpoint="k8s-api.example.test")
    return root


@pytest.fixture
def recorded(tmp_path: Path) -> t.Callable[[str], Path]:
    """Lay out a recorded tree by its name."""
    return lambda name: _build(name, tmp_path / name)
