#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_snapshot_info
short_description: Tell what an etcd snapshot holds, offline
description:
  - Reads a snapshot, or a database file of a stopped etcd, of etcd 3.2 to 3.7 without an etcd binary. Proves its structure and
    tells its revisions, hashes, members, versions and Kubernetes objects.
  - What is sealed is opened with O(identities), on the controller; a plain file can be read on any host. An entry of an archive
    is read only once its signature and the sha256 of its files hold.
  - A plain file is read where it lies, and must not change meanwhile. Where it does, or gets shorter, or its disk fails, the module
    fails and says so. What is compressed or sealed is read from a copy in O(spool_dir).
  - Never shows a value. Names of objects are in the result; they are secrets to some.
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane)
options:
  path:
    description:
      - The file. Plain, compressed with zstd, or that sealed with age, as its content says. One of O(path) and O(id) is needed.
    type: path
  id:
    description:
      - An entry of O(archive), by its ID, or V(latest) for the newest usable one.
    type: str
  archive:
    description:
      - The archive, as an absolute path of a directory on the controller. Needed with O(id), and where O(compare_to) is an entry.
    required: false
  skip_hash_check:
    description:
      - Whether a file whose last 32 bytes are not the sha256 of its image is read all the same, as far as its structure allows.
        The check is V(failed) then, and a warning says so; of O(compare_to), too. A database file of etcd's own has no such bytes, and is read in either case.
    type: bool
    default: false
  etcd_prefix:
    description:
      - The key prefix of the API server, its C(--etcd-prefix).
    type: str
    default: /registry
  hash_revision:
    description:
      - The revision to compute HashKV at, for comparing with C(etcdctl endpoint hashkv --rev). From the compact revision to the
        newest one. If omitted or V(0), as C(etcdctl) has it, the newest one.
    type: int
  hash_compact_revision:
    description:
      - The compact revision of the member that is compared with, if it has compacted since; no lower one than the snapshot's
        own. V(-1) if it never has. If omitted, the snapshot's own.
    type: int
  etcd_version:
    description:
      - The version of the etcd that is compared with, as in V(3.5.12). Versions before 3.4.34 and 3.5.16 hash a deletion at
        the compact revision, later ones don't. If omitted, a later one.
    type: str
  query:
    description:
      - JMESPath expression over the list of all objects; what it gives is RV(query_result). An object has C(etcd_key),
        C(resource), C(namespace), C(name), C(create_revision), C(mod_revision), C(version), C(lease) and C(size_bytes).
      - Filters at its beginning, as in V([?resource=='secrets'].name), are worked off in little memory, however many objects there
        are. What is kept may be 200,000 objects. A blank one is as none.
    type: str
  compare_to:
    description:
      - An older snapshot, as an absolute path, or as the ID of an entry of O(archive) or V(latest). RV(difference) tells what was
        added, changed and removed since. A warning says if it has the higher revision, or is of another cluster by the UID of
        kube-system.
    type: str
  limit:
    description:
      - How many items of a list are returned, 0 to 1000. Lists can be long, and AWX cuts long results, so that all lists together
        are held below 400,000 bytes, and dicts below 64 KiB each. What is cut so has a warning; names are cut after 1024 bytes.
    type: int
    default: 10
  dest:
    description:
      - File to write the whole lists to, as an absolute path, one JSON object a line, with the C(list) that it belongs to and its
        C(item). Mode 0600. C(largest) and C(most_rewritten) have O(limit) items there, too. What is a dict or a list without
        O(limit) in the result is there only if that had to be cut, as C(resources), C(secrets), C(encrypted),
        C(difference_resources) (name and figure each), C(members) and C(alarms).
      - A file that is there is replaced. A file that this module reads, one in O(archive) or in the folder of an archive's entry, a
        link and what is no file are refused, also in check mode, in which nothing is written.
      - If omitted, what is over O(limit) is not told.
    type: path
extends_documentation_fragment:
  - controlplane.etcd._archive
  - controlplane.etcd._identity
  - controlplane.etcd._attributes
  - controlplane.etcd._attributes.info_module
attributes:
  check_mode:
    support: full
    details: This module only reads; O(dest) is not written.
seealso:
  - module: controlplane.etcd.etcd_archive_info
"""

EXAMPLES = r"""
- name: Look into a snapshot that etcdctl made
  controlplane.etcd.etcd_snapshot_info:
    path: /var/backups/etcd/snapshot.db
  register: found

