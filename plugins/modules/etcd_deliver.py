#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_deliver
short_description: Deliver an entry of an archive to a host, sealed to a key of that host's own
description:
  - Chooses an entry of the archive on the controller, and looks at its signature, its manifest, its place and the sha256 of
    each file that is delivered, in that order, before a byte of them is used.
  - The host makes a key pair for this one delivery. On the controller each file is opened and sealed to that key in one stream.
    Identities never leave the controller, and no clear byte of the archive reaches a disk, there or here.
  - On the host the files lie sealed in a folder of their own, for the module's user alone, and the key to them lies in C(/run),
    which is memory. RV(identity) opens them.
  - Leavings on the host of runs of this controller that are over, and of anybody after a day, are removed first. There is a
    warning about what can't be removed.
  - The entry is in use from then on, so that no rotation takes it away while somebody restores from it, until
    M(controlplane.etcd.etcd_drill) keeps the proof, or O(state=absent) is told its O(archive) and O(etcd_cluster). In any case
    that ends with the run of C(ansible-playbook), and where that cannot be seen from the rotation's machine, after a day.
  - Over ssh the transfer has a connection of its own without compression. While it lasts, its progress is shown every ten
    seconds.
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane)
options:
  state:
    description:
      - V(present) makes a new delivery.
      - V(absent) removes O(delivery) from the host, with its key. With O(archive) and O(etcd_cluster), the entry is no longer in
        use for it.
    type: str
    choices: [present, absent]
    default: present
  archive:
    description:
      - The archive, as an absolute path of a directory on the controller. Needed with O(state=present).
    required: false
  etcd_cluster:
    description:
      - Name of the cluster, which names its folder in the archive. Needed with O(state=present).
  id:
    description:
      - V(latest) for the newest usable entry (trusted, its checks passed, no emergency), an entry's ID, or V(unproven) for the
        oldest usable entry that no trusted proof is about; where each has one, that whose newest proof is the oldest.
    type: str
    default: latest
  before:
    description:
      - With O(id=latest), only an entry that was started before this time, in RFC 3339, as in V(2026-11-23T14:50:00Z).
    type: str
  spool_dir:
    description:
      - Folder on the controller for one file at a time on its way, sealed to the host. It lies there without a name, mode 0600.
  parts:
    description:
      - What is delivered of the entry. V(encryption) is left out where the cluster has no encryption at rest.
    type: list
    elements: str
    choices: [data, encryption, pki]
    default: [data]
  host:
    description:
      - With V(pki) in O(parts), whose kit is delivered, by its name in the archived inventory. If omitted, all kits.
    type: str
  tools:
    description:
      - Programs that are delivered as the archived cluster ran them, for the host's platform. V(etcdutl) stands for the one that
        restores, which is etcdctl before etcd 3.5.
    type: list
    elements: str
    choices: [etcd, etcdutl, etcdctl, kube-apiserver]
    default: []
  dest_dir:
    description:
      - Folder on the host in which the delivery's folder is made.
    type: path
    default: /var/tmp
  delivery:
    description:
      - With O(state=absent), the delivery that is removed, as RV(delivery) named it.
    type: path
  step:
    description: Used by the action plugin itself, for what it wants to be done on the host.
    type: str
    choices: [look, begin, place, slice]
  request:
    description: Used by the action plugin itself, for what goes with O(step).
    type: dict
    default: {}
  content:
    description: Used by the action plugin itself, for bytes of files.
    type: str
extends_documentation_fragment:
  - controlplane.etcd._archive
  - controlplane.etcd._identity
  - controlplane.etcd._attributes
attributes:
  check_mode:
    support: full
    details: The entry is chosen and its files are read in full; what would be delivered, and the room for it, is told.
  diff_mode:
    support: none
    details: What is delivered is never shown.
  idempotent:
    support: partial
    details: Each delivery is a new one, with a key of its own. Removing one is idempotent.
  platform:
    support: full
"""

EXAMPLES = r"""
- name: Deliver the newest usable entry to a scratch node
  controlplane.etcd.etcd_deliver:
    archive: /srv/etcd-archive
    etcd_cluster: prod
    allowed_signers: /etc/etcd-backup/signing_key.pub
    identities: /root/etcd-identity
    parts: [data, encryption]
    tools: [etcd, etcdutl]
  become: true
  register: delivered

- name: Have the entry of last night
  ansible.builtin.assert:
    that: delivered.entry.created_at > '2026-11-22T20:00:00Z'

- name: Remove the delivery and its key, and let rotations have the entry again
  controlplane.etcd.etcd_deliver:
    state: absent
    archive: /srv/etcd-archive
    etcd_cluster: prod
    delivery: "{{ delivered.delivery }}"
  become: true
"""

RETURN = r"""
delivery:
  description: The folder on the host.
  type: str
  returned: success, not in check mode with O(state=present)
  sample: /var/tmp/controlplane-etcd-delivery-20261123T145000Z-7c9e1a2b-3f1c9a02-5d41c3f7
identity:
  description: The file on the host with the private key that opens the delivered files, in the format of age.
  type: str
  returned: success and O(state=present), not in check mode
  sample: /run/controlplane-etcd/controlplane-etcd-delivery-20261123T145000Z-7c9e1a2b-3f1c9a02-5d41c3f7.key
