#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_archive_info
short_description: List the entries of an archive of etcd backups
description:
  - Lists what an archive holds, newest first, and how far each entry can be trusted. Runs on the controller.
  - An entry is judged in this order - the signature of its manifest, the manifest, whether it lies where it belongs, its
    files. What is still being built is not listed.
  - Tells of each entry whether a drill has restored it, and of each cluster when that was the last time.
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane)
options:
  etcd_cluster:
    description:
      - Name of the cluster. If omitted, all clusters of the archive.
  etcd_instance:
    description:
      - Which of a cluster's etcds. If omitted, V(main) where O(etcd_cluster) is given, else all of them.
  query:
    description:
      - JMESPath expression that is applied to RV(entries); what it gives is RV(query_result).
    type: str
  latest:
    description:
      - Whether only the newest usable entry of each cluster and instance is listed. Usable is what is trusted, passed its
        checks, and was no emergency.
    type: bool
    default: false
  before:
    description:
      - Only entries that were started before this time, in RFC 3339, as in V(2026-11-23T14:50:00Z).
    type: str
  verify:
    description:
      - V(signature) checks the manifest's signature, and that its files are there in their sizes.
      - V(files) takes the sha256 of every file too, and so reads all of the archive that is listed.
      - V(none) checks nothing, and needs no signers. Nothing is trusted then.
    type: str
    choices: [none, signature, files]
    default: signature
extends_documentation_fragment:
  - controlplane.etcd._archive
  - controlplane.etcd._attributes
  - controlplane.etcd._attributes.info_module
  - controlplane.etcd._attributes.controller
"""

EXAMPLES = r"""
- name: See what there is of a cluster
  controlplane.etcd.etcd_archive_info:
    archive: /srv/etcd-archive
    etcd_cluster: prod
    allowed_signers: /etc/etcd-backup/signing_key.pub
  delegate_to: localhost
  register: archived

- name: Have a usable backup of the last day
  ansible.builtin.assert:
    that:
      - archived.latest.created_at is defined
      - archived.latest.created_at > '%Y-%m-%dT%H:%M:%SZ' | ansible.builtin.strftime(now(utc=true).timestamp() - 86400, utc=true)

- name: Have an archive that a drill restored within the last eight days
  ansible.builtin.assert:
    that:
      - archived.proven[0].finished_at is not none
      - archived.proven[0].finished_at > '%Y-%m-%dT%H:%M:%SZ' | ansible.builtin.strftime(now(utc=true).timestamp() - 8 * 86400, utc=true)

- name: Find the newest entry before an accident, its files read in full
  controlplane.etcd.etcd_archive_info:
    archive: /srv/etcd-archive
    etcd_cluster: prod
    allowed_signers: /etc/etcd-backup/signing_key.pub
    before: "2026-11-23T14:50:00Z"
    latest: true
    verify: files
  delegate_to: localhost

- name: List the IDs of what can not be trusted, in all clusters
  controlplane.etcd.etcd_archive_info:
    archive: /srv/etcd-archive
    allowed_signers: /etc/etcd-backup/signing_key.pub
    query: "[?trust != 'trusted'].[etcd_cluster, id, reason]"
  delegate_to: localhost
"""

RETURN = r"""
entries:
  description: The entries, newest first. What a manifest tells is null where it cannot be read.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: The entry's ID, start time and a random part.
      type: str
      sample: 20261123T145000Z-7c9e1a2b
    etcd_cluster:
      description: The cluster.
      type: str
      sample: prod
    etcd_instance:
      description: Which of its etcds.
      type: str
      sample: main
    trust:
      description:
        - How far it can be trusted. V(trusted); V(not_checked) with O(verify=none); V(unsigned); V(forged) for a signature of
          something else; V(unknown_signer); V(foreign) for a genuine manifest that was put under another ID or cluster;
          V(incomplete) where files are missing; V(damaged) where they, or the manifest, are not what they were.
      type: str
      sample: trusted
    reason:
      description: Why it is not trusted.
      type: str
      sample: ""
    verified:
      description: Whether it is trusted and all its checks passed.
      type: bool
      sample: true
    created_at:
      description: When it was started, by the controller's clock.
      type: str
      sample: "2026-11-23T14:50:00Z"
    mode:
      description: V(regular), or V(emergency) for one member's state without quorum.
      type: str
      sample: regular
    collection_version:
      description: The version of this collection that wrote it.
      type: str
      sample: 0.1.0
    cluster_id:
      description: The etcd cluster's ID, lower-case hex.
      type: str
      sample: cdf818194e3a8c32
    kube_system_uid:
      description: UID of namespace kube-system, null if it could not be read.
      type: str
      sample: 0c2f2a0e-6d8c-4d55-9d6b-5f0c1a7a9f5e
    etcd_version:
      description: The version of etcd.
      type: str
      sample: 3.6.16
    kubernetes_version:
      description: The version of the API server, null if it is not known.
      type: str
      sample: v1.34.4
    revision:
      description: The snapshot's newest revision.
      type: int
      sample: 18274
    key_count:
      description: Keys in the snapshot.
      type: int
      sample: 1034
    object_count:
      description: Kubernetes objects in the snapshot.
      type: int
      sample: 987
    db_size_bytes:
      description: The image, without its trailer.
      type: int
      sample: 20971520
    sha256:
      description: The image's sha256, without its trailer.
      type: str
      sample: 5d41c3f7c0a5b1d6a2c8e0d1f40f6b2f5b3df2b6b7f5e2e8e3a2d1c0b9a88776
    source_member:
      description: Name of the member that it came from.
      type: str
      sample: cp1
    source_host:
      description: The inventory's host of that member.
      type: str
      sample: cp1
    member_count:
      description: How many members the cluster had.
      type: int
      sample: 3
    completeness:
      description: V(full) with a kit of every member's host, V(partial) with some, V(data_only) with none.
      type: str
      sample: full
    kit_hosts:
      description: The hosts whose kits it holds.
      type: list
      elements: str
      sample: [cp1, cp2, cp3]
    members_without_kit:
      description: Members whose host gave no kit.
      type: list
      elements: str
      sample: []
    members_without_host:
      description: Members that the inventory had no host for.
      type: list
      elements: str
      sample: []
    missing_hosts:
      description: Hosts that could not be reached.
      type: list
      elements: str
      sample: []
    sealed:
      description: Whether all its files but C(RESTORE.txt) are encrypted.
      type: bool
      sample: true
    size_bytes:
      description: Size of all its files.
      type: int
      sample: 4215031
    file_count:
      description: How many files it has.
      type: int
      sample: 7
    checks:
      description: What was looked at when it was made, each V(passed), V(first), V(not_comparable) or V(not_asked).
      type: list
      elements: dict
      sample: [{"name": "trailer", "result": "passed", "detail": "sha256 of the stream equals the one that etcd sent"}]
    warnings:
      description: What was said when it was made.
      type: list
      elements: str
      sample: []
    proof:
      description:
        - What its newest drill found. Null if there is no proof that an allowed signer signed of this very entry and image,
          and with O(verify=none).
      type: dict
      contains:
        verdict:
          description: V(passed) if it was restored and held what its manifest says, else V(failed).
          type: str
          sample: passed
        finished_at:
          description: When the drill ended, by the controller's clock.
          type: str
          sample: "2026-11-24T03:00:12Z"
        rto_seconds:
          description: How long it took until etcd (and, if asked for, the API server) answered again. Null if it didn't get there.
          type: int
          sample: 9
        node:
          description: The scratch node.
          type: str
          sample: scratch1
        reason:
          description: The first thing that was wrong.
          type: str
          sample: ""