- name: Have the Secrets encrypted, all of them
  ansible.builtin.assert:
    that:
      - found.kubernetes.secrets.identity is not defined

- name: Look into the newest backup of a cluster
  controlplane.etcd.etcd_snapshot_info:
    id: latest
    archive: /srv/etcd-archive
    etcd_cluster: prod
    allowed_signers: [/etc/etcd-backup/signing_key.pub]
    identities: [/etc/etcd-backup/restore.identity]
  delegate_to: localhost

- name: List what was lost since last night
  controlplane.etcd.etcd_snapshot_info:
    path: /var/backups/etcd/now.db
    compare_to: 20261123T010000Z-7c9e1a2b
    archive: /srv/etcd-archive
    etcd_cluster: prod
    allowed_signers: [/etc/etcd-backup/signing_key.pub]
    identities: [/etc/etcd-backup/restore.identity]
    dest: /root/lost.jsonl
  delegate_to: localhost

- name: Find the ten largest objects of a namespace
  controlplane.etcd.etcd_snapshot_info:
    path: /var/backups/etcd/snapshot.db
    query: "reverse(sort_by([?namespace=='monitoring'], &size_bytes))[:10].[resource, name, size_bytes]"
"""

RETURN = r"""
file:
  description: What was read.
  type: dict
  returned: success
  contains:
    path:
      description: The file.
      type: str
      sample: /var/backups/etcd/snapshot.db
    entry:
      description: The entry of the archive that it belongs to, null for a file named by O(path).
      type: str
      sample: 20261123T145000Z-7c9e1a2b
    size_bytes:
      description: The file's size.
      type: int
      sample: 20971552
    clear_size_bytes:
      description: Its size once opened and decompressed.
      type: int
      sample: 20971552
    sealed:
      description: Whether it is encrypted.
      type: bool
      sample: false
    compressed:
      description: Whether it is compressed.
      type: bool
      sample: false
checks:
  description:
    - What was looked at, each V(passed), V(not_asked) or, with O(skip_hash_check), V(failed). C(trailer) is V(not_asked) for a
      file without one. C(compared_trailer) is that of O(compare_to). What else fails, fails the module.
  type: list
  elements: dict
  returned: success
  sample: [{"name": "trailer", "result": "passed", "detail": "the file ends with the sha256 of its image"}]
snapshot:
  description: The image. C(etcdutl snapshot status) shows C(status_hash), C(status_revision), C(db_size_bytes), and a totalKey.
  type: dict
  returned: success
  contains:
    revision:
      description: The newest revision, what an etcd that is restored from it answers with.
      type: int
      sample: 18274
    status_revision:
      description: What C(snapshot status) calls revision, the one of the last row.
      type: int
      sample: 18274
    compact_revision:
      description: What it is compacted up to, -1 for never.
      type: int
      sample: 17903
    hash_kv:
      description: HashKV at C(hash_revision), eight hex digits.
      type: str
      sample: 24f1f74c
    hash_revision:
      description: The revision of C(hash_kv).
      type: int
      sample: 18274
    hash_compact_revision:
      description: The compact revision of C(hash_kv).
      type: int
      sample: 17903
    status_hash:
      description: What C(snapshot status) calls hash, eight hex digits.
      type: str
      sample: e7a6e44b
    db_size_bytes:
      description: The image, without the 32-byte trailer; what C(snapshot status) calls totalSize.
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
    auth_enabled:
      description: Whether etcd's own authentication is on in it.
      type: bool
      sample: false
etcd:
  description: Versions of cluster and storage, null where etcd wrote none. Restore with an etcd of the same minor.
  type: dict
  returned: success
  sample: {"cluster_version": "3.6.0", "storage_version": "3.6.0"}
member_count:
  description: How many members it holds.
  type: int
  returned: success
  sample: 1
members:
  description: The members, as the snapshot holds them.
  type: list
  elements: dict
  returned: success
  sample: [{"id": "8e9e05c52164694d", "name": "cp1", "peer_urls": ["https://10.0.0.1:2380"], "client_urls": ["https://10.0.0.1:2379"], "is_learner": false}]
alarm_count:
  description: How many alarms it holds.
  type: int
  returned: success
  sample: 1
alarms:
  description: Alarms that it holds. They survive a restore; NOSPACE blocks writes until it is disarmed.
  type: list
  elements: str
  returned: success
  sample: ["NOSPACE on 8e9e05c52164694d"]
