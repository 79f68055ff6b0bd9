#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_snapshot
short_description: Take a verified, sealed snapshot of an etcd member
description:
  - Streams a snapshot from the member of this host, verifies it, and seals it with zstd and age into a folder.
  - The stream is drained at full speed into an unnamed file, for etcd holds a read transaction open meanwhile. After
    that, at low priority, its trailer, its structure, its revision and its HashKV are checked, and its Kubernetes objects
    are counted.
  - Nothing is left on the host if a check fails, and nothing clear in any case.
  - A backup is more than this file. Role P(controlplane.etcd.etcd_backup#role) fetches it, adds what etcd does not hold,
    and keeps both in a signed archive.
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane)
options:
  dest_dir:
    description:
      - Folder on the host for the sealed files C(data.db.zst.age) and C(catalog.json.zst.age). It must exist.
      - The files get mode 0600 and the owner of this folder.
    type: path
    required: true
  recipients:
    description:
      - Public keys that can open the files, age X25519 (C(age1…)), C(ssh-ed25519) or C(ssh-rsa). Two at least, one of them
        kept in escrow.
    type: list
    elements: str
    default: []
  allow_unsealed:
    description: Whether an empty O(recipients) means files that are compressed only. Otherwise it is refused.
    type: bool
    default: false
  spool_dir:
    description:
      - Folder on the host for the unnamed file that the stream goes to. Not on a tmpfs.
      - On etcd's own file system the larger of 1 GiB and the db's size must stay free after spool and sealed file.
    type: path
    default: /var/tmp
  hash_revision:
    description:
      - Revision at which the members' HashKV was asked, as M(controlplane.etcd.etcd_info) returns it.
      - If omitted, the members' hashes are not compared with the snapshot's.
    type: int
  hash_compact_revision:
    description: Compact revision of the members when they computed O(hash_kv). V(-1) for never compacted.
    type: int
  hash_kv:
    description: The HashKV on which the members agree, as eight hex digits.
    type: str
  emergency:
    description:
      - Whether to take the state that this one member has, without quorum. It can be older than what the cluster had
        confirmed, so it is marked, and never counts as a backup.
    type: bool
    default: false
  emergency_source:
    description:
      - Where an O(emergency) snapshot comes from. V(member) asks a member that still runs. V(data_dir) takes what is left
        of one that doesn't, O(data_dir) or what the layout says. The folder is copied to O(spool_dir), and a throw-away
        etcd is brought up on the copy, on loopback, for as long as it takes. The folder itself is only read.
    type: str
    default: member
    choices: [member, data_dir]
  etcd:
    description:
      - With O(emergency_source=data_dir), the etcd program on the host, of the minor version that wrote the data.
      - If omitted, the one on C(PATH).
    type: path
  stream_idle_timeout:
    description: Give the stream up when no bytes came for this long.
    type: str
    default: 30s
  stream_timeout:
    description: Give the stream up when it is not whole after this long.
    type: str
    default: 30m
  lock_timeout:
    description: How long to wait for another snapshot of the same member to end. V(0s) fails at once.
    type: str
    default: 0s
  etcd_prefix:
    description:
      - The API server's C(--etcd-prefix). If omitted, what its manifest on the host says, else V(/registry).
    type: str
seealso:
  - module: controlplane.etcd.etcd_info
  - module: controlplane.etcd.etcd_archive_add
extends_documentation_fragment:
  - controlplane.etcd._attributes
  - controlplane.etcd._attributes.action_group
  - controlplane.etcd._connection
  - controlplane.etcd._layout
attributes:
  check_mode:
    support: full
    details: Tells source, size and space, and takes nothing.
  diff_mode:
    support: none
    details: Nothing that was there before is changed.
  idempotent:
    support: none
    details: Each call takes a new snapshot.
  platform:
    support: full
"""

EXAMPLES = r"""
- name: Take a snapshot of this host's member, as kubeadm set it up
  controlplane.etcd.etcd_snapshot:
    dest_dir: /var/tmp/etcd-snapshot
    recipients:
      - age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
      - age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg
  register: snapshot

- name: Look whether there is room for one, and where it would come from
  controlplane.etcd.etcd_snapshot:
    dest_dir: /var/tmp/etcd-snapshot
    recipients: "{{ etcd_recipients }}"
  check_mode: true

- name: Save what is left of a member that will not start again
  controlplane.etcd.etcd_snapshot:
    dest_dir: /root/rescue
    recipients: "{{ etcd_recipients }}"
    emergency: true
    emergency_source: data_dir
    data_dir: /var/lib/etcd
    etcd: /root/tools/etcd

- name: Be sure that it holds what the cluster holds
  ansible.builtin.assert:
    that:
      - snapshot.checks | selectattr('result', 'eq', 'passed') | map(attribute='name') is superset(['trailer', 'structure'])
      - snapshot.kubernetes.object_count > 0
