# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host trees to look at: as kubeadm leaves them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab import kubeadm
from lab.certified import Host
from lab.pki import ClusterPki
from lab.static_pods import EtcdSettings, Node


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Host:
    root = tmp_path_factory.mktemp("kubeadm") / "cp1"
    pki = ClusterPki()
    node = Node("cp1", "10.0.0.11", "3.6.16", root, "")
    kubeadm.write_tree(node, pki, EtcdSettings(""), first=True)
    return Host(root, pki)


@pytest.fixture
def host(made: Host, tmp_path: Path) -> Host:
    """A host to spoil."""
    shutil.copytree(made.root, tmp_path / "cp1", symlinks=True)
    return Host(tmp_path / "cp1", made.pki)
