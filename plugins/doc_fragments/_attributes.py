# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module says of itself: check mode, diff mode, idempotence, where it runs."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes shared by all modules; a module adds `support` and, where partial, `details`."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
  platform:
    description: Target systems that the module can run on.
    support: full
    platforms: linux
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: This module only reads.
  diff_mode:
    support: N/A
    details: This module only reads.
  idempotent:
    support: full
    details: This module only reads.
"""

    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/controlplane.etcd.etcd) in C(module_defaults) to set endpoints, certificates and layout once.
    support: full
    membership:
      - controlplane.etcd.etcd
"""

    CONTROLLER = r"""
options: {}
attributes:
  controller:
    description: Meant for the controller, with C(delegate_to=localhost), C(become=false) and the controller's own Python.
    support: full
"""