"""

RETURN = r"""
plan:
  description: Where the snapshot comes from, and the room that it takes at the worst.
  type: dict
  returned: success
  contains:
    endpoint:
      description: The client URL of the source.
      type: str
      sample: https://127.0.0.1:2379
    member:
      description: ID (lower-case hex) and name of the source member.
      type: dict
      sample: {"id": "8e9e05c52164694d", "name": "cp1"}
    db_size_bytes:
      description: The member's database file.
      type: int
      sample: 20971520
    spool_dir:
      description: Where the stream would be spooled.
      type: str
      sample: /var/tmp
    spool_bytes:
      description: What the spool takes.
      type: int
      sample: 20971520
    spool_free_bytes:
      description: What is free there.
      type: int
      sample: 42949672960
    dest_dir:
      description: Where the sealed files go.
      type: str
      sample: /var/tmp/etcd-snapshot
    dest_bytes:
      description: What the sealed files take if nothing can be compressed.
      type: int
      sample: 25165824
    dest_free_bytes:
      description: What is free there.
      type: int
      sample: 42949672960
snapshot:
  description: The etcd snapshot itself.
  type: dict
  returned: success, not in check mode
  contains:
    revision:
      description: Its newest revision.
      type: int
      sample: 18274
    compact_revision:
      description: Up to where it is compacted, V(-1) for never.
      type: int
      sample: 17903
    hash_kv:
      description: HashKV at C(hash_revision), eight hex digits.
      type: str
      sample: 24f1f74c
    hash_revision:
      description: The revision of C(hash_kv).
      type: int
      sample: 18270
    hash_compact_revision:
      description: The compact revision of C(hash_kv).
      type: int
      sample: 17903
    status_hash:
      description: What C(etcdutl snapshot status) calls hash, eight hex digits.
      type: str
      sample: e7a6e44b
    db_size_bytes:
      description: The image, without the 32-byte trailer.
      type: int
      sample: 20971520
    sha256:
      description: Lower-case hex sha256 of the image, without the trailer.
      type: str
      sample: 5d41c3f7c0a5b1d6a2c8e0d1f40f6b2f5b3df2b6b7f5e2e8e3a2d1c0b9a88776
    key_count:
      description: Keys that exist at the newest revision, what C(snapshot status) of etcd 3.6 and later calls totalKey.
      type: int
      sample: 1034
    entry_count:
      description: Entries of all buckets, what C(snapshot status) up to etcd 3.5 calls totalKey.
      type: int
      sample: 1402
    consistent_index:
      description: The raft index that the image is applied up to.
      type: int
      sample: 20411
    term:
      description: The raft term, null before etcd 3.5.
      type: int
      sample: 4
    lease_count:
      description: How many leases it holds.
      type: int
      sample: 12
    linearizable_revision:
      description: The revision of a linearizable read before the stream began, null in an emergency.
      type: int
      sample: 18271
    source_member:
      description: ID and name of the member that it came from.
      type: dict
      sample: {"id": "8e9e05c52164694d", "name": "cp1"}
    auth_enabled:
      description: Whether etcd's own authentication is on in it.
      type: bool
      sample: false
etcd:
  description: Versions of server, cluster and storage; the latter two are null where etcd has none.
  type: dict
  returned: success, not in check mode
  sample: {"server_version": "3.6.16", "cluster_version": "3.6.0", "storage_version": "3.6.0"}
cluster_id:
  description: The etcd cluster's ID, lower-case hex.
  type: str
  returned: success
  sample: cdf818194e3a8c32
members:
  description: The members, as the snapshot holds them.
  type: list
  elements: dict
  returned: success, not in check mode
  sample: [{"id": "8e9e05c52164694d", "name": "cp1", "peer_urls": ["https://10.0.0.1:2380"], "client_urls": ["https://10.0.0.1:2379"], "is_learner": false}]
kubernetes:
  description: What Kubernetes keeps in it.
  type: dict
  returned: success, not in check mode
  contains:
    version:
      description: The API server's version as its manifest on this host says, else null.
      type: str
      sample: v1.34.4
    etcd_prefix:
      description: The API server's key prefix.
      type: str
      sample: /registry
    object_count:
      description: How many objects.
      type: int
      sample: 987
    resources:
      description: Objects per C(group/resource), or C(resource) for the core group.
      type: dict
      sample: {"apps/deployments": 41, "secrets": 63}
    secrets:
      description: Secrets per C(provider/key name) of the encryption at rest; C(identity) counts the clear ones.
      type: dict
      sample: {"aescbc/key1": 62, "identity": 1}
    encrypted:
      description: Encrypted objects of every resource per C(provider/key name).
      type: dict
      sample: {"aescbc/key1": 62}
    kube_system_uid:
      description: UID of namespace kube-system, which names the cluster; null if it can't be read.
      type: str
      sample: 0c2f2a0e-6d8c-4d55-9d6b-5f0c1a7a9f5e