kubernetes:
  description: What Kubernetes keeps in it.
  type: dict
  returned: success
  contains:
    etcd_prefix:
      description: The API server's key prefix.
      type: str
      sample: /registry
    object_count:
      description: How many objects.
      type: int
      sample: 987
    other_key_count:
      description: Keys that hold no object, outside of the prefix or of the API server's own bookkeeping.
      type: int
      sample: 5
    resource_count:
      description: How many resources have objects.
      type: int
      sample: 2
    resources:
      description:
        - Objects per C(group/resource), or C(resource) for the core group. Of very many those with the most objects.
      type: dict
      sample: {"apps/deployments": 41, "secrets": 63}
    secrets:
      description:
        - Secrets per C(provider/key name) of the encryption at rest; C(identity) counts the clear ones, and is there whenever
          there is one.
      type: dict
      sample: {"aescbc/key1": 62, "identity": 1}
    encryption_key_count:
      description: How many C(provider/key name) there are in C(encrypted).
      type: int
      sample: 1
    encrypted:
      description: Encrypted objects of every resource per C(provider/key name).
      type: dict
      sample: {"aescbc/key1": 62}
    kube_system_uid:
      description: UID of namespace kube-system, which names the cluster; null if it can't be read.
      type: str
      sample: 0c2f2a0e-6d8c-4d55-9d6b-5f0c1a7a9f5e
    namespace_count:
      description: How many namespaces.
      type: int
      sample: 14
    namespaces:
      description:
        - The namespaces with the most objects, and their objects per resource, of very many the most. List C(namespaces) of
          O(dest).
      type: list
      elements: dict
      sample: [{"namespace": "prod", "object_count": 412, "resources": {"pods": 120, "secrets": 44}}]
growth:
  description: Why the database has its size.
  type: dict
  returned: success
  contains:
    largest:
      description: The largest values.
      type: list
      elements: dict
      sample: [{"etcd_key": "/registry/configmaps/prod/big", "resource": "configmaps", "namespace": "prod", "name": "big", "size_bytes": 1048000}]
    most_rewritten:
      description: The keys that were written most often since they were made, if more than once.
      type: list
      elements: dict
      sample:
        - etcd_key: /registry/leases/kube-system/kube-scheduler
          resource: coordination.k8s.io/leases
          namespace: kube-system
          name: kube-scheduler
          version: 41233
    most_history:
      description:
        - The keys whose past revisions, kept until the next compaction, take the most room. Where more than 20,000 keys have
          some, those with little are forgotten on the way, and a figure may be too low.
      type: list
      elements: dict
      sample:
        - etcd_key: /registry/leases/kube-node-lease/n1
          resource: coordination.k8s.io/leases
          namespace: kube-node-lease
          name: n1
          revision_count: 31
          size_bytes: 16430
    history_count:
      description: Past revisions and deletions of all keys that are still kept.
      type: int
      sample: 368
    history_bytes:
      description: The size of those.
      type: int
      sample: 401233
query_result:
  description: What O(query) gave; of a list the first O(limit) items. List C(query) of O(dest).
  type: raw
  returned: if O(query) is given
  sample: ["/registry/secrets/prod/db"]
query_count:
  description: How many items that list has; null if it is none.
  type: int
  returned: if O(query) is given
  sample: 1
difference:
  description: What changed since O(compare_to).
  type: dict
  returned: if O(compare_to) is given
  contains:
    compared_to:
      description: The file that was compared with.
      type: str
      sample: /srv/etcd-archive/prod/20261123T010000Z-7c9e1a2b/data.db.zst.age
    compared_revision:
      description: The newest revision of that one.
      type: int
      sample: 16001
    resource_count:
      description: How many resources changed.
      type: int
      sample: 1
    resources:
      description: How many objects were added, changed and removed per C(group/resource). Keys that hold no object are under "".
      type: dict
      sample: {"secrets": {"added": 1, "changed": 0, "removed": 12}}
    added_count:
      description: Keys that the older one lacks.
      type: int
      sample: 1
    changed_count:
      description: Keys that both have, with another revision or value.
      type: int
      sample: 44
    removed_count:
      description: Keys that only the older one has.
      type: int
      sample: 12
    added:
      description: The first of them. List C(added) of O(dest).
      type: list
      elements: dict
      sample: [{"etcd_key": "/registry/secrets/prod/new", "resource": "secrets", "namespace": "prod", "name": "new"}]
    changed:
      description: The first of them. List C(changed) of O(dest).
      type: list
      elements: dict
      sample: []
    removed:
      description: The first of them. List C(removed) of O(dest).
      type: list
      elements: dict
      sample: [{"etcd_key": "/registry/secrets/prod/db", "resource": "secrets", "namespace": "prod", "name": "db"}]
