#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_archive_prune
short_description: Remove old entries from an archive of etcd backups
description:
  - Rotates the entries of one cluster by a policy in restic's words. An entry is kept if any rule keeps it. Runs on the
    controller.
  - Only entries that count take part and are ever removed. These are trusted, lie where they belong with all of their files,
    are no emergency backups, and passed all of their checks. All others are reported in RV(not_judged).
  - Never removed are the newest entry that counts, the newest one of those that restore the most, as C(completeness) of
    M(controlplane.etcd.etcd_archive_info) says it, the newest one that a drill has proven, and the one that a drill proved
    last. Before anything else is removed, they are read in full and compared with the sha256 of their manifests.
  - Never removed are what is pinned by a file C(PINNED) in the entry, and what is in use.
  - So that a wiped cluster does not rotate its history away, never removed are the last and the largest entry before a
    shrink, where objects fell by more than a third, in one night or in many, the first one after it, and the largest one
    since then. Where an etcd never held an object of Kubernetes, keys count.
  - Refused are a policy without a rule, a clock that says that the newest entry is from the future, and more removals than
    O(max_removals).
  - A run that dies leaves an entry whole, or hidden as C(.ID.removed). The next run judges it with the others where it is
    still whole, and gives it its name back or deletes it. Of what is not, it deletes what is left.
  - An entry that cannot be removed does not keep the others. The task fails, and returns all that it did.
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane)
options:
  etcd_cluster:
    description:
      - Name of the cluster. Nothing outside its folder in the archive is removed.
    required: true
  release:
    description:
      - IDs of entries that need not be kept any more because objects fell by more than a third after them, or might. Other
        reasons may still keep them, and the first entry after the shrink. The ID of the last entry before a shrink also
        releases the largest one before it. There is a warning about an ID that changed nothing.
    type: list
    elements: str
    default: []
  verify:
    description:
      - V(signature) checks the signature of each entry's manifest, and that its files are there in their sizes.
      - V(files) takes the sha256 of every file too, and so reads all of the cluster's archive.
    type: str
    choices: [signature, files]
    default: signature
  lock_timeout:
    description:
      - How long to wait for another run that is removing entries of the same cluster.
    type: str
    default: 60s
extends_documentation_fragment:
  - controlplane.etcd._archive
  - controlplane.etcd._retention
  - controlplane.etcd._attributes
  - controlplane.etcd._attributes.controller
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The diff shows each entry with what keeps it, or why no rule does.
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Keep a week of days, two months of weeks and a year of months
  controlplane.etcd.etcd_archive_prune:
    archive: /srv/etcd-archive
    etcd_cluster: prod
    allowed_signers: /etc/etcd-backup/signing_key.pub
    keep_last: 7
    keep_daily: 14
    keep_weekly: 8
    keep_monthly: 12
  delegate_to: localhost
  register: rotated

- name: Have something left to go back to
  ansible.builtin.assert:
    that: rotated.entries | selectattr('keep') | selectattr('counts') | length > 0

- name: See what a first rotation of an old archive would remove
  controlplane.etcd.etcd_archive_prune:
    archive: /srv/etcd-archive
    etcd_cluster: prod
    allowed_signers: /etc/etcd-backup/signing_key.pub
    keep_daily: 14
    keep_monthly: 12
    max_removals: 400
  delegate_to: localhost
  check_mode: true
  diff: true

- name: Let go what was kept since a namespace was deleted on purpose
  controlplane.etcd.etcd_archive_prune:
    archive: /srv/etcd-archive
    etcd_cluster: prod
    allowed_signers: /etc/etcd-backup/signing_key.pub
    keep_daily: 14
    release:
      - 20261123T145000Z-7c9e1a2b
  delegate_to: localhost
"""

RETURN = r"""
entries:
  description: All entries of the cluster, newest first, each with what was decided.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: The entry's ID, start time and a random part.
      type: str
      sample: 20261123T145000Z-7c9e1a2b
    keep:
      description: Whether it stays.
      type: bool
      sample: true
    reasons:
      description: What keeps it, or for each rule why it does not.
      type: list
      elements: str
      sample: [the newest verified, last, daily 2026-11-23, weekly 2026-W48, monthly 2026-11]
    counts:
      description: Whether it takes part in retention.
      type: bool
      sample: true
    trust:
      description: How far it can be trusted, as M(controlplane.etcd.etcd_archive_info) says it.
      type: str
      sample: trusted
    created_at:
      description: When it was started, by the controller's clock. Null where there is no manifest to say so.
      type: str
      sample: "2026-11-23T14:50:00Z"
    object_count:
      description: Kubernetes objects in the snapshot. Null where there is no manifest to say so.
      type: int
      sample: 987
    proven:
      description: Whether its last drill passed.
      type: bool
      sample: false
    pinned:
      description: The text of the file C(PINNED) in it, null if there is none.
      type: str
      sample: before the upgrade to 1.35
    used_by:
      description: Which process marked it as in use, null if none that lives did.
      type: str
      sample: null
    size_bytes:
      description: Size of the files that lie in it.
      type: int
      sample: 4223871
