#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_info
short_description: Show an etcd cluster as one of its hosts sees it
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane-etcd)
description:
  - Finds the etcd member of the host, asks it and every other member for their state, and returns the cluster, its
    quorum, its alarms, and where the member's files and tools lie.
  - A member that does not answer is shown as such and never fails the module; an endpoint asked first that cannot be
    used at all does, with an error that names what is wrong.
  - Nothing is written, neither to disk nor to etcd's log.
extends_documentation_fragment:
  - controlplane.etcd._attributes
  - controlplane.etcd._attributes.info_module
  - controlplane.etcd._attributes.action_group
  - controlplane.etcd._connection
  - controlplane.etcd._layout
options:
  hash_revision:
    description:
      - Ask the voting members for their HashKV at this revision, one after the other, followers first, and the leader
        only if the followers alone give no majority.
      - If omitted, nothing is hashed. Hashing makes writes on that member wait for as long as it takes.
    type: int
  hash_timeout:
    description: How long one member's hash may take, as a duration.
    type: str
    default: 60s
  include_apiserver:
    description:
      - Whether RV(tools) names the kube-apiserver that uses this etcd, too. Its file is large, and hashing it takes a while.
    type: bool
    default: false
requirements:
  - etcd3, grpcio, protobuf, cryptography and PyYAML for the host's Python; role P(controlplane.etcd.etcd_runtime#role)
    installs them
seealso:
  - plugin: controlplane.etcd.elect
    plugin_type: filter
  - module: controlplane.etcd.etcd_snapshot
"""

EXAMPLES = r"""
- name: See the cluster with what kubeadm left on the host
  controlplane.etcd.etcd_info:
  register: etcd

- name: Stop here unless every voter is healthy
  ansible.builtin.assert:
    that:
      - etcd.quorum.has_quorum
      - etcd.quorum.healthy == etcd.quorum.voters
      - etcd.alarms | length == 0
    fail_msg: "{{ etcd.members | rejectattr('reachable') | map(attribute='name') | join(', ') }}"

