#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_restore
short_description: Make a member's data folder from a snapshot, and swap it in by rename
description:
  - Restores a snapshot through etcd's own tool (etcdutl, for 3.4 etcdctl) beside the live data of one member, swaps it in by
    rename once its etcd is stopped, and keeps the old data until that is committed. One member on one host. It neither stops nor
    starts an etcd, and all members of a cluster must be restored from the same snapshot.
  - How far it got is journaled on disk. Killed at any step, the same state asked for again finishes it, or says what is in
    the way.
  - Nothing is changed where it refuses - a snapshot that is damaged, of another cluster or of another minor, no room, a folder
    that is in the way or that a process holds.
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane)
options:
  state:
    description:
      - V(staged) restores O(snapshot) beside the live data, on the same file system, while its etcd may run.
      - V(swapped) renames the live data to C(….before-ID), and what is staged into its place. Refused while any process holds
        the folder.
      - V(rolled_back) puts the old data back and removes what was restored. Data that an etcd has written to since the swap is
        kept as C(….undone-ID). What no restore has touched is left as it is.
      - V(committed) removes the old data. There is no way back then.
    type: str
    choices: [staged, swapped, rolled_back, committed]
    default: staged
  id:
    description:
      - The restore's ID, part of the names of its folders. The same on all hosts of a restore, another one for another restore.
      - If omitted, the restore that is under way is meant, and for V(staged) where there is none, a new ID is made.
    type: str
  data_dir:
    description:
      - etcd's C(--data-dir) on this host. Links are followed. Where it is a mount point, or holds more than C(member/), that
        is swapped inside of it. It may be absent or empty.
    type: path
    required: true
  wal_dir:
    description:
      - etcd's C(--wal-dir), if it has one. Where it is a mount point, its files are swapped inside of it.
    type: path
  snapshot:
    description:
      - The snapshot on this host. Plain, compressed with zstd, or sealed with age, as its content says. Needed for V(staged).
    type: path
  skip_hash_check:
    description:
      - Whether a file without a valid sha256 behind its image is taken all the same, such as a db file copied out of a data
        folder. Its structure must hold.
    type: bool
    default: false
  sha256:
    description:
      - The sha256 that the image must have, without the 32 bytes behind it, as the archive's manifest has it.
    type: str
  kube_system_uid:
    description:
      - UID of the namespace kube-system that the snapshot must hold. Another cluster's snapshot is refused so.
    type: str
  etcd_prefix:
    description:
      - The key prefix of the API server, its C(--etcd-prefix).
    type: str
    default: /registry
  etcd_version:
    description:
      - Version, or minor, of the etcd that will serve the data. The tool must be of that minor. If omitted, that of the
        snapshot.
    type: str
  etcdutl:
    description:
      - The tool, C(etcdutl) or for etcd 3.4 C(etcdctl). If omitted, the one on the host's C(PATH).
    type: path
  name:
    description:
      - etcd's C(--name) on this host. Needed for V(staged).
    type: str
  initial_cluster:
    description:
      - All members of the restored cluster, as C(NAME=PEER_URL), separated by commas. Needed for V(staged).
    type: str
  initial_advertise_peer_urls:
    description:
      - This member's peer URLs, separated by commas. If omitted, those that O(initial_cluster) has for O(name).
    type: str
  initial_cluster_token:
    description:
      - A token that no cluster with these URLs has used, the same for all members. If omitted, made of O(id).
    type: str
  bump_revision:
    description:
      - How far the revision is raised, a number or V(auto). Without, clients that watched the old history, the API server's among
        them, take the restored one for it and miss changes. If omitted, the revision is not raised.
      - V(auto) is max(10^9, O(known_revision) - the snapshot's revision + O(revision_rate) * seconds since O(taken_at) * 10);
        what is not given counts as 0.
    type: str
  known_revision:
    description:
      - The newest revision that any member is known to have had, for V(auto).
    type: int
  revision_rate:
    description:
      - Revisions a second that the cluster wrote, for V(auto). Needs O(taken_at).
    type: float
  taken_at:
    description:
      - When the snapshot was taken, for V(auto), as in V(2026-11-23T14:50:00Z).
    type: str
  mark_compacted:
    description:
      - Whether all revisions up to the raised one count as compacted, so that every watch is told to list anew. etcd wants both
        or neither, so this is what O(bump_revision) makes it if omitted.
    type: bool
  owner:
    description:
      - User who owns the new data where there is no old data to take it from. If omitted, this module's.
    type: str
  group:
    description:
      - Group of it. If omitted, this module's.
    type: str
  timeout:
    description:
      - How long etcd's tool may take.
    type: str
    default: 30m
  lock_timeout:
    description:
      - How long to wait for another run of this module on the same folder.
    type: str
    default: 0s
  journal_dir:
    description:
      - Folder for the journal, which outlives a boot. This user's own.
    type: path
    default: /var/lib/controlplane.etcd
extends_documentation_fragment:
  - controlplane.etcd._identity
  - controlplane.etcd._attributes
attributes:
  check_mode:
    support: full
    details: Reads and checks the snapshot too, and tells plan, space and time.
  diff_mode:
    support: full
  idempotent:
    support: full
    details: With the same O(id), or while one restore is under way. V(staged) without O(id) after a finished restore begins a new one.
seealso:
  - module: controlplane.etcd.etcd_snapshot_info
"""

EXAMPLES = r"""
- name: Make the data of this member beside the live one
  controlplane.etcd.etcd_restore:
    id: 20261124T083000Z-1f6c2b7e
    snapshot: /root/restore/snapshot.db
    sha256: 5d41c3f7c0a5b1d6a2c8e0d1f40f6b2f5b3df2b6b7f5e2e8e3a2d1c0b9a88776
    data_dir: /var/lib/etcd
    name: cp1
    initial_cluster: cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380,cp3=https://10.0.0.3:2380
    bump_revision: auto
    etcdutl: /root/restore/etcdutl
  register: staged

- name: Have room for it
  ansible.builtin.assert:
    that: staged.folders | selectattr('exists') | length == 2

- name: Swap it in, with API servers and etcds stopped on all hosts
  controlplane.etcd.etcd_restore:
    state: swapped
    data_dir: /var/lib/etcd

- name: Go back to what was there
  controlplane.etcd.etcd_restore:
    state: rolled_back
    data_dir: /var/lib/etcd

- name: Remove what was there, once the cluster is well
  controlplane.etcd.etcd_restore:
    state: committed
    id: 20261124T083000Z-1f6c2b7e
    data_dir: /var/lib/etcd
"""

RETURN = r"""
id:
  description: The restore's ID, null where there is none.
  type: str
  returned: success
  sample: 20261124T083000Z-1f6c2b7e
state:
  description:
    - How far the restore is now, or would be without check mode. Beside the states that can be asked for, V(none), and those
      that were broken off, V(staging), V(swapping), V(rolling_back) and V(committing).
  type: str
  returned: success
  sample: staged
previous_state:
  description: How far it was before.
  type: str
  returned: success
  sample: none
folders:
  description: What lies where then, and whether there is something now.
  type: list
  elements: dict
  returned: success
  sample: [{"path": "/var/lib/etcd", "holds": "what was there", "exists": true}]
restored:
  description: What is restored; null where nothing is.
  type: dict
  returned: success
  contains:
    name:
      description: The member.
      type: str
      sample: cp1
    member_id:
      description: Its ID.
      type: str
      sample: 8e9e05c52164694d
    cluster_id:
      description: The restored cluster's ID, a new one.
      type: str
      sample: cdf818194e3a8c32
    initial_cluster_token:
      description: What its IDs are made of, with the URLs. For all members the same.
      type: str
      sample: controlplane-etcd-20261124T083000Z-1f6c2b7e
    members:
      description: All members of the restored cluster.
      type: list
      elements: dict
      sample: [{"id": "8e9e05c52164694d", "name": "cp1", "peer_urls": ["https://10.0.0.1:2380"]}]
    snapshot_sha256:
      description: Lower-case hex sha256 of the image, without the trailer.
      type: str
      sample: 5d41c3f7c0a5b1d6a2c8e0d1f40f6b2f5b3df2b6b7f5e2e8e3a2d1c0b9a88776
    snapshot_revision:
      description: The snapshot's newest revision.
      type: int
      sample: 18274
    revision:
      description: The revision that the restored etcd begins with.
      type: int
      sample: 1000018274
    bump_revision:
      description: How far it is raised.
      type: int
      sample: 1000000000
    mark_compacted:
      description: Whether what was before counts as compacted.
      type: bool
      sample: true
    key_count:
      description: Keys that exist.
      type: int
      sample: 1034
    db_size_bytes:
      description: The image, without the trailer.
      type: int
      sample: 20971520
    kube_system_uid:
      description: UID of namespace kube-system, null if there is none.
      type: str
      sample: 0c2f2a0e-6d8c-4d55-9d6b-5f0c1a7a9f5e
    etcd_minor:
      description: The minor of the etcd that may serve it.
      type: str
      sample: "3.6"
    tool_version:
      description: The version of the tool that made it.
      type: str
      sample: 3.6.16
kept:
  description: Folders that V(rolled_back) kept, as an etcd had written to them. Remove them when they are no longer needed.
  type: list
  elements: str
  returned: success
  sample: []
journal:
  description: The journal on this host; C(generation) is 0 and the rest null where there is none.
  type: dict
  returned: success
  sample:
    path: /var/lib/controlplane.etcd/restore-var-lib-etcd-0c1d2e3f.json
    generation: 2
    owner: root on cp1, pid 4711
    started_at: "2026-11-24T08:30:00Z"
    written_at: "2026-11-24T08:30:07Z"
plan:
  description: What is, or would be, done, with the room and time that it takes.
  type: dict
  returned: if O(state) is V(staged) and it was not staged
  contains:
    steps:
      description: The steps of this state, and of those to come.
      type: list
      elements: str
      sample: ["staged: restore into /var/lib/etcd.restore-20261124T083000Z-1f6c2b7e at revision 18274"]
    space:
      description: Room on the file systems that are written to.
      type: list
      elements: dict
      sample: [{"path": "/var/lib", "needed_bytes": 155189248, "reserve_bytes": 536870912, "free_bytes": 21474836480}]
    seconds:
      description: An estimate of how long staging takes. Swapping is a rename.
      type: int
      sample: 2
    basis:
      description: What that rests on.
      type: str
      sample: reading and checking its 20971520 bytes took 0.4 s just now; writing them is reckoned at 100 MB/s
error:
  description: What failed, for C(rescue) to branch on. C(kind) is stable.
  type: dict
  returned: failure
  sample:
    kind: restore_refused
    message: /var/lib/etcd can't be swapped while it is held by etcd (pid 4711, has files of it open).
    hint: "Stop that etcd first (a static pod: move its manifest away and wait until its process is gone), and leave the folder."
    endpoint: null
    path: /var/lib/etcd
"""

import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _argspec, _module, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._restore import (
    bump,
    options,
    report,
    run,
    states,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.opened import Keys

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "state": {
        "type": "str",
        "choices": ["staged", "swapped", "rolled_back", "committed"],
        "default": "staged",
    },
    "id": {"type": "str"},
    "data_dir": {"type": "path", "required": True},
    "wal_dir": {"type": "path"},
    "snapshot": {"type": "path"},
    "skip_hash_check": {"type": "bool", "default": False},
    "sha256": {"type": "str"},
    "kube_system_uid": {"type": "str"},
    "etcd_prefix": {"type": "str", "default": "/registry"},
    "etcd_version": {"type": "str"},
    "etcdutl": {"type": "path"},
    "name": {"type": "str"},
    "initial_cluster": {"type": "str"},
    "initial_advertise_peer_urls": {"type": "str"},
    "initial_cluster_token": {"type": "str", "no_log": False},
    "bump_revision": {"type": "str"},
    "known_revision": {"type": "int"},
    "revision_rate": {"type": "float"},
    "taken_at": {"type": "str"},
    "mark_compacted": {"type": "bool"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "timeout": {"type": "str", "default": "30m"},
    "lock_timeout": {"type": "str", "default": "0s"},
    "journal_dir": {"type": "path", "default": "/var/lib/controlplane.etcd"},
    **_argspec.IDENTITY,
}

# What an option must look like, whole.
_SHAPES = {
    "id": (re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"), "letters, digits, dots and dashes"),
    "sha256": (re.compile(r"[0-9A-Fa-f]{64}"), "64 hex digits"),
    "etcd_version": (re.compile(r"\d+\.\d+(\.[\w.+-]+)?"), "a version such as 3.6 or 3.6.16"),
    "name": (re.compile(r"[^\s,=]+"), "a name without spaces, commas and equals signs"),
}
_CORRECT = "Correct the option."

# Options that are handed on as they are.
_PLAIN = (
    ["id", "data_dir", "wal_dir", "snapshot", "skip_hash_check", "sha256", "kube_system_uid"]
    + ["etcd_prefix", "etcd_version", "etcdutl", "name", "initial_cluster", "owner", "group"]
    + ["initial_advertise_peer_urls", "initial_cluster_token"]
)


def restore(call: _module.Call) -> _module.Outcome:
    """Bring the member's folders into the wished state."""
    params = call.params
    for name, (shape, words) in _SHAPES.items():
        if params[name] is not None and not shape.fullmatch(params[name]):
            raise OptionInvalid(f"Option {name}: {params[name]!r} is not {words}.", hint=_CORRECT)
    found = run.run(
        options.Options(
            state=states.Wished(params["state"]),
            keys=Keys(tuple(params["identities"]), params["spool_dir"]),
            bump=_bump(params),
            timeout=_argspec.duration(params, "timeout"),
            lock_timeout=_argspec.duration(params, "lock_timeout"),
            journal_dir=params["journal_dir"],
            **{name: params[name] for name in _PLAIN},
        ),
        check=call.check_mode,
    )
    return _module.Outcome(
        result=report.to_result(found),
        changed=found.changed,
        warnings=found.warnings,
        diff=report.difference(found),
    )


def _bump(params: t.Mapping[str, t.Any]) -> bump.BumpWish | None:
    wanted = bump.parse_bump(params["bump_revision"], params["mark_compacted"])
    if wanted is None:
        return None
    try:
        taken_at = _time.parse_rfc3339(params["taken_at"]) if params["taken_at"] else None
    except ValueError as exc:
        raise OptionInvalid(f"Option taken_at: {exc}.", hint=_CORRECT) from exc
    return bump.BumpWish(
        fixed=None if wanted is True else int(wanted),
        known_revision=params["known_revision"],
        revision_rate=params["revision_rate"] or 0.0,
        taken_at=taken_at,
    )


def main() -> None:
    """Run as a module."""
    _module.run(
        ARGUMENT_SPEC,
        restore,
        needs=lambda params: ["google_crc32c"] if params["state"] == "staged" else [],
        required_by={"revision_rate": ["taken_at"]},
    )


if __name__ == "__main__":
    main()