files:
  description: The sealed files on the host.
  type: list
  elements: dict
  returned: success, not in check mode
  sample:
    - name: data.db.zst.age
      path: /var/tmp/etcd-snapshot/data.db.zst.age
      part: data
      size_bytes: 4194304
      sha256: f2059ef4cabfc3dc4910d5618e614d1b5ff7d934bd113fd33fd89832057d0258
      compression: zstd
      encryption:
        scheme: age
        recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
checks:
  description: What was looked at, each V(passed), V(not_comparable) or V(not_asked). A check that fails fails the module.
  type: list
  elements: dict
  returned: success, not in check mode
  sample: [{"name": "trailer", "result": "passed", "detail": "sha256 of the stream equals the one that etcd sent"}]
alarms:
  description: Alarms that are raised in the cluster. With NOSPACE a backup still succeeds.
  type: list
  elements: str
  returned: success
  sample: ["NOSPACE on 8e9e05c52164694d"]
mode:
  description: V(regular), or V(emergency) for one member's state without quorum.
  type: str
  returned: success
  sample: regular
timing:
  description:
    - Seconds that the steps took, one after the other. The image is sealed beside stream and checks; C(seal_seconds) is what
      was left of it after them.
  type: dict
  returned: success, not in check mode
  sample: {"stream_seconds": 0.4, "verify_seconds": 0.2, "seal_seconds": 0.1}
started_at:
  description: When it began, by the host's clock.
  type: str
  returned: success, not in check mode
  sample: "2026-11-23T14:50:02Z"
finished_at:
  description: When it ended, by the host's clock.
  type: str
  returned: success, not in check mode
  sample: "2026-11-23T14:50:03Z"
error:
  description: What failed, with a stable C(kind) to branch on.
  type: dict
  returned: failure
  sample: {"kind": "snapshot_invalid"}
"""

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import (
    recipients_of,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._argspec import (
    duration,
    hex_number,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._argspec_member import (
    CONNECTION,
    LAYOUT,
    connection_for,
    connection_from_params,
    find_layout,
    layout_from_params,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._module import Call, Outcome, run
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot import alone, live
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.record import (
    planned,
    record,
)

ARGUMENT_SPEC: dict[str, t.Any] = {
    **CONNECTION,
    **LAYOUT,
    "dest_dir": {"type": "path", "required": True},
    "recipients": {"type": "list", "elements": "str", "default": []},
    "allow_unsealed": {"type": "bool", "default": False},
    "spool_dir": {"type": "path", "default": "/var/tmp"},
    "hash_revision": {"type": "int"},
    "hash_compact_revision": {"type": "int"},
    "hash_kv": {"type": "str"},
    "emergency": {"type": "bool", "default": False},
    "emergency_source": {
        "type": "str",
        "default": "member",
        "choices": ["member", "data_dir"],
    },
    "etcd": {"type": "path"},
    "stream_idle_timeout": {"type": "str", "default": "30s"},
    "stream_timeout": {"type": "str", "default": "30m"},
    "lock_timeout": {"type": "str", "default": "0s"},
    "etcd_prefix": {"type": "str"},
}
NEEDS = ("etcd3", "grpc", "google_crc32c", "pyrage", "zstandard", "yaml", "cryptography")


def snapshot(call: Call) -> Outcome:
    """Look, and unless in check mode take the snapshot."""
    params = call.params
    dead = alone.dead_member(params)
    options = connection_from_params(params)
    layout = None if dead and dead.data_dir else find_layout(layout_from_params(params), options)
    recipients = recipients_of(
        "data", params["recipients"], allow_unsealed=params["allow_unsealed"]
    )
    places = live.Places(
        spool_dir=params["spool_dir"],
        dest_dir=params["dest_dir"],
        data_dir=layout.data_dir if layout else params["data_dir"],
    )
    wish = live.Wish(
        agreed=live.Agreed(
            hash_revision=params["hash_revision"],
            hash_compact_revision=params["hash_compact_revision"],
            hash_kv=hex_number(params, "hash_kv"),
        ),
        limits=live.Limits(
            stream_idle=duration(params, "stream_idle_timeout"),
            stream=duration(params, "stream_timeout"),
            lock=duration(params, "lock_timeout"),
        ),
        recipients=recipients,
        etcd_prefix=params["etcd_prefix"] or (layout.etcd_prefix if layout else "/registry"),
        kubernetes_version=layout.kubernetes_version if layout else None,
        emergency=params["emergency"],
    )
    with alone.reached(connection_for(options, layout), dead, layout, places.spool_dir) as at:
        source, plan = live.look(at, places)
        result = planned(source, plan, emergency=wish.emergency)
        if not call.check_mode:
            started_at = _time.rfc3339(_time.now())
            taken = live.take(at, source, places, wish)
            result.update(record(source, taken, wish))
            result.update(started_at=started_at, finished_at=_time.rfc3339(_time.now()))
    warnings = [f"Alarm {alarm} is raised in etcd; mend it." for alarm in result["alarms"]]
    return Outcome(result, changed=True, warnings=warnings)


def main() -> None:
    """Run the module."""
    run(ARGUMENT_SPEC, snapshot, needs=NEEDS)


if __name__ == "__main__":
    main()