dest:
  description: The file with the whole lists.
  type: dict
  returned: if O(dest) is given, not in check mode
  sample: {"path": "/root/lost.jsonl", "line_count": 57}
error:
  description: What failed, for C(rescue) to branch on. C(kind) is stable.
  type: dict
  returned: failure
  sample:
    kind: snapshot_invalid
    message: Snapshot /a.db is empty.
    hint: Copy it again, or choose another one.
    endpoint: null
    path: /a.db
"""

import contextlib
import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _argspec, _module, _query
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import names, store
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot import opened
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.inspect import (
    Wish,
    inspect,
    read_older,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.listed import (
    check_dest,
    open_lists,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.report import report

ARGUMENT_SPEC: dict[str, t.Any] = {
    **_argspec.ARCHIVE,
    **_argspec.IDENTITY,
    "archive": {"type": "str"},
    "path": {"type": "path"},
    "id": {"type": "str"},
    "skip_hash_check": {"type": "bool", "default": False},
    "etcd_prefix": {"type": "str", "default": "/registry"},
    "hash_revision": {"type": "int"},
    "hash_compact_revision": {"type": "int"},
    "etcd_version": {"type": "str"},
    "query": {"type": "str"},
    "compare_to": {"type": "str"},
    "limit": {"type": "int", "default": 10},
    "dest": {"type": "path"},
}


def action(call: _module.Call) -> _module.Outcome:
    """Read the snapshot."""
    params = call.params
    if not 0 <= params["limit"] <= 1000:
        raise OptionInvalid(
            f"Option limit is {params['limit']}.", hint="Set 0 to 1000, and dest for long lists."
        )
    asked = {each.name: params[each.name] for each in dataclasses.fields(Wish)}
    wish = Wish(**{**asked, "query": _query.given(params["query"])})
    wish.check()
    if params["dest"] is not None:
        check_dest(params["dest"], spare=_files_read(params), archive=params["archive"])
    dest = None if call.check_mode else params["dest"]
    compared = None
    if params["compare_to"]:
        with _open("compare_to", params) as older:
            compared = read_older(older, etcd_prefix=wish.etcd_prefix)
    with (
        _open("id" if params["path"] is None else "path", params) as snapshot,
        open_lists(params["limit"], dest) as lists,
    ):
        found = inspect(snapshot, wish, compared, lists)
        result = report(snapshot, found, lists)
        warnings = [*found.warnings, *lists.warnings(snapshot.where)]
    if dest:
        result["dest"] = {"path": dest, "line_count": lists.line_count}
    return _module.Outcome(result, warnings=warnings)


def _files_read(params: t.Mapping[str, t.Any]) -> list[str]:
    single = ("path", "compare_to", "signing_key")
    found = [*params["identities"], *params["allowed_signers"], *(params[name] for name in single)]
    return [path for path in found if path]


def _open(
    option: str, params: t.Mapping[str, t.Any]
) -> contextlib.AbstractContextManager[opened.Opened]:
    what: str = params[option]
    keys = opened.Keys(tuple(params["identities"]), params["spool_dir"])
    if option == "path" or (option == "compare_to" and what.startswith("/")):
        return opened.open_path(what, keys, skip_hash_check=params["skip_hash_check"])
    if what != "latest" and not names.is_entry(what):
        raise OptionInvalid(
            f"Option {option} is {what!r}: neither latest nor the ID of an archive's entry.",
            hint="An ID looks like 20261123T145000Z-7c9e1a2b; name a file by its absolute path"
            + (" in option path." if option == "id" else "."),
        )
    if not (params["archive"] and params["etcd_cluster"]):
        raise OptionInvalid(
            f"Entry {what} cannot be looked up: archive and etcd_cluster are not both set.",
            hint="Set both, or name a file by its absolute path.",
        )
    place = store.open_store(params["archive"])
    place.must_exist()
    prefix = names.Prefix(params["etcd_cluster"], params["etcd_instance"] or names.MAIN)
    return opened.open_entry(what, opened.Shelf(place, prefix, _argspec.signers(params)), keys)


def main() -> None:
    """Run the module."""
    _module.run(
        ARGUMENT_SPEC,
        action,
        needs=["google_crc32c"],
        mutually_exclusive=[("path", "id")],
        required_one_of=[("path", "id")],
    )


if __name__ == "__main__":
    main()
