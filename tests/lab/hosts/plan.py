# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say which hosts and clusters the lab has."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lab import versions


class Layout(str, Enum):
    """How a cluster's etcd lies on its hosts."""

    KUBEADM = "kubeadm"
    KUBESPRAY = "kubespray"


@dataclass(frozen=True)
class HostPlan:
    """One host; `own_data_mount`: /var/lib/etcd is a file system of its own (ext4, lost+found)."""

    name: str
    number: int
    own_data_mount: bool = False


@dataclass(frozen=True)
class ClusterPlan:
    """One etcd cluster on its hosts."""

    name: str
    layout: Layout
    etcd_version: str
    hosts: tuple[HostPlan, ...]


@dataclass(frozen=True)
class LabPlan:
    """All of a lab; `spare` hosts run no etcd."""

    clusters: tuple[ClusterPlan, ...]
    spare: tuple[HostPlan, ...]

    @property
    def hosts(self) -> tuple[HostPlan, ...]:
        found = [host for cluster in self.clusters for host in cluster.hosts]
        return (*found, *self.spare)


DEFAULT = LabPlan(
    clusters=(
        ClusterPlan(
            "alpha",
            Layout.KUBEADM,
            versions.ETCD["3.6"],
            (HostPlan("cp1", 11), HostPlan("cp2", 12), HostPlan("cp3", 13, own_data_mount=True)),
        ),
        ClusterPlan("beta", Layout.KUBESPRAY, versions.ETCD["3.5"], (HostPlan("b1", 21),)),
    ),
    spare=(HostPlan("scratch", 31),),
)
