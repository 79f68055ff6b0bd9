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
  - Tells of each entry how much of a control plane it brings back, what it lacks and what that would mean, and which of its
    certificates will have expired by the day that it might be restored.
  - With O(identities), tells whether the newest usable entry of each cluster can still be opened, recipient by recipient.
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
      - JMESPath expression that is applied to RV(entries); what it gives is RV(query_result). A blank one is as none.
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
  at:
    description:
      - The day for which certificates are looked at, as a time in RFC 3339, or as a duration from now, as in V(90d).
      - If omitted, now.
    type: str
  identities:
    description:
      - Files with private keys - age identity files, or ssh private keys without a passphrase. Each is tried on the newest
        usable entry of each cluster that is listed - it is decrypted and decompressed, which reads all of it, and no clear byte
        is written anywhere.
      - Keys that are not at hand make no failure. One that cannot be used is warned of, by its file's name.
    type: list
    elements: path
    default: []
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

- name: Have a newest backup that restores anywhere, without renewing a certificate for three months
  controlplane.etcd.etcd_archive_info:
    archive: /srv/etcd-archive
    etcd_cluster: prod
    allowed_signers: /etc/etcd-backup/signing_key.pub
    latest: true
    at: 90d
  delegate_to: localhost
  register: newest
  failed_when: newest.latest.completeness != 'complete' or newest.latest.certificates.expired_count > 0

- name: See whether the key from the safe still opens the newest backup
  controlplane.etcd.etcd_archive_info:
    archive: /srv/etcd-archive
    etcd_cluster: prod
    allowed_signers: /etc/etcd-backup/signing_key.pub
    latest: true
    identities:
      - /media/safe/escrow.identity
  delegate_to: localhost
  register: escrow
  failed_when: escrow.escrow | selectattr('state', 'eq', 'opens') | length == 0 or escrow.escrow | selectattr('state', 'eq', 'failed')

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
      description:
        - How much of a control plane it brings back by itself, judged by its manifest.
        - V(complete) - all of it, on empty hosts, whatever their addresses. V(same_hosts) - on hosts of the same names and
          addresses; some of it has to be made anew there. V(data_only) - etcd's data; something that cannot be made anew has to
          come from elsewhere, or is lost.
      type: str
      sample: same_hosts
    lack_count:
      description: How many parts it lacks.
      type: int
      sample: 1
    lacks:
      description: The parts that a full restore would need, and that it lacks; the worst first, the first 20.
      type: list
      elements: dict
      sample:
        - code: no_ca_key
          part: ca.key
          hosts: []
          meaning: >-
            No certificates for new addresses, no renewal: an API server comes back only where its certificate says, for as long
            as that lasts.
          severity: warning
      contains:
        code:
          description:
            - What kind of lack it is, to branch on. V(no_kit), V(no_sa_key), V(no_sa_pub), V(no_ca), V(no_ca_key), V(no_etcd_ca),
              V(no_front_proxy_ca), V(no_certificate), V(no_key), V(no_kubeconfig), V(no_manifest), V(no_kubelet_file), V(no_file),
              V(no_token), V(no_node_password), V(no_api_server), V(no_member_kit), V(member_without_kit), V(host_missing),
              V(no_encryption_config), V(no_encryption_key), V(encryption_keys_not_told), V(kms_needed), V(damaged),
              V(no_tools), V(no_wheelhouse), V(not_sealed).
          type: str
          sample: no_ca_key
        part:
          description: Its standard name, or what it is.
          type: str
          sample: ca.key
        hosts:
          description: Whose it is. Empty for what the whole cluster shares.
          type: list
          elements: str
          sample: []
        meaning:
          description: What its lack would mean.
          type: str
          sample: All service-account tokens are void.
        severity:
          description: V(critical) makes it V(data_only), V(warning) at best V(same_hosts), V(info) nothing less.
          type: str
          sample: warning
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
    certificates:
      description: The certificates of its kits by the day O(at). Null where its manifest tells of none.
      type: dict
      contains:
        at:
          description: The day.
          type: str
          sample: "2027-12-01T00:00:00Z"
        certificate_count:
          description: How many certificates its manifest tells of.
          type: int
          sample: 17
        expired_count:
          description: How many of them will have expired.
          type: int
          sample: 11
        expired:
          description: Those, by host and standard name, the first to end first, the first 20.
          type: list
          elements: dict
          sample: [{"host": "cp1", "name": "apiserver.crt", "not_after": "2027-11-23T14:40:11Z"}]
        restorable_until:
          description:
            - When the first of those ends that a restored control plane starts with - etcd's and the API server's, those of the
              kubeconfigs of controller manager, scheduler and kubelet, the authorities. Up to then it restores without renewing.
            - Leaves of k3s and rke2 do not count, which renew them when they start. Null if there is none.
          type: str
          sample: "2027-11-23T14:40:11Z"
        restorable_until_of:
          description: Which one that is.
          type: dict
          sample: {"host": "cp1", "name": "apiserver.crt"}
        ca_ends_at:
          description: When the first authority ends. Up to then leaves can be renewed with its key.
          type: str
          sample: "2036-11-20T14:40:11Z"
        ca_ends_of:
          description: Which one that is.
          type: dict
          sample: {"host": "cp1", "name": "ca.crt"}
        meaning:
          description: The same in words.
          type: str
          sample: Restorable without renewing until 2027-11-23T14:40:11Z, when apiserver.crt of cp1 ends.
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
escrow:
  description: For each recipient of each part of each cluster's newest usable entry, whether it can still be opened.
  type: list
  elements: dict
  returned: success and O(identities) is given
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
      description: The entry. Null where there is no usable one.
      type: str
      sample: 20261123T145000Z-7c9e1a2b
    part:
      description: V(data), V(encryption) or V(pki).
      type: str
      sample: data
    recipient:
      description: The public key. Null for a part that is not sealed.
      type: str
      sample: age1e8r0cg2lk2c642073qytw4emwuqqzr8n05gjehjaqhym2rxlf4aq2ylvfu
    state:
      description:
        - V(opens) - every file of the part was opened with an identity at hand. V(not_checked) - there is none for this recipient,
          or it cannot be used. V(failed) - there is one, and a file does not open. V(unsealed) - no key is needed.
      type: str
      sample: opens
    by:
      description: The identity file.
      type: str
      sample: /media/safe/escrow.identity
    detail:
      description: What was done, or why it failed.
      type: str
      sample: Every file was opened.
    file_count:
      description: How many files of the part are sealed to it.
      type: int
      sample: 2
    clear_bytes:
      description: What came out of them.
      type: int
      sample: 20978112
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

