# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a member's files lie. Keep in sync with LAYOUT in plugins/module_utils/_argspec_member.py."""

from __future__ import annotations


class ModuleDocFragment:
    """The options that name a layout, in kubeadm's words where it has one."""

    DOCUMENTATION = r"""
options:
  layout:
    description:
      - How etcd is run on the host. V(auto) looks for a kubeadm static pod, a systemd unit with its environment file
        (kubespray, or made by hand), k3s and rke2, in this order.
      - OpenShift, k0s, kine and the like are recognised and refused by name.
    type: str
    default: auto
    choices: [auto, kubeadm, systemd, k3s, rke2]
  certificates_dir:
    description:
      - kubeadm's C(certificatesDir). If omitted, V(/etc/kubernetes/pki).
    type: path
  static_pod_path:
    description:
      - The kubelet's C(staticPodPath). If omitted, V(/etc/kubernetes/manifests).
    type: path
  data_dir:
    description:
      - etcd's C(--data-dir) on the host. If omitted, what the layout says.
    type: path
"""
