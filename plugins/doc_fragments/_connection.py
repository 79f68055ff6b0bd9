# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach etcd. Keep in sync with CONNECTION in plugins/module_utils/_argspec_member.py."""

from __future__ import annotations


class ModuleDocFragment:
    """The options of etcdctl, under etcdctl's names."""

    DOCUMENTATION = r"""
options:
  endpoints:
    description:
      - Client URLs of etcd, as C(etcdctl --endpoints) takes them. The first one is asked first.
      - If omitted, the local member's client URLs are taken from the layout found on the host.
      - If not set, the environment variable E(ETCDCTL_ENDPOINTS) of the target is used.
    type: list
    elements: str
  cacert:
    description:
      - File on the host with the certificate authority that signed etcd's server certificates.
      - If omitted, what the layout uses, for kubeadm C(etcd/ca.crt) under O(certificates_dir).
      - If not set, the environment variable E(ETCDCTL_CACERT) of the target is used.
    type: path
    aliases: [ca_cert]
  cert:
    description:
      - File on the host with the client certificate to show to etcd.
      - If omitted, what the layout uses, for kubeadm C(etcd/server.crt) under O(certificates_dir).
      - If not set, the environment variable E(ETCDCTL_CERT) of the target is used.
    type: path
    aliases: [client_cert]
  key:
    description:
      - File on the host with the private key of O(cert).
      - If omitted, what the layout uses, for kubeadm C(etcd/server.key) under O(certificates_dir).
      - If not set, the environment variable E(ETCDCTL_KEY) of the target is used.
    type: path
    aliases: [client_key]
  user:
    description:
      - Name of an etcd user, where etcd's own authentication is on. C(name:password) is accepted as in etcdctl, but
        O(password) keeps the password out of logs.
      - If not set, the environment variable E(ETCDCTL_USER) of the target is used.
    type: str
  password:
    description:
      - Password of O(user).
      - If not set, the environment variable E(ETCDCTL_PASSWORD) of the target is used.
    type: str
  dial_timeout:
    description:
      - How long a connection may take, as a duration like V(2s) or V(500ms).
      - If not set, the environment variable E(ETCDCTL_DIAL_TIMEOUT) of the target is used.
    type: str
    default: 2s
  command_timeout:
    description:
      - How long one short request may take, as a duration.
      - If not set, the environment variable E(ETCDCTL_COMMAND_TIMEOUT) of the target is used.
    type: str
    default: 5s
"""
