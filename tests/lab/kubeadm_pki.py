# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host tree of a control plane that the real kubeadm made: PKI, kubeconfigs, manifests.

kubeadm looks for kubeconfigs in /etc/kubernetes whatever it is told, so it runs with `--rootfs`: it
changes its root to the tree first.
"""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

from lab import binaries, versions
from lab.objects import apiserver

__all__ = ["ADDRESS", "ENDPOINT", "NAME", "KubeadmTree"]

NAME = "cp1"
ADDRESS = "10.0.0.11"
ENDPOINT = "k8s-api.example.test"
_CONFIG = f"""\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
nodeRegistration:
  name: {NAME}
localAPIEndpoint:
  advertiseAddress: {ADDRESS}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v{versions.KUBERNETES_RECORDED}
controlPlaneEndpoint: {ENDPOINT}:6443
clusterName: kubernetes
"""
_PHASES = (
    "certs all",
    "kubeconfig all",
    "kubeconfig super-admin",
    "etcd local",
    "control-plane all",
)


class KubeadmTree:
    """A folder with /etc/kubernetes as `kubeadm init` leaves it before the kubelet starts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kubernetes = root / "etc/kubernetes"
        self.pki = self.kubernetes / "pki"
        self._config = root / "kubeadm.yaml"
        self._binary = apiserver.build(
            versions.KUBERNETES_RECORDED, binaries.cache_dir() / "kubernetes", command="kubeadm"
        )

    def make(self) -> KubeadmTree:
        """Run the phases of `kubeadm init`."""
        self.kubernetes.mkdir(parents=True)
        self._config.write_text(_CONFIG)
        for phase in _PHASES:
            self("init", "phase", *phase.split(), "--config", "/kubeadm.yaml")
        return self

    def expirations(self) -> dict[str, dict[str, t.Any]]:
        """Return what `kubeadm certs check-expiration -o json` says, by kubeadm's names."""
        said = self("certs", "check-expiration", "-o", "json", "--config", "/kubeadm.yaml")
        answer = json.loads(said[said.index("{") :])
        found = [*answer["certificates"], *answer["certificateAuthorities"]]
        return {each["name"]: each for each in found}

    def __call__(self, *words: str) -> str:
        """Run kubeadm, and return what it says."""
        own = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
        done = subprocess.run(
            [*own, str(self._binary), "--rootfs", str(self.root), *words],
            env={"PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
