#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_drill
short_description: Prove on a scratch node that an archived snapshot can be restored and served
description:
  - Takes what M(controlplane.etcd.etcd_deliver) brought to this host, opens it, proves the image as the backup did, restores it
    with the archived cluster's own C(etcdutl), starts the archived cluster's own etcd on it, and compares what that etcd serves
    with the entry's manifest. Then a key is written, read and deleted.
  - etcd runs apart from all else on the host, with a user, a network and a folder of its own. It reaches nothing and nobody
    reaches it; ports that other programs use don't matter.
  - In the end everything is removed, the delivery and its key too, whatever happened. A process that watches this module does it
    should the module be killed, systemd should both be; and the next drill removes what is left all the same.
  - An archive that is wrong makes the drill's verdict V(failed), and the module succeeds in telling so. What the host lacks
    (room, a program, a right) makes the module fail, and proves nothing.
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane)
options:
  state:
    description:
      - V(drilled) does the drill, on the host.
      - V(recorded) signs what came of it and keeps it beside the entry as a proof, on the controller, and tells how old the
        newest proof is that passed. Whatever came of it, the entry is no longer in use for that delivery. Needs O(archive),
        O(etcd_cluster), O(signing_key), O(delivered), O(drilled) and O(node).
    type: str
    choices: [drilled, recorded]
    default: drilled
  archive:
    description:
      - With O(state=recorded), the archive, as an absolute path of a directory on the controller.
    required: false
  delivered:
    description:
      - With O(state=recorded), what M(controlplane.etcd.etcd_deliver) returned, also if it failed or lost its host.
    type: dict
  drilled:
    description:
      - With O(state=recorded), what this module returned with O(state=drilled), also if it failed, was skipped or lost its host.
      - A drill that passed or failed gives a proof that says so. A file of a trusted entry that is damaged gives a failed one.
        Whatever else went wrong gives none, for it says nothing of the archive.
    type: dict
  node:
    description:
      - With O(state=recorded), the name of the scratch node.
    type: str
  max_age:
    description:
      - With O(state=recorded), how old the newest proof that passed may be, as in V(8d), for RV(overdue). If omitted, of any age.
    type: str
  delivery:
    description:
      - The folder that M(controlplane.etcd.etcd_deliver) returned as RV(controlplane.etcd.etcd_deliver#module:delivery).
    type: path
  identity:
    description:
      - The file with the key to it, as RV(controlplane.etcd.etcd_deliver#module:identity).
    type: path
  work_dir:
    description:
      - Folder on the host for the clear image, which has no name there, and for the restored member's data. It needs room for
        twice the database and some 300 MB, and must not be mounted C(noexec).
      - An absolute path of letters, digits, C(.), C(_) and C(-) alone.
    type: path
    default: /var/tmp
  tools:
    description:
      - Programs on this host to use instead of those in the delivery, or where it has none.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Which one. With an etcd of 3.4, C(etcdctl) restores.
        type: str
        choices: [etcd, etcdutl, etcdctl, kube-apiserver]
        required: true
      path:
        description: Where it lies on this host.
        type: path
        required: true
      sha256:
        description: What its sha256 must be. If omitted, it is used as it is.
        type: str
  api:
    description:
      - Whether a kube-apiserver is started on the drilled etcd, too, and what it serves compared. It is the one in the delivery,
        or in O(tools), and must be of the minor of the cluster that was backed up.
      - It reads with the encryption configuration that was delivered, every stored resource is listed and counted at the
        snapshot's revision, and one Secret for each key is decrypted, which stays in the server. What it can't tell, such as
        Secrets encrypted by KMS or custom resources that need a conversion webhook, is in RV(drill.not_checked).
    type: bool
    default: false
  extract:
    description:
      - Objects to write out as YAML while the API server is up, as they were when the snapshot was taken. Needs O(api).
      - What servers and controllers put into them is taken off, such as status, uid, resourceVersion, managedFields, owners and
        the addresses of Services. They are in an order in which C(kubectl) can apply them.
      - What a controller made and would make again, what each namespace gets by itself, and unless their resource or name is
        asked for, events, leases, nodes and what has run to its end, are left out and counted in RV(extracted.left_out).
    type: dict
    suboptions:
      resources:
        description: Resources as C(kubectl) takes them, as in V(deployments) or V(certificates.cert-manager.io). If omitted, all.
        type: list
        elements: str
        default: []
      namespaces:
        description: Namespaces; each comes with what is in it. If omitted, all, and what lies in none.
        type: list
        elements: str
        default: []
      names:
        description: Names of objects. If omitted, all.
        type: list
        elements: str
        default: []
      labels:
        description: A label selector, as in V(app=web,tier!=cache). If omitted, all.
        type: str
      dest_dir:
        description:
          - An existing folder on this host, for C(objects.yaml), in clear, and C(secrets.yaml.zst.age). The latter holds Secrets
            and what else was encrypted in etcd, sealed to O(extract.recipients).
        type: path
        required: true
      recipients:
        description: Public keys (age1…, ssh-ed25519 or ssh-rsa) that Secrets are sealed to. Needed unless none are chosen.
        type: list
        elements: str
        default: []
      owned:
        description: Whether to take what controllers made, too, such as the pods of deployments.
        type: bool
        default: false
  isolation:
    description:
      - How servers are run apart. V(systemd) is a transient unit of systemd, V(namespace) a child process in a network namespace.
        V(auto) is the first where root may use systemd, else the second.
      - A V(namespace) has no limit on processors but the number of them that are used, and its limit on memory is on the
        program's own data alone.
    type: str
    choices: [auto, systemd, namespace]
    default: auto
  memory_max:
    description:
      - How much memory a server may have, as in V(2G).
    type: str
    default: 2G
  cpu_quota:
    description:
      - How much of the processors a server may have; V(100%) is one.
    type: str
    default: 100%
  start_timeout:
    description:
      - How long a server may take until it serves. C(etcdutl) has as long, and a second more for each 10 MB.
      - One that is alive and does not serve by then proves nothing, for a slow host looks as a bad archive does. The module
        fails, with no verdict.
    type: str
    default: 2m
  remove_delivery:
    description:
      - Whether the delivery and its key are removed in the end.
    type: bool
    default: true
extends_documentation_fragment:
  - controlplane.etcd._archive
  - controlplane.etcd._attributes
attributes:
  check_mode:
    support: full
    details: Tells what would be used, and whether there is room. Nothing is opened, started or written.
  diff_mode:
    support: none
    details: What is restored is never shown.
  idempotent:
    support: none
    details: Each drill is a new one.
  platform:
    support: full
seealso:
  - module: controlplane.etcd.etcd_deliver
  - module: controlplane.etcd.etcd_restore
"""

EXAMPLES = r"""
- name: Drill what was delivered
  controlplane.etcd.etcd_drill:
    delivery: "{{ delivered.delivery }}"
    identity: "{{ delivered.identity }}"
  become: true
  register: drilled

- name: Have it passed
  ansible.builtin.assert:
    that: drilled.drill.verdict == 'passed'
    fail_msg: "{{ drilled.drill.reason }}"

- name: Keep the proof, on the controller
  controlplane.etcd.etcd_drill:
    state: recorded
    archive: /srv/etcd-archive
    etcd_cluster: prod
    signing_key: /etc/etcd-backup/signing_key
    delivered: "{{ delivered }}"
    drilled: "{{ drilled }}"
    node: "{{ inventory_hostname }}"
    max_age: 8d
  delegate_to: localhost
  become: false
  register: recorded

- name: Write a deleted namespace out, with an API server on the archive's data
  controlplane.etcd.etcd_drill:
    delivery: "{{ delivered.delivery }}"
    identity: "{{ delivered.identity }}"
    api: true
    extract:
      namespaces: [shop]
      dest_dir: "{{ folder.path }}"
      recipients:
        - age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  become: true

- name: Drill an entry whose archive has no programs, with those of an internal mirror
  controlplane.etcd.etcd_drill:
    delivery: "{{ delivered.delivery }}"
    identity: "{{ delivered.identity }}"
    tools:
      - name: etcd
        path: /opt/etcd-3.6.16/etcd
        sha256: 4c3d1b2f9f0f4b7f7f7b5d0c1d7f8a2d1a4f0f3c8f7e6d5c4b3a291817161514
      - name: etcdutl
        path: /opt/etcd-3.6.16/etcdutl
  become: true
"""

RETURN = r"""
drill:
  description: What the drill found; a proof is made of it.
  type: dict
  returned: O(state=drilled), not in check mode
  contains:
    entry:
      description: The entry's ID.
      type: str
      sample: 20261123T145000Z-7c9e1a2b
    sha256:
      description: The sha256 of its image, by its manifest.
      type: str
      sample: 0d5a1f7c1f0ea9a07d6c33e20f1c2e4b6a0c9d0f54b8f0b4e5c6d7e8f9a0b1c2
    etcd_cluster:
      description: The cluster.
      type: str
      sample: prod
    etcd_instance:
      description: Which etcd of it.
      type: str
      sample: main
    verdict:
      description: V(passed) or V(failed).
      type: str
      sample: passed
    reason:
      description: The first thing that was wrong; empty if nothing was.
      type: str
      sample: ""
    started_at:
      description: When it began, by this host's clock.
      type: str
      sample: "2026-11-24T03:00:00Z"
    finished_at:
      description: When everything was removed again.
      type: str
      sample: "2026-11-24T03:00:41Z"
    phases:
      description: How long each part took, in their order. The last one, C(remove), takes everything away.
      type: list
      elements: dict
      sample: [{"name": "open", "seconds": 0.4}, {"name": "verify", "seconds": 0.2}, {"name": "restore", "seconds": 0.3}]
    rto_seconds:
      description: What a restore has to wait for on the host. Opening, restoring and starting, without the way there.
      type: int
      sample: 2
    comparisons:
      description: What was compared. C(result) is V(passed), V(failed) or V(not_comparable).
      type: list
      elements: dict
      sample: [{"name": "revision", "result": "passed", "expected": 18274, "found": 18274, "detail": ""}]
    versions:
      description: What was used.
      type: dict
      sample: {"etcd": "3.6.16", "etcdutl": "3.6.16", "kube_apiserver": null}
    isolation:
      description: V(systemd) or V(namespace).
      type: str
      sample: systemd
    not_checked:
      description: What this drill can say nothing about, and why.
      type: list
      elements: dict
      sample: [{"name": "hash_kv", "why": "the manifest holds no HashKV of the members"}]
    db_size_bytes:
      description: The size of the database; null if it could not be opened.
      type: int
      sample: 20971520
extracted:
  description: What was written of the objects that O(extract) chose. Null where it was not asked for, or did not come to it.
  type: dict
  returned: O(state=drilled), not in check mode
  contains:
    files:
      description: The files. C(sealed) tells whether age opens them.
      type: list
      elements: dict
      sample: [{"name": "objects.yaml", "path": "/run/out/objects.yaml", "size_bytes": 17303, "sha256": "634df98162a97a9ca7768e90",
                "sealed": false, "object_count": 38}]
    objects:
      description: How many objects were written of each resource.
      type: dict
      sample: {"apps/deployments": 4, "secrets": 7}
    left_out:
      description: How many were chosen and not written, by the reason. V(owned), V(default), V(finished) or V(passing).
      type: dict
      sample: {"owned": 16, "default": 2}
    missing:
      description: Namespaces and names that were asked for and were not in the snapshot.
      type: list
      elements: str
      sample: []
plan:
  description: What a drill would do.
  type: dict
  returned: O(state=drilled), in check mode
  contains:
    entry:
      description: The entry's ID.
      type: str
      sample: 20261123T145000Z-7c9e1a2b
    delivery:
      description: The delivery.
      type: str
      sample: /var/tmp/controlplane-etcd-delivery-20261123T145000Z-7c9e1a2b-3f1c9a02-5d41c3f7
    work_dir:
      description: The work folder.
      type: str
      sample: /var/tmp
    isolation:
      description: V(systemd) or V(namespace).
      type: str
      sample: systemd
    need_bytes:
      description: How much room it takes.
      type: int
      sample: 331350016
    free_bytes:
      description: How much room there is.
      type: int
      sample: 21474836480
    tools:
      description: The programs that would be used.
      type: list
      elements: dict
      sample: [{"name": "etcd", "path": "/opt/etcd-3.6.16/etcd", "sha256": null}]
verdict:
  description: What the drill came to. V(passed), V(failed), or V(not_drilled) where nothing is known of the archive.
  type: str
  returned: success and O(state=recorded)
  sample: passed
reason:
  description: The first thing that was wrong with the archive, or why there was no drill.
  type: str
  returned: success and O(state=recorded)
  sample: ""
proof:
  description: The proof as it was signed, see C(docs/formats.md). In check mode as it would be. Null where there was no drill.
  type: dict
  returned: success and O(state=recorded)
  sample: {"entry": "20261123T145000Z-7c9e1a2b", "verdict": "passed", "finished_at": "2026-11-24T03:00:12Z", "rto_seconds": 9}
path:
  description: Where the proof lies on the controller. Null where there is none.
  type: str
  returned: success and O(state=recorded)
  sample: /srv/etcd-archive/prod/20261123T145000Z-7c9e1a2b/drills/20261124T030012Z.json
newest_passed:
  description:
    - The newest proof of the cluster that passed and still holds. Null if there is none. A later drill of the same entry that
      failed takes it away, as does damage of the entry.
  type: dict
  returned: success and O(state=recorded)
  sample: {"entry": "20261123T145000Z-7c9e1a2b", "finished_at": "2026-11-24T03:00:12Z", "rto_seconds": 9, "node": "scratch1"}
overdue:
  description: Whether RV(newest_passed) is older than O(max_age), or there is none.
  type: bool
  returned: success and O(state=recorded)
  sample: false
error:
  description: Why the module failed.
  type: dict
  returned: failure
  sample: {"kind": "space_missing", "message": "…", "hint": "…", "endpoint": null, "path": "/var/tmp"}
"""

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _argspec, _module, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    names,
    store,
    trust,
    uses,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._drill import record, run
from ansible_collections.controlplane.etcd.plugins.module_utils._drill.options import wish_from

ARGUMENT_SPEC: dict[str, t.Any] = {
    **_argspec.ARCHIVE,
    "archive": {"type": "str"},
    "state": {"type": "str", "choices": ["drilled", "recorded"], "default": "drilled"},
    "delivered": {"type": "dict"},
    "drilled": {"type": "dict"},
    "node": {"type": "str"},
    "max_age": {"type": "str"},
    "delivery": {"type": "path"},
    "identity": {"type": "path"},
    "work_dir": {"type": "path", "default": "/var/tmp"},
    "tools": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {
                "type": "str",
                "choices": ["etcd", "etcdutl", "etcdctl", "kube-apiserver"],
                "required": True,
            },
            "path": {"type": "path", "required": True},
            "sha256": {"type": "str"},
        },
    },
    "api": {"type": "bool", "default": False},
    "extract": {
        "type": "dict",
        "options": {
            "resources": {"type": "list", "elements": "str", "default": []},
            "namespaces": {"type": "list", "elements": "str", "default": []},
            "names": {"type": "list", "elements": "str", "default": []},
            "labels": {"type": "str"},
            "dest_dir": {"type": "path", "required": True},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "owned": {"type": "bool", "default": False},
        },
    },
    "isolation": {
        "type": "str",
        "choices": ["auto", "systemd", "namespace"],
        "default": "auto",
    },
    "memory_max": {"type": "str", "default": "2G"},
    "cpu_quota": {"type": "str", "default": "100%"},
    "start_timeout": {"type": "str", "default": "2m"},
    "remove_delivery": {"type": "bool", "default": True},
}


def action(call: _module.Call) -> _module.Outcome:
    """Do the drill, or keep its proof."""
    if call.params["state"] == "recorded":
        return _recorded(call)
    wish = wish_from(call.params, start_seconds=_argspec.duration(call.params, "start_timeout"))
    if call.check_mode:
        return _module.Outcome({"plan": run.planned(wish)}, changed=wish.remove_delivery)
    done = run.drill(wish)
    return _module.Outcome(done, changed=wish.remove_delivery or done["extracted"] is not None)


def _recorded(call: _module.Call) -> _module.Outcome:
    params = call.params
    place = store.open_store(params["archive"])
    prefix = names.Prefix(params["etcd_cluster"], params["etcd_instance"] or names.MAIN)
    try:
        wish = record.Wish(
            place=place,
            prefix=prefix,
            signing=trust.signing_from_key(params["signing_key"]),
            signers=_argspec.signers(params),
            max_age_seconds=_argspec.duration(params, "max_age") if params["max_age"] else None,
        )
        told = (params["delivered"], params["drilled"])
        really, now = not call.check_mode, _time.now()
        done = record.record(wish, *told, node=params["node"], now=now, really=really)
    finally:  # whatever came of it, nobody reads the entry for this delivery any more
        if not call.check_mode:
            uses.let_go(place, prefix, str(params["delivered"].get("delivery")))
    return _module.Outcome(done.told(), changed=done.proof is not None, warnings=done.warnings)


_NEEDS = {
    "drilled": ["cryptography", "etcd3", "google_crc32c", "pyrage", "yaml", "zstandard"],
    "recorded": ["jsonschema"],
}
_OF_RECORD = ["archive", "etcd_cluster", "signing_key", "delivered", "drilled", "node"]


def main() -> None:
    """Run the module."""
    _module.run(
        ARGUMENT_SPEC,
        action,
        needs=lambda params: _NEEDS[params["state"]],
        required_if=[
            ("state", "drilled", ["delivery", "identity"]),
            ("state", "recorded", _OF_RECORD),
        ],
    )


if __name__ == "__main__":
    main()