entry_count:
  description: How many entries there were.
  type: int
  returned: success
  sample: 42
removed:
  description: IDs of the entries that were removed, or would be in check mode, oldest first.
  type: list
  elements: str
  returned: success
  sample: [20261109T020000Z-0badc0de]
freed_bytes:
  description: Size of the files of RV(removed).
  type: int
  returned: success
  sample: 4215031
finished:
  description: IDs of entries that a run which died had begun to remove, and that are gone now, or would be in check mode.
  type: list
  elements: str
  returned: success
  sample: []
put_back:
  description:
    - IDs of entries that a run which died had begun to remove, and that have their names back, or would in check mode, since
      they are whole and something keeps them now.
  type: list
  elements: str
  returned: success
  sample: []
not_done:
  description: Entries that could not be removed, or put back. The task fails if there are any.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: The entry's ID.
      type: str
      sample: 20261110T020000Z-5ca1ab1e
    reason:
      description: What failed, and why.
      type: str
      sample: "The archive on the controller cannot remove /srv/etcd-archive/prod/20261110T020000Z-5ca1ab1e: Permission denied."
not_judged:
  description: Entries that do not count, and so are never removed.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: The entry's ID.
      type: str
      sample: 20261110T020000Z-5ca1ab1e
    trust:
      description: How far it can be trusted.
      type: str
      sample: unsigned
    reason:
      description: Why it does not count.
      type: str
      sample: "unsigned: There is no signature."
error:
  description:
    - What failed, with a stable C(kind) to branch on, among them V(policy_empty), V(clock_implausible) and
      V(removals_capped). With V(archive), all that is returned on success may be there, too. See RV(not_done).
  type: dict
  returned: failure
  sample: {"kind": "removals_capped"}
"""

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _argspec, _module, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    names,
    prune,
    store,
    trust,
)

ARGUMENT_SPEC: dict[str, t.Any] = {
    **_argspec.ARCHIVE,
    **_argspec.RETENTION,
    "etcd_cluster": {"type": "str", "required": True},
    "release": {"type": "list", "elements": "str", "default": []},
    "verify": {"type": "str", "choices": ["signature", "files"], "default": "signature"},
    "lock_timeout": {"type": "str", "default": "60s"},
}


def action(call: _module.Call) -> _module.Outcome:
    """Judge the entries, and remove what no reason keeps."""
    params = call.params
    wish = prune.Wish(
        place=store.open_store(params["archive"]),
        prefix=names.Prefix(params["etcd_cluster"], params["etcd_instance"] or names.MAIN),
        signers=_argspec.signers(params),
        policy=_argspec.policy_from_params(params),
        depth=params["verify"],
        max_removals=params["max_removals"],
        released=tuple(params["release"]),
        lock_seconds=_argspec.duration(params, "lock_timeout"),
    )
    done = prune.prune(wish, now=_time.now(), really=not call.check_mode)
    stay = [judged for judged in done.judged if not judged.verdict.snapshot.counts]
    result = {
        "entries": [_told(judged) for judged in done.judged],
        "entry_count": len(done.judged),
        "removed": list(done.removed),
        "freed_bytes": done.freed_bytes,
        "finished": list(done.finished),
        "put_back": list(done.put_back),
        "not_done": [{"id": entry, "reason": exc.message} for entry, exc in done.failed],
        "not_judged": [
            {
                "id": judged.entry.id,
                "trust": judged.entry.trust.value,
                "reason": judged.verdict.snapshot.why_not,
            }
            for judged in stay
        ],
    }
    warnings = [
        f"Entry {wish.prefix}/{judged.entry.id} is not judged and stays: "
        f"{judged.verdict.snapshot.why_not}"
        for judged in stay
        if judged.entry.trust is not trust.TrustState.TRUSTED
    ]
    return _module.Outcome(
        result,
        changed=bool(done.removed or done.finished or done.put_back),
        warnings=[*warnings, *done.warnings],
        diff={"prepared": "".join(_line(judged) for judged in done.judged)},
        failed=done.error,
    )


def _told(judged: prune.Judged) -> dict[str, t.Any]:
    snapshot, found = judged.verdict.snapshot, judged.entry.manifest
    return {
        "id": snapshot.id,
        "keep": judged.verdict.keep,
        "reasons": list(judged.verdict.reasons),
        "counts": snapshot.counts,
        "trust": judged.entry.trust.value,
        "created_at": found.created_at if found else None,
        "object_count": found.kubernetes.object_count if found else None,
        "proven": snapshot.proven,
        "pinned": snapshot.pinned,
        "used_by": snapshot.used_by,
        "size_bytes": judged.size_bytes,
    }


def _line(judged: prune.Judged) -> str:
    """Return an entry as a line of a diff: what stays begins with a blank, what goes with a minus."""
    sign = " " if judged.verdict.keep else "-"
    prefix = judged.entry.prefix
    return f"{sign}{prefix}/{judged.entry.id}  {'; '.join(judged.verdict.reasons)}\n"


def main() -> None:
    """Run the module."""
    _module.run(ARGUMENT_SPEC, action, needs=["jsonschema"])


if __name__ == "__main__":
    main()
