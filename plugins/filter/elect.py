# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter elect: the source of a cluster's backup, from all its hosts' etcd_info."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.agreement import (
    HashEntry,
    agree,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.cluster import (
    Election,
    elect,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.views import (
    HostState,
    HostView,
)

DOCUMENTATION = r"""
name: elect
short_description: Elect the member of an etcd cluster that is backed up
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane-etcd)
description:
  - Puts together what M(controlplane.etcd.etcd_info) returned on every host of one cluster, and elects the host to
    take the snapshot from, or refuses the cluster and says why.
  - Tolerates hosts without a result, with a failed one, or unreachable ones.
  - Used twice. First without O(hash_kv), which gives the host to ask for the members' hashes and the revision to ask
    for; then with the hashes that this host returned.
  - Looks at hostvars, never at C(ansible_play_hosts) alone, which C(--limit) cuts.
positional: cluster
options:
  _input:
    description: C(hostvars).
    type: dict
    required: true
  cluster:
    description: The cluster's name, C(etcd_cluster) of its hosts.
    type: str
    required: true
  register:
    description: Name of the variable in which each host's M(controlplane.etcd.etcd_info) result is registered.
    type: str
    required: true
  etcd_instance:
    description: Which etcd of the cluster is meant, C(etcd_instance) of its hosts.
    type: str
    default: main
  hosts:
    description:
      - Hosts to look at, those of other clusters among them.
      - If omitted, every host of C(hostvars).
    type: list
    elements: str
  play_hosts:
    description:
      - C(ansible_play_hosts_all). A host of the cluster that is not in it was cut off by C(--limit), which refuses the
        cluster.
      - If omitted, a host without a result counts as unreachable.
    type: list
    elements: str
  hash_kv:
    description: RV(controlplane.etcd.etcd_info#module:hash_kv) of the host that was asked.
    type: list
    elements: dict
"""

EXAMPLES = r"""
- name: See who may ask for the hashes, and at which revision
  ansible.builtin.set_fact:
    election: >-
      {{ hostvars | controlplane.etcd.elect(etcd_cluster, register='etcd', play_hosts=ansible_play_hosts_all) }}

- name: Ask the members in turn
  controlplane.etcd.etcd_info:
    hash_revision: "{{ election.hash_revision }}"
  delegate_to: "{{ election.asker }}"
  register: hashes

- name: Elect the source
  ansible.builtin.set_fact:
    election: >-
      {{ hostvars | controlplane.etcd.elect(etcd_cluster, register='etcd', play_hosts=ansible_play_hosts_all,
                                            hash_kv=hashes.hash_kv | default([])) }}

- name: Stop where none may be used
  ansible.builtin.assert:
    that: election.outcome == 'elected'
    fail_msg: "{{ election.error.msg | default('') }}"
"""

RETURN = r"""
_value:
  description: The election.
  type: dict
  contains:
    outcome:
      description: V(elected) or V(refused).
      returned: success
      type: str
      sample: elected
    source:
      description: The inventory host to take the snapshot on; null where refused.
      returned: success
      type: str
      sample: alpha-cp2
    source_member:
      description: ID and name of that host's member; null where refused.
      returned: success
      type: dict
      sample: {id: d46eab4428fcb50e, name: alpha-cp2}
    asker:
      description: The inventory host that asks for the hashes, the same as RV(_value.source).
      returned: success
      type: str
      sample: alpha-cp2
    cluster_id:
      description: The etcd cluster's ID; empty where no host answered.
      returned: success
      type: str
      sample: a0308969f623cc1d
    hash_revision:
      description: The lowest revision of all voters, at which they can be compared.
      returned: success
      type: int
      sample: 51
    hash_agreement:
      description: V(equal), V(different) or V(not_comparable); null without O(hash_kv).
      returned: success
      type: str
      sample: equal
    hash_kv:
      description: The hash that was agreed on, eight hex digits.
      returned: success
      type: str
      sample: 114360ef
    hash_compact_revision:
      description: The compact revision of RV(_value.hash_kv).
      returned: success
      type: int
      sample: -1
    hash_reasons:
      description: Why hashes differ or cannot be compared.
      returned: success
      type: list
      elements: str
      sample: []
    members:
      description: ID, name and host (null where the inventory has none) of every member.
      returned: success
      type: list
      elements: dict
      sample: [{id: d46eab4428fcb50e, name: alpha-cp2, host: alpha-cp2, is_learner: false}]
    hosts_by_member:
      description: Member ID to inventory host.
      returned: success
      type: dict
      sample: {d46eab4428fcb50e: alpha-cp2}
    members_without_host:
      description: Names of members that the inventory lacks.
      returned: success
      type: list
      elements: str
      sample: []
    hosts:
      description: The cluster's hosts in the inventory.
      returned: success
      type: list
      elements: str
      sample: [alpha-cp1, alpha-cp2, alpha-cp3]
    hosts_good:
      description: Hosts that answered.
      returned: success
      type: list
      elements: str
      sample: [alpha-cp1, alpha-cp2, alpha-cp3]
    hosts_unreachable:
      description: Hosts that Ansible could not reach, or that have no result.
      returned: success
      type: list
      elements: str
      sample: []
    hosts_failed:
      description: Hosts whose etcd_info failed.
      returned: success
      type: list
      elements: str
      sample: []
    hosts_without_member:
      description: Hosts that hold no etcd member.
      returned: success
      type: list
      elements: str
      sample: []
    degraded:
      description: Whether a host or member is missing.
      returned: success
      type: bool
      sample: false
    reasons:
      description: Why this host, and why not the others.
      returned: success
      type: list
      elements: str
      sample: ['alpha-cp2: elected, member alpha-cp2 is a follower, round trip 1 ms, 3 could be used']
    warnings:
      description: What a person should look at.
      returned: success
      type: list
      elements: str
      sample: []
    error:
      description: Why the cluster is refused, null where it is not.
      returned: success
      type: dict
      sample: null
      contains:
        kind:
          description: Always V(cluster_refused).
          returned: success
          type: str
          sample: cluster_refused
        reason:
          description: A stable name to branch on.
          returned: success
          type: str
          sample: no_quorum
        msg:
          description: The reason in words, with what to do next.
          returned: success
          type: str
          sample: "Cluster prod has no quorum: 1 of 3 voters answer, 2 are needed; missing: cp2, cp3."
"""


def elect_filter(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]],
    cluster: str,
    *,
    register: str,
    etcd_instance: str = "main",
    hosts: t.Sequence[str] | None = None,
    play_hosts: t.Sequence[str] | None = None,
    hash_kv: t.Sequence[t.Mapping[str, t.Any]] | None = None,
) -> dict[str, t.Any]:
    """Elect the source of `cluster`'s backup; see DOCUMENTATION."""
    if not isinstance(hostvars, t.Mapping):
        raise AnsibleFilterError(
            f"elect takes hostvars, a mapping of hosts to their variables, not {type(hostvars).__name__}."
        )
    if not cluster or not isinstance(cluster, str):
        raise AnsibleFilterError(
            "elect needs the cluster's name. Set etcd_cluster on the group of its hosts."
        )
    views = [
        HostView.from_result(
            host,
            _get(hostvars[host], register),
            address=_get(hostvars[host], "ansible_host"),
            asked=play_hosts is None or host in play_hosts,
        )
        for host in (hostvars if hosts is None else hosts)
        if host in hostvars
        and _get(hostvars[host], "etcd_cluster") == cluster
        and (_get(hostvars[host], "etcd_instance") or "main") == etcd_instance
    ]
    first = elect(cluster, views)
    if hash_kv is None:
        return _as_dict(first, views, None)
    voters = sum(not member.is_learner for member in first.members)
    agreement = agree([HashEntry.from_dict(each) for each in hash_kv], required=voters // 2 + 1)
    found = elect(cluster, views, agreement=agreement)
    return _as_dict(found, views, agreement)


def _get(variables: t.Mapping[str, t.Any], name: str) -> t.Any:
    """Return a variable, None where it is not set."""
    return variables.get(name)


def _as_dict(found: Election, views: t.Sequence[HostView], agreement: t.Any) -> dict[str, t.Any]:
    local = found.source.local if found.source else None
    states = {state: [view.host for view in views if view.state is state] for state in HostState}
    error = None
    if found.refusal:
        error = {
            "kind": "cluster_refused",
            "reason": found.refusal.value,
            "msg": f"{found.message} {found.hint}".strip(),
        }
    return {
        "outcome": "refused" if error else "elected",
        "source": found.source.host if found.source else None,
        "source_member": {"id": local.id, "name": local.name} if local else None,
        "asker": found.source.host if found.source else None,
        "cluster_id": found.cluster_id,
        "hash_revision": agreement.revision
        if agreement and agreement.hash
        else found.hash_revision,
        "hash_agreement": agreement.outcome.value if agreement else None,
        "hash_kv": agreement.hash if agreement else None,
        "hash_compact_revision": agreement.compact_revision if agreement else None,
        "hash_reasons": list(agreement.reasons) if agreement else [],
        "members": [
            {
                "id": member.id,
                "name": member.name,
                "host": found.hosts_by_member.get(member.id),
                "is_learner": member.is_learner,
            }
            for member in found.members
        ],
        "hosts_by_member": dict(found.hosts_by_member),
        "members_without_host": [member.label for member in found.members_without_host],
        "hosts": [view.host for view in views],
        "hosts_good": states[HostState.GOOD],
        "hosts_unreachable": states[HostState.UNREACHABLE],
        "hosts_failed": states[HostState.FAILED],
        "hosts_without_member": states[HostState.NO_MEMBER],
        "degraded": found.degraded,
        "reasons": list(found.reasons),
        "warnings": list(found.warnings),
        "error": error,
    }


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"elect": elect_filter}