entry_count:
  description: How many entries are listed.
  type: int
  returned: success
  sample: 1
latest:
  description: The newest usable one of RV(entries), null if there is none.
  type: dict
  returned: success
  sample: {"id": "20261123T145000Z-7c9e1a2b", "created_at": "2026-11-23T14:50:00Z", "verified": true}
proven:
  description:
    - For each cluster and instance asked for, the newest proof that passed and still holds. A later drill of the same entry
      that failed takes it away, as does damage. Null are all values of one that has none. Empty with O(verify=none).
    - All of their entries are looked at for this, whatever O(before) and O(latest) say.
  type: list
  elements: dict
  returned: success
  contains:
    etcd_cluster:
      description: The cluster.
      type: str
      sample: prod
    etcd_instance:
      description: Which of its etcds.
      type: str
      sample: main
    entry:
      description: The entry that was restored.
      type: str
      sample: 20261123T145000Z-7c9e1a2b
    finished_at:
      description: When that drill ended, by the controller's clock.
      type: str
      sample: "2026-11-24T03:00:12Z"
    rto_seconds:
      description: How long it took until what was restored answered.
      type: int
      sample: 9
    node:
      description: The scratch node.
      type: str
      sample: scratch1
query_result:
  description: What O(query) gave.
  type: raw
  returned: success and O(query) is given
  sample: [20261123T145000Z-7c9e1a2b]
error:
  description: What failed, with a stable C(kind) to branch on.
  type: dict
  returned: failure
  sample: {"kind": "archive"}
"""

import datetime as dt
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _argspec, _module, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    listing,
    names,
    store,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.proven import Proven
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.summary import summary
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid

ARGUMENT_SPEC: dict[str, t.Any] = {
    **_argspec.ARCHIVE,
    "query": {"type": "str"},
    "latest": {"type": "bool", "default": False},
    "before": {"type": "str"},
    "verify": {
        "type": "str",
        "choices": ["none", "signature", "files"],
        "default": "signature",
    },
}


def action(call: _module.Call) -> _module.Outcome:
    """List the entries."""
    params = call.params
    place = store.open_store(params["archive"])
    query = listing.compile_query(params["query"]) if params["query"] else None
    prefixes = _prefixes(place, params)
    signers = None if params["verify"] == "none" else _argspec.signers(params)
    found = listing.read_entries(
        place,
        prefixes,
        before=_before(params["before"]),
        latest=params["latest"],
        signers=signers,
        depth=params["verify"],
    )
    proven = Proven(place, signers)
    entries = [{**summary(entry), "proof": proven.told(entry)} for entry in found]
    usable = [told for told, entry in zip(entries, found) if listing.is_usable(entry)]
    result = {
        "entries": entries,
        "entry_count": len(entries),
        "latest": usable[0] if usable else None,
        "proven": proven.newest(prefixes, now=_time.now()),
    }
    if query:
        result["query_result"] = query(entries)
    return _module.Outcome(result, warnings=proven.warnings)


def _prefixes(place: store.DirectoryStore, params: t.Mapping[str, t.Any]) -> list[names.Prefix]:
    place.must_exist()
    cluster, instance = params["etcd_cluster"], params["etcd_instance"]
    if cluster:
        return [names.Prefix(cluster, instance or names.MAIN)]
    found = place.prefixes()
    return [prefix for prefix in found if instance in (None, prefix.instance)]


def _before(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        return _time.parse_rfc3339(text)
    except ValueError as exc:
        raise OptionInvalid(
            f"Option before is no time: {exc}.", hint="Write 2026-11-23T14:50:00Z."
        ) from exc


def main() -> None:
    """Run the module."""
    _module.run(ARGUMENT_SPEC, action, needs=["jsonschema"])


if __name__ == "__main__":
    main()