- name: Ask an etcd that runs elsewhere, with certificates of one's own
  controlplane.etcd.etcd_info:
    endpoints: [https://10.0.0.11:2379, https://10.0.0.12:2379]
    cacert: /etc/ssl/etcd/ca.pem
    cert: /etc/ssl/etcd/admin.pem
    key: /etc/ssl/etcd/admin-key.pem

- name: Compare the members' data at one revision
  controlplane.etcd.etcd_info:
    hash_revision: "{{ etcd.revision }}"
    hash_timeout: 2m
"""

RETURN = r"""
cluster_id:
  description: The cluster's ID, in hex as etcdctl prints it.
  returned: success
  type: str
  sample: 8e178a6aa9b3eb0
revision:
  description: The local member's revision.
  returned: success
  type: int
  sample: 51
local_member:
  description: The member that was asked first.
  returned: success
  type: dict
  contains:
    id:
      description: Its ID, in hex.
      returned: success
      type: str
      sample: 46194dabf4d705ac
    name:
      description: Its name. Empty for a learner, which tells no names.
      returned: success
      type: str
      sample: alpha-cp1
    endpoint:
      description: The client URL that answered.
      returned: success
      type: str
      sample: https://127.0.0.1:2379
    is_learner:
      description: Whether it is a learner.
      returned: success
      type: bool
      sample: false
quorum:
  description: Whether the cluster can decide.
  returned: success
  type: dict
  contains:
    voters:
      description: How many voting members there are.
      returned: success
      type: int
      sample: 3
    healthy:
      description: How many voters answer and have a leader.
      returned: success
      type: int
      sample: 3
    required:
      description: How many voters a majority takes.
      returned: success
      type: int
      sample: 2
    has_quorum:
      description: Whether a linearizable read at the local member succeeded.
      returned: success
      type: bool
      sample: true
    reason:
      description: Why there is no quorum; null where there is one.
      returned: success
      type: str
      sample: null
alarms:
  description: Every alarm that is raised.
  returned: success
  type: list
  elements: dict
  contains:
    member_id:
      description: The member that raised it, in hex.
      returned: success
      type: str
      sample: 46194dabf4d705ac
    member_name:
      description: That member's name.
      returned: success
      type: str
      sample: alpha-cp1
    alarm:
      description: V(NOSPACE) or V(CORRUPT).
      returned: success
      type: str
      sample: NOSPACE
members:
  description:
    - Every member as the member list has it, by name, with what it said of itself.
    - What a member did not say is null.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Its ID, in hex.
      returned: success
      type: str
      sample: 46194dabf4d705ac
    name:
      description: Its name. Empty where it was added but never started.
      returned: success
      type: str
      sample: alpha-cp1
    peer_urls:
      description: Where the other members reach it.
      returned: success
      type: list
      elements: str
      sample: [https://10.0.0.11:2380]
    client_urls:
      description: Where clients reach it.
      returned: success
      type: list
      elements: str
      sample: [https://10.0.0.11:2379]
    is_learner:
      description: Whether it is a learner, which does not vote.
      returned: success
      type: bool
      sample: false
    is_leader:
      description: Whether it leads the cluster.
      returned: success
      type: bool
      sample: false
    leader:
      description: The ID of the leader that this member follows, in hex.
      returned: success
      type: str
      sample: 2c244866006ea70e
    reachable:
      description: Whether it answered this host.
      returned: success
      type: bool
      sample: true
    endpoint:
      description: The client URL at which it answered.
      returned: success
      type: str
      sample: https://10.0.0.11:2379
    round_trip_ms:
      description: How long a status request took on a connection that was open.
      returned: success
      type: float
      sample: 0.912
    error:
      description: Why it did not answer; null where it did.
      returned: success
      type: dict
      contains:
        kind:
          description: The error's kind, as in RV(ignore:error.kind).
          returned: success
          type: str
          sample: endpoint_unreachable
        msg:
          description: The error in words.
          returned: success
          type: str
          sample: "Cannot reach etcd https://10.0.0.12:2379: connection refused, nothing listens on port 2379 there."
    alarms:
      description: The alarms that this member raised.
      returned: success
      type: list
      elements: str
      sample: []
    errors:
      description: What the member itself complains of.
      returned: success
      type: list
      elements: str
      sample: []
    version:
      description: Its etcd version.
      returned: success
      type: str
      sample: 3.6.16
    storage_version:
      description: The version of its db's schema. Null before etcd 3.6.
      returned: success
      type: str
      sample: 3.6.0
    db_size_bytes:
      description: Size of its db file.
      returned: success
      type: int
      sample: 110592
    db_size_in_use_bytes:
      description: How much of that is in use.
      returned: success
      type: int
      sample: 98304
    quota_bytes:
      description:
        - Size at which it raises a NOSPACE alarm.
        - Told by etcd from 3.6 on; before that, read from the layout, for the local member only.
      returned: success
      type: int
      sample: 2147483648
    revision:
      description: Its revision.
      returned: success
      type: int
      sample: 51
    raft_term:
      description: Its raft term.
      returned: success
      type: int
      sample: 2
    raft_index:
      description: The raft index that it knows to be committed.
      returned: success
      type: int
      sample: 58
    raft_applied_index:
      description: The raft index that it has applied.
      returned: success
      type: int
      sample: 58
hash_kv:
  description: The voting members' hashes. The leader is missing where it need not be asked.
  returned: when O(hash_revision) is set
  type: list
  elements: dict
  contains:
    member_id:
      description: The member, in hex.
      returned: success
      type: str
      sample: 12725a6a4924cada
    name:
      description: Its name.
      returned: success
      type: str
      sample: alpha-cp3
    endpoint:
      description: The client URL that was asked.
      returned: success
      type: str
      sample: https://10.0.0.13:2379
    hash:
      description: The hash, eight hex digits. Null where there is none.
      returned: success
      type: str
      sample: 1c0c4ad5
    revision:
      description: The revision up to which it was taken.
      returned: success
      type: int
      sample: 51
    compact_revision:
      description: The compact revision from which it was taken. Hashes compare only where it is equal.
      returned: success
      type: int
      sample: -1
    error:
      description: Why there is no hash; null where there is one.
      returned: success
      type: dict
      contains:
        kind:
          description: The error's kind, as V(revision_unavailable) where the revision is compacted.
          returned: success
          type: str
          sample: endpoint_timeout
        msg:
          description: The error in words.
          returned: success
          type: str
          sample: "Cannot hash the keys at revision 51 at etcd https://10.0.0.13:2379: no answer within 60 s."
layout:
  description: Where the local member's files lie. Null where O(endpoints) is set and the host has no member.
  returned: success
  type: dict
  contains:
    kind:
      description: V(kubeadm), V(systemd), V(k3s) or V(rke2).
      returned: success
      type: str
      sample: kubeadm
    name:
      description: etcd's C(--name).
      returned: success
      type: str
      sample: alpha-cp1
    endpoints:
      description: Client URLs on which the member listens, loopback first.
      returned: success
      type: list
      elements: str
      sample: [https://127.0.0.1:2379, https://10.0.0.11:2379]
    peer_urls:
      description: Peer URLs that it announced at first.
      returned: success
      type: list
      elements: str
      sample: [https://10.0.0.11:2380]
    data_dir:
      description: Its data folder.
      returned: success
      type: str
      sample: /var/lib/etcd
    wal_dir:
      description: A separate folder of its log; null where it lies in the data folder.
      returned: success
      type: str
      sample: null
    cacert:
      description: Certificate authority that clients use.
      returned: success
      type: str
      sample: /etc/kubernetes/pki/etcd/ca.crt
    cert:
      description: Client certificate.
      returned: success
      type: str
      sample: /etc/kubernetes/pki/etcd/server.crt
    key:
      description: File with that certificate's key.
      returned: success
      type: str
      sample: /etc/kubernetes/pki/etcd/server.key
    certificates_dir:
      description: Folder of the control plane's PKI.
      returned: success
      type: str
      sample: /etc/kubernetes/pki
    static_pod_path:
      description: Folder of the static pods' manifests.
      returned: success
      type: str
      sample: /etc/kubernetes/manifests
    kubernetes_dir:
      description: Folder of the kubeconfigs.
      returned: success
      type: str
      sample: /etc/kubernetes
    manifest:
      description: etcd's static pod manifest.
      returned: success
      type: str
      sample: /etc/kubernetes/manifests/etcd.yaml
    unit:
      description: etcd's systemd unit.
      returned: success
      type: str
      sample: null
    environment_file:
      description: That unit's environment file.
      returned: success
      type: str
      sample: null
    config_file:
      description: etcd's own config file.
      returned: success
      type: str
      sample: null
    etcd_version:
      description: Version in the tag of etcd's image.
      returned: success
      type: str
      sample: 3.6.16
    kubernetes_version:
      description: Version in the tag of the API server's image.
      returned: success
      type: str
      sample: 1.34.4
tools:
  description:
    - etcd's own programs on the host, those of the running version before those on C(PATH). With O(include_apiserver),
      kube-apiserver too.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: V(etcd), V(etcdctl), V(etcdutl) or V(kube-apiserver).
      returned: success
      type: str
      sample: etcdutl
    path:
      description: Where it can be run; below C(/proc) where it lies in the running container's image.
      returned: success
      type: str
      sample: /proc/2217/root/usr/local/bin/etcdutl
    version:
      description: Its version, as it says itself. Null where it cannot be run on the host.
      returned: success
      type: str
      sample: 3.6.16
    platform:
      description: What it runs on, in Go's words.
      returned: success
      type: str
      sample: linux-amd64
    sha256:
      description: Its sha256. Null where it cannot be read.
      returned: success
      type: str
      sample: f75e29c29206a637ce6ad32e9fa03e3205ea2be0d32708eea53947f8bd370b73
host:
  description: The host itself.
  returned: success
  type: dict
  contains:
    clock:
      description: Its time.
      returned: success
      type: str
      sample: '2026-11-23T17:01:49Z'
    etcd_pid:
      description: Process ID of the local member; null where it cannot be seen.
      returned: success
      type: int
      sample: 2217
    data_dir_mount_point:
      description: Mount point of the file system that holds the data folder.
      returned: success
      type: str
      sample: /
    data_dir_free_bytes:
      description: Free bytes of that file system.
      returned: success
      type: int
      sample: 75681169408
error:
  description: What failed.
  returned: failure
  type: dict
  contains:
    kind:
      description: A stable name to branch on, as V(endpoint_unreachable), V(certificate_rejected), V(not_etcd), V(layout).
      returned: failure
      type: str
      sample: certificate_rejected
    message:
      description: What failed, on which object, and why.
      returned: failure
      type: str
      sample: The client certificate /root/c.crt for etcd https://127.0.0.1:2379 does not exist on this host.
    hint:
      description: What to do next.
      returned: failure
      type: str
      sample: Set cert to where it lies, or certificates_dir if all of them lie elsewhere.
    endpoint:
      description: The endpoint concerned.
      returned: failure
      type: str
      sample: https://127.0.0.1:2379
    path:
      description: The file concerned.
      returned: failure
      type: str
      sample: /root/c.crt
"""

import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import (
    _argspec,
    _argspec_member,
    _module,
    _time,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd import report
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.survey import (
    hash_members,
    survey,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node import processes, space
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import Layout

ARGUMENT_SPEC = {
    **_argspec_member.CONNECTION,
    **_argspec_member.LAYOUT,
    "hash_revision": {"type": "int"},
    "hash_timeout": {"type": "str", "default": "60s"},
    "include_apiserver": {"type": "bool", "default": False},
}
NEEDS = ("etcd3.etcdrpc.rpc_pb2_grpc", "grpc", "yaml", "cryptography.x509")


def show(call: _module.Call) -> _module.Outcome:
    """Survey the cluster from this host."""
    asked = _argspec_member.connection_from_params(call.params)
    layout = _argspec_member.find_layout(_argspec_member.layout_from_params(call.params), asked)
    connection = _argspec_member.connection_for(asked, layout)
    timeout = _argspec.duration(call.params, "hash_timeout")
    seen = survey(connection)
    result = report.survey_as_dict(seen, local_quota_bytes=layout.quota_bytes if layout else None)
    if call.params["hash_revision"] is not None:
        answers = hash_members(
            connection, seen, revision=call.params["hash_revision"], timeout=timeout
        )
        result["hash_kv"] = report.hashes_as_dicts(answers)
    result["layout"] = layout.as_dict() if layout else None
    result.update(host_facts(layout))
    if call.params["include_apiserver"]:
        server = processes.find_api_server(connection.endpoints)
        result["tools"] += [dataclasses.asdict(server)] if server else []
    return _module.Outcome(result=result, warnings=report.survey_warnings(seen))


def host_facts(layout: Layout | None) -> dict[str, t.Any]:
    """Return what the host itself tells: clock, room, process and tools."""
    process = processes.find_etcd(layout.data_dir) if layout else None
    room = space.file_system(layout.data_dir) if layout else None
    return {
        "host": {
            "clock": _time.rfc3339(_time.now()),
            "etcd_pid": process.pid if process else None,
            "data_dir_mount_point": room.mount_point if room else None,
            "data_dir_free_bytes": room.free_bytes if room else None,
        },
        "tools": [dataclasses.asdict(tool) for tool in processes.find_tools(process)],
    }


def main() -> None:
    """Run the module."""
    _module.run(ARGUMENT_SPEC, show, needs=NEEDS)


if __name__ == "__main__":
    main()
