# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where entries lie and whose signatures count. Keep in sync with ARCHIVE in plugins/module_utils/_argspec.py."""

from __future__ import annotations


class ModuleDocFragment:
    """The options that name an archive."""

    DOCUMENTATION = r"""
options:
  archive:
    description:
      - The archive, as an absolute path of a directory on the controller. Object stores are not supported yet.
    type: str
    required: true
  etcd_cluster:
    description:
      - Name of the cluster, which names its folder in the archive.
    type: str
  etcd_instance:
    description:
      - Which of a cluster's etcds, where it has several, such as V(events).
      - If omitted, V(main).
    type: str
  signing_key:
    description:
      - File on the controller with the ssh key that signs, a private key, or a public key whose private half is in the
        agent (E(SSH_AUTH_SOCK)). Nothing is ever asked, so that a private key with a passphrase has to be in the agent.
      - Where nothing is signed, only its public half is used, as the default of O(allowed_signers).
    type: path
  allowed_signers:
    description:
      - Public keys whose signatures count, or paths of files with such keys or in the format of C(ALLOWED SIGNERS) in
        the manual of C(ssh-keygen), on the controller.
      - If omitted, the public half of O(signing_key).
    type: list
    elements: str
    default: []
"""
