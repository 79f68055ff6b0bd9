# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter unknown_variables: what was meant for a role, and would be passed over."""

from __future__ import annotations

import difflib
import typing as t

DOCUMENTATION = r"""
name: unknown_variables
short_description: Find variables that a role of this collection would pass over
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane-etcd)
description:
  - Every variable whose name begins with the role's is meant for it; those that it does not know are returned.
  - So is a name that all but spells one of the variables that all roles share, where that one is not set. C(etcd_retension) would
    otherwise leave a cluster with the default policy, and nobody would be told.
  - Other names that begin with C(etcd_), as those of kubespray, are nobody's business here.
positional: role, known
options:
  _input:
    description: Names of variables.
    type: list
    elements: str
    required: true
  role:
    description: The role's name, as in V(etcd_rotate).
    type: str
    required: true
  known:
    description: The variables of that role.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Know every variable of this role by its name
  ansible.builtin.assert:
    that: unknown | length == 0
    fail_msg: "Not known: {{ unknown | join(', ') }}."
  vars:
    known: [etcd_rotate_release, etcd_rotate_retention]
    unknown: "{{ query('ansible.builtin.varnames', '^etcd_') | controlplane.etcd.unknown_variables('etcd_rotate', known) }}"
"""

RETURN = r"""
_value:
  description: The names that are not known, each with the one that may be meant.
  type: list
  elements: str
  sample: ["etcd_retension (etcd_retention?)"]
"""

# Where one of these is not set, a role does without. What no role does without asks for itself.
_SHARED = (
    *("etcd_allowed_signers", "etcd_archive", "etcd_identities", "etcd_recipients"),
    *("etcd_retention", "etcd_signing_key"),
)
# One letter in twelve.
_CLOSE = 0.9


def unknown_variables(names: t.Iterable[str], role: str, known: t.Collection[str]) -> list[str]:
    """Return those of `names` that `role` would pass over, each with what may be meant."""
    given = set(names)
    wanting = [name for name in _SHARED if name not in given]
    found = []
    for name in sorted(given - {*known, *_SHARED}):
        own = name.startswith(f"{role}_")
        close = difflib.get_close_matches(name, known if own else wanting, n=1, cutoff=_CLOSE)
        if own or close:
            found.append(f"{name} ({close[0]}?)" if close else name)
    return found


class FilterModule:
    """The filter, for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters of this file by name."""
        return {"unknown_variables": unknown_variables}