from ansible_collections.controlplane.etcd.plugins.module_utils import (
    _argspec,
    _module,
    _query,
    _time,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    escrow,
    listing,
    names,
    store,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.forecast import (
    forecast,
    time_of,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.proven import Proven
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.summary import summary
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid

ARGUMENT_SPEC: dict[str, t.Any] = {
    **_argspec.ARCHIVE,
    "query": {"type": "str"},
    "latest": {"type": "bool", "default": False},
    "before": {"type": "str"},
    "at": {"type": "str"},
    "identities": _argspec.IDENTITY["identities"],
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
    now = _time.now()
    at = time_of(params["at"], now=now)
    text = _query.given(params["query"])
    query = listing.compile_query(text) if text else None
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
    proven = Proven(place, signers, now=now)
    entries = [
        {
            **summary(entry),
            "certificates": forecast(entry.manifest, at=at),
            "proof": proven.told(entry),
        }
        for entry in found
    ]
    usable = [told for told, entry in zip(entries, found) if listing.is_usable(entry)]
    result = {
        "entries": entries,
        "entry_count": len(entries),
        "latest": usable[0] if usable else None,
        "proven": proven.newest(prefixes),
    }
    if query:
        result["query_result"] = query(entries)
    warnings = list(proven.warnings)
    if params["identities"]:
        checked, said = escrow.check(place, prefixes, found, params["identities"])
        result["escrow"] = [each.as_dict() for each in checked]
        warnings += said
    return _module.Outcome(result, warnings=warnings)


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
