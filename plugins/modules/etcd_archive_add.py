#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_archive_add
short_description: Add a signed entry to an archive of etcd backups
description:
  - Turns what the hosts of a cluster made (a snapshot of M(controlplane.etcd.etcd_snapshot), kits of
    M(controlplane.etcd.etcd_kit)) into one entry of an archive. Runs on the controller, twice a backup.
  - O(state=started) makes a hidden folder that M(controlplane.etcd.etcd_fetch) brings the files to. O(state=present)
    checks their sizes and sha256 against what the hosts recorded, compares the cluster with the one that the archive
    knows under its name, merges the records into a manifest, signs it, writes C(RESTORE.txt), and gives the entry its
    name, last.
  - Whatever fails or is killed on the way, no entry is there. What a dead run left is removed by the next one.
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane)
options:
  etcd_cluster:
    required: true
  etcd_instance:
    default: main
  state:
    description:
      - V(started) begins an entry and returns its RV(id) and RV(path).
      - V(present) finishes the entry O(id).
      - V(absent) drops the entry O(id) if it was started and not finished; finished entries stay.
    type: str
    choices: [started, present, absent]
    default: present
  id:
    description:
      - The entry, as O(state=started) returned it. Required with the other states.
    type: str
  snapshot:
    description:
      - The result of M(controlplane.etcd.etcd_snapshot). Required with O(state=present).
    type: dict
  info:
    description:
      - The result of M(controlplane.etcd.etcd_info) on the snapshot's source, for the members of the cluster.
      - If omitted, the members as the snapshot holds them.
    type: dict
    default: {}
  hosts:
    description:
      - The cluster's hosts, so that the entry says which member lived where.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: The inventory's name of the host.
        type: str
        required: true
      info:
        description: The result of M(controlplane.etcd.etcd_info) on this host. One that failed is no use and no harm.
        type: dict
        default: {}
      address:
        description: The host's address, if it is known.
        type: str
      clock_skew_seconds:
        description: How far the host's clock is ahead of the controller's, if it was measured.
        type: int
  kits:
    description:
      - The kits, one per host.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: The inventory's name of the host.
        type: str
        required: true
      member_id:
        description: ID of the member that lives on the host, lower-case hex.
        type: str
      result:
        description: The result of M(controlplane.etcd.etcd_kit) on this host.
        type: dict
        required: true
  missing_hosts:
    description:
      - Hosts of the cluster that could not be reached. The entry says so.
    type: list
    elements: str
    default: []
  election:
    description:
      - What the filter P(controlplane.etcd.elect#filter) returned, so that the entry says how the members' hashes compared.
    type: dict
    default: {}
  tools:
    description:
      - etcd's own programs, and kube-apiserver, as the cluster runs them. The archive keeps each version once.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the program.
        type: str
        choices: [etcd, etcdctl, etcdutl, kube-apiserver]
        required: true
      version:
        description: Its version.
        type: str
        required: true
      platform:
        description: What it runs on.
        type: str
        default: linux-amd64
      path:
        description:
          - File on the controller to copy, such as one in RV(incoming).
          - If omitted, the archive has it already.
        type: path
      sha256:
        description: Its sha256 on the host that it came from.
        type: str
  wheelhouse:
    description:
      - Files of the Python wheelhouse that the hosts' environment was installed from. The archive keeps each once.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the file.
        type: str
        required: true
      path:
        description:
          - File on the controller to copy.
          - If omitted, the archive has it already.
        type: path
      sha256:
        description: Its sha256.
        type: str
  allow_unsealed:
    description:
      - Whether files may lie in the archive that are not encrypted. Otherwise they are refused.
    type: bool
    default: false
extends_documentation_fragment:
  - controlplane.etcd._archive
  - controlplane.etcd._attributes
  - controlplane.etcd._attributes.controller
attributes:
  check_mode:
    support: partial
    details:
      - With O(state=started) everything but the folder is real, the trial signature too. With O(state=present) nothing is
        checked that would need the files.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - O(state=present) and O(state=absent) are. Each O(state=started) begins another entry.
"""

EXAMPLES = r"""
- name: Begin an entry
  controlplane.etcd.etcd_archive_add:
    state: started
    archive: /srv/etcd-archive
    etcd_cluster: prod
    signing_key: /etc/etcd-backup/signing_key
  delegate_to: localhost
  register: started

- name: Bring the snapshot's files there
  controlplane.etcd.etcd_fetch:
    src: "{{ item.path }}"
    dest: "{{ started.path }}/{{ item.name }}"
    sha256: "{{ item.sha256 }}"
  loop: "{{ snapshot.files }}"

- name: Finish it
  controlplane.etcd.etcd_archive_add:
    archive: /srv/etcd-archive
    etcd_cluster: prod
    signing_key: /etc/etcd-backup/signing_key
    id: "{{ started.id }}"
    snapshot: "{{ snapshot }}"
    info: "{{ info }}"
    kits:
      - host: cp1
        member_id: "{{ info.local_member.id }}"
        result: "{{ kit }}"
  delegate_to: localhost
  register: added

- name: Have it trusted
  ansible.builtin.assert:
    that: added.entry.verified
"""

RETURN = r"""
id:
  description: The entry.
  type: str
  returned: success
  sample: 20261123T145000Z-7c9e1a2b
path:
  description: Its folder on the controller; hidden until it is finished.
  type: str
  returned: success
  sample: /srv/etcd-archive/prod/20261123T145000Z-7c9e1a2b
incoming:
  description: Folder beside the entry's files for what goes elsewhere, like tools. It goes with the part.
  type: str
  returned: success and O(state=started)
  sample: /srv/etcd-archive/prod/.20261123T145000Z-7c9e1a2b.part/.incoming
owner_label:
  description:
    - Names the runs of this machine for this cluster of the archive, in every run alike. What such a run left elsewhere, under a name
      with this label and the ID of an entry that is not in RV(parts), is nobody's any more.
  type: str
  returned: success and O(state=started)
  sample: 3f1c9a02
parts:
  description: Entries that are being built now, with this one.
  type: list
  elements: str
  returned: success and O(state=started)
  sample: [20261123T145000Z-7c9e1a2b]
abandoned_before:
  description: What entries whose ID sorts before this left elsewhere is nobody's any more, whoever built them.
  type: str
  returned: success and O(state=started)
  sample: 20261122T145000Z
removed_parts:
  description: Entries that dead runs had started, removed now (in check mode, that would be).
  type: list
  elements: str
  returned: success and O(state=started)
  sample: []
tools_missing:
  description: Which of O(tools) the archive does not have, by name.
  type: list
  elements: str
  returned: success and O(state=started)
  sample: [etcd, etcdutl]
wheelhouse_missing:
  description: Which of O(wheelhouse) the archive does not have, by name.
  type: list
  elements: str
  returned: success and O(state=started)
  sample: []
entry:
  description: The entry, as M(controlplane.etcd.etcd_archive_info) returns it in RV(controlplane.etcd.etcd_archive_info#module:entries).
  type: dict
  returned: success and O(state=present), not in check mode
  sample: {"id": "20261123T145000Z-7c9e1a2b", "etcd_cluster": "prod", "trust": "trusted", "verified": true, "revision": 18274}
trust:
  description: How far the entry can be trusted.
  type: str
  returned: success and O(state=present), not in check mode
  sample: trusted
identity_record:
  description: Name of the identity record that was written, null where the archive knew the cluster already.
  type: str
  returned: success and O(state=present), not in check mode
  sample: identity/20261123T145003Z-1b2c3d4e.json
error:
  description: What failed, with a stable C(kind) to branch on.
  type: dict
  returned: failure
  sample: {"kind": "identity_mismatch"}
"""

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _argspec, _module, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    add,
    names,
    shared,
    store,
    trust,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.assemble import Records
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.summary import summary

_TEXT = {"type": "str"}
_NAME = {"type": "str", "required": True}
_PATH = {"type": "path"}
_RECORD = {"type": "dict", "default": {}}
_LIST = {"type": "list", "elements": "dict", "default": []}
_HOST = {"host": _NAME, "info": _RECORD, "address": _TEXT, "clock_skew_seconds": {"type": "int"}}
_KIT = {"host": _NAME, "member_id": _TEXT, "result": {"type": "dict", "required": True}}
_FILE = {"name": _NAME, "path": _PATH, "sha256": _TEXT}
_TOOL = {
    **_FILE,
    "name": {**_NAME, "choices": ["etcd", "etcdctl", "etcdutl", "kube-apiserver"]},
    "version": _NAME,
    "platform": {"type": "str", "default": "linux-amd64"},
}

ARGUMENT_SPEC: dict[str, t.Any] = {
    **_argspec.ARCHIVE,
    "etcd_cluster": _NAME,
    "etcd_instance": {"type": "str", "default": names.MAIN},
    "state": {"type": "str", "choices": ["started", "present", "absent"], "default": "present"},
    "id": _TEXT,
    "snapshot": {"type": "dict"},
    "info": _RECORD,
    "hosts": {**_LIST, "options": _HOST},
    "kits": {**_LIST, "options": _KIT},
    "missing_hosts": {"type": "list", "elements": "str", "default": []},
    "election": _RECORD,
    "tools": {**_LIST, "options": _TOOL},
    "wheelhouse": {**_LIST, "options": _FILE},
    "allow_unsealed": {"type": "bool", "default": False},
}


def action(call: _module.Call) -> _module.Outcome:
    """Start, finish or drop an entry."""
    params = call.params
    place = store.open_store(params["archive"])
    prefix = names.Prefix(params["etcd_cluster"], params["etcd_instance"])
    if params["state"] == "absent":
        part = place.part_path(prefix, params["id"])
        there = place.has_part(prefix, params["id"])
        if there and not call.check_mode:
            place.drop(prefix, params["id"])
        return _module.Outcome({"id": params["id"], "path": part}, changed=there)
    signing = trust.signing_from_key(params["signing_key"])
    wish = add.Wish(
        place=place,
        prefix=prefix,
        signing=signing,
        signers=trust.Signers.parse(params["allowed_signers"], default=signing.public_key),
        allow_unsealed=params["allow_unsealed"],
        tools=tuple(map(shared.Given.tool, params["tools"])),
        wheelhouse=tuple(map(shared.Given.wheel_file, params["wheelhouse"])),
    )
    if params["state"] == "started":
        started = add.start(wish, now=_time.now(), really=not call.check_mode)
        result = {name: value for name, value in vars(started).items() if name != "warnings"}
        return _module.Outcome(result, changed=True, warnings=started.warnings)
    return _present(call, wish)


def _present(call: _module.Call, wish: add.Wish) -> _module.Outcome:
    entry = call.params["id"]
    result: dict[str, t.Any] = {"id": entry, "path": wish.place.path(wish.prefix, entry)}
    before = add.read_back(wish, entry)
    if before is not None:
        return _module.Outcome(
            {**result, "entry": summary(before), "trust": before.trust, "identity_record": None}
        )
    if call.check_mode:
        return _module.Outcome(result, changed=True)
    records = Records(
        snapshot=call.params["snapshot"],
        info=call.params["info"],
        hosts=tuple(call.params["hosts"]),
        kits=tuple(call.params["kits"]),
        missing_hosts=tuple(call.params["missing_hosts"]),
        election=call.params["election"],
    )
    finished = add.finish(wish, entry, records, now=_time.now())
    result["entry"], result["trust"] = summary(finished.entry), finished.entry.trust
    result["identity_record"] = finished.identity_record
    return _module.Outcome(result, changed=True, warnings=finished.warnings)


def main() -> None:
    """Run the module."""
    _module.run(
        ARGUMENT_SPEC,
        action,
        needs=["jsonschema"],
        required_if=[
            ("state", "started", ["signing_key"]),
            ("state", "present", ["id", "snapshot", "signing_key"]),
            ("state", "absent", ["id"]),
        ],
    )


if __name__ == "__main__":
    main()