entry:
  description:
    - The entry, as M(controlplane.etcd.etcd_archive_info) returns it in RV(controlplane.etcd.etcd_archive_info#module:entries).
    - A failed delivery tells it, too, where the entry's manifest can be trusted.
  type: dict
  returned: O(state=present), once the entry is chosen
  sample: {"id": "20261123T145000Z-7c9e1a2b", "etcd_cluster": "prod", "etcd_version": "3.6.16", "revision": 18274}
files:
  description: The sealed files in RV(delivery); in check mode those that would be, with the size that they have in the archive.
  type: list
  elements: dict
  returned: success and O(state=present)
  contains:
    name:
      description: Its name below RV(delivery).
      type: str
      sample: data.db.zst.age
    part:
      description: The part of the entry that it belongs to.
      type: str
      sample: data
    host:
      description: The host whose kit it is. Null for other parts.
      type: str
      sample: null
    size_bytes:
      description: Its size.
      type: int
      sample: 8388608
tools:
  description: The programs in RV(delivery).
  type: list
  elements: dict
  returned: success and O(state=present)
  contains:
    name:
      description: What it is.
      type: str
      sample: etcdutl
    path:
      description: Its name below RV(delivery).
      type: str
      sample: tools/etcdutl
    version:
      description: Its version.
      type: str
      sample: 3.6.16
    sha256:
      description: Its sha256, as in the signed manifest.
      type: str
      sample: 5d41c3f7c0a5b1d6a2c8e0d1f40f6b2f5b3df2b6b7f5e2e8e3a2d1c0b9a88776
    size_bytes:
      description: Its size.
      type: int
      sample: 25485496
plan:
  description: What the delivery takes.
  type: dict
  returned: success and O(state=present)
  contains:
    platform:
      description: What programs run on the host, in Go's words.
      type: str
      sample: linux-amd64
    dest_dir:
      description: The folder on the host.
      type: str
      sample: /var/tmp
    needed_bytes:
      description: What is needed there at most.
      type: int
      sample: 33882624
    free_bytes:
      description: What is free there.
      type: int
      sample: 21474836480
    spool_dir:
      description: The folder on the controller.
      type: str
      sample: /var/tmp
    spool_needed_bytes:
      description: What is needed there at most, for a while.
      type: int
      sample: 8394752
    spool_free_bytes:
      description: What is free there.
      type: int
      sample: 21474836480
    removed:
      description: What earlier runs left on the host, removed now (in check mode, that would be).
      type: list
      elements: str
      sample: []
seconds:
  description: How long sealing and transfer took; 0 in check mode.
  type: float
  returned: success and O(state=present)
  sample: 3.4
error:
  description:
    - What failed, with a stable C(kind) to branch on. V(trust) and V(seal_damaged) are about the entry; V(key_missing) is about
      O(identities).
  type: dict
  returned: failure
  sample: {"kind": "trust"}
"""

import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _argspec, _deliver
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EtcdToolError,
    OptionInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._module import Call, Outcome, run

ARGUMENT_SPEC: dict[str, t.Any] = {
    **_argspec.ARCHIVE,
    **_argspec.IDENTITY,
    **_argspec.DELIVERY,
    "step": {"type": "str", "choices": ["look", "begin", "place", "slice"]},
    "request": {"type": "dict", "default": {}},
    "content": {"type": "str", "no_log": True},
}


def host_half(call: Call) -> Outcome:
    """Do on the host what the action plugin asks, or remove a delivery."""
    step, request = call.params["step"], call.params["request"]
    if call.params["state"] == "absent":
        return _absent(call)
    if step is None:
        raise OptionInvalid(
            "A delivery begins on the controller: this is only its host's half.",
            hint="Call controlplane.etcd.etcd_deliver in a play, where its action plugin runs.",
        )
    if step == "look":
        return Outcome(_deliver.look(call.params["dest_dir"]))
    if step == "begin":
        stuck = _remove_stale(request.pop("stale"))
        begun = dataclasses.asdict(_deliver.begin(call.params["dest_dir"], **request))
        return Outcome({**begun, "stuck": stuck}, changed=True)
    if step == "slice":
        _deliver.write_slice(**request, content=call.params["content"])
        return Outcome({}, changed=True)
    arrivals = [_deliver.Arrival(**item) for item in request["arrivals"]]
    _deliver.place(request["delivery"], arrivals, call.params["content"].encode())
    return Outcome({}, changed=True)


def _remove_stale(paths: t.Sequence[str]) -> dict[str, str]:
    """Return why what could not be removed was not: that stops no delivery."""
    stuck = {}
    for path in paths:
        try:
            _deliver.remove(path)
        except (OSError, EtcdToolError) as exc:
            stuck[path] = f"{path}, of an earlier run, cannot be removed: {exc}"
    return stuck


def _absent(call: Call) -> Outcome:
    path = call.params["delivery"]
    there = _deliver.exists(path) if call.check_mode else _deliver.remove(path)
    return Outcome({"delivery": path}, changed=there)


def main() -> None:
    """Run the module."""
    run(
        ARGUMENT_SPEC,
        host_half,
        # A module that starts again can't take a large content with it.
        needs=lambda params: ("pyrage",) if params["step"] in ("look", "begin") else (),
        required_if=[("state", "absent", ("delivery",))],
    )


if __name__ == "__main__":
    main()
