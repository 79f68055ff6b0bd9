# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What opens sealed files, and where. Keep in sync with IDENTITY in plugins/module_utils/_argspec.py."""

from __future__ import annotations


class ModuleDocFragment:
    """The options that open what is sealed."""

    DOCUMENTATION = r"""
options:
  identities:
    description:
      - Files with the private keys that open what is sealed - age identity files, or ssh private keys without a passphrase.
        They belong on the controller, and nowhere else.
    type: list
    elements: path
    default: []
  spool_dir:
    description:
      - Folder for the clear image of what is sealed or compressed. It lies there in a file that has no name, mode 0600, and
        is gone with this module however it ends. 256 MiB are left free.
    type: path
    default: /var/tmp
"""
