# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""One call of etcd_restore: look, decide, and do it unless it is only to be told."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import socket
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    OptionInvalid,
    RestoreRefused,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node.holders import (
    holders,
    is_locked,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node.journal import Entry, Journal
from ansible_collections.controlplane.etcd.plugins.module_utils._node.locks import host_lock
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.apart import apart
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.opened import (
    Opened,
    open_path,
)

from .apply import Restore, Source, check_staged, places_of, refuse_held
from .folders import look
from .image import Image, look_into
from .options import Options, asked_of, membership_of, tool_of, worn_of
from .places import Places, journal_path
from .plan import Facts, StagePlan, Wish, lay_out, plan_stage
from .states import Action, State, decide

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.etcdutl import Tool

    from .members import Membership

__all__ = ["Report", "run"]


@dataclasses.dataclass(frozen=True)
class Report:
    """What was done, or would be.

    :param entry: the journal afterwards; None where there is none.
    :param plan: of a staging that is due.
    :param restored: what that gives.
    """

    changed: bool
    journal: str
    before: State
    after: State
    entry: Entry | None
    places: Places | None
    plan: StagePlan | None = None
    restored: t.Mapping[str, t.Any] | None = None
    warnings: tuple[str, ...] = ()


# What a finished action leaves.
_AFTER = {
    Action.STAGE: State.STAGED,
    Action.SWAP: State.SWAPPED,
    Action.UNSTAGE: State.ROLLED_BACK,
    Action.ROLL_BACK: State.ROLLED_BACK,
    Action.COMMIT: State.COMMITTED,
}


def run(options: Options, *, check: bool, restore: type[Restore] = Restore) -> Report:
    """Bring a member's folders into the wished state, or only tell what that takes.

    :param restore: what does it; tests give one that dies at a step.
    """
    data_dir = os.path.realpath(options.data_dir)
    journal = Journal(journal_path(options.journal_dir, data_dir))
    with contextlib.ExitStack() as stack:
        if not check:
            stack.enter_context(host_lock(f"restore-{data_dir}", options.lock_timeout))
        entry = journal.read()
        action, state = decide(options.state, entry, run=options.id, data_dir=data_dir)
        if entry is not None and state is State.NONE:
            entry = None  # a finished one of another run
        if action in (Action.STAGE, Action.COMPARE):
            return _stage(options, journal, entry, action, state, check=check, restore=restore)
        if entry is None or action is Action.NOTHING:
            return Report(
                changed=False,
                journal=journal.path,
                before=state,
                after=state,
                entry=entry,
                places=places_of(entry) if entry else None,
            )
        _check_same(options, entry)
        if check:
            after = entry
            _foresee(action, entry)
        else:
            done = restore(journal)
            doing = {
                Action.SWAP: done.swap,
                Action.UNSTAGE: done.unstage,
                Action.ROLL_BACK: done.roll_back,
                Action.COMMIT: done.commit,
            }
            after = doing[action](entry)
        return Report(
            changed=True,
            journal=journal.path,
            before=state,
            after=_AFTER[action],
            entry=after,
            places=places_of(entry),
        )


def _foresee(action: Action, entry: Entry) -> None:
    places = places_of(entry)
    if entry.state == State.STAGED and action is Action.SWAP:
        check_staged(entry)
    folders = {
        Action.SWAP: places.tops,
        Action.UNSTAGE: places.stagings,
        Action.ROLL_BACK: (*places.tops, *places.asides("before")),
        Action.COMMIT: places.asides("before"),
    }
    refuse_held(places, folders[action], _AFTER[action].value, database=folders[action][0])


def _check_same(options: Options, entry: Entry) -> None:
    given = os.path.realpath(options.wal_dir) if options.wal_dir else None
    if given is not None and given != entry.body["asked"]["wal_dir"]:
        raise RestoreRefused(
            f"Restore {entry.run} of {options.data_dir} was staged with wal_dir "
            f"{entry.body['asked']['wal_dir']}, not {given}.",
            hint="Leave wal_dir out: the journal knows it.",
            path=given,
        )


def _stage(
    options: Options,
    journal: Journal,
    entry: Entry | None,
    action: Action,
    state: State,
    *,
    check: bool,
    restore: type[Restore],
) -> Report:
    identifier = options.id or (entry.run if entry else None)
    new = identifier or f"{_time.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    membership = membership_of(options, new, is_named=identifier is not None)
    if entry is not None and _is_lost(entry):
        action = Action.STAGE
    if action is Action.COMPARE and entry is not None:
        _compare(options, membership, entry)
        return Report(
            changed=False,
            journal=journal.path,
            before=state,
            after=state,
            entry=entry,
            places=places_of(entry),
        )
    data = look(options.data_dir)
    wal = look(options.wal_dir) if options.wal_dir else None
    places = lay_out(new, data, wal)
    tool = tool_of(options)
    worn = worn_of(options, data)
    with _opened(options) as opened:
        image = apart(
            lambda: look_into(opened, etcd_prefix=options.etcd_prefix), reads=[opened.where]
        )
        wish = Wish(
            id=new,
            membership=membership,
            bump=options.bump,
            etcd_version=options.etcd_version,
            sha256=options.sha256,
            kube_system_uid=options.kube_system_uid,
            skip_hash_check=options.skip_hash_check,
        )
        facts = Facts(
            data=data,
            wal=wal,
            places=places,
            tool=tool,
            image=image,
            is_live=_is_live(places),
            in_the_way=_in_the_way(places, entry),
            now=_time.now(),
        )
        plan = plan_stage(wish, facts)
        restored = _restored(plan, tool, image, membership)
        after = entry
        if not check:
            source = Source(
                tool, opened.descriptor, image.where, options.skip_hash_check, options.timeout
            )
            after = restore(journal).stage(
                plan,
                source,
                membership,
                owner=_who(),
                worn=worn,
                body={
                    "asked": asked_of(options, membership, image.sha256),
                    "restored": restored,
                },
            )
    return Report(
        changed=True,
        journal=journal.path,
        before=state,
        after=State.STAGED,
        entry=after,
        places=places,
        plan=plan,
        restored=restored,
        warnings=plan.warnings + _left(after if not check else None),
    )


def _is_lost(entry: Entry) -> bool:
    """Tell whether what was staged is there no more."""
    if entry.state != State.STAGED:
        return False
    return not all(os.path.lexists(path) for path in entry.body["staged"])


def _left(entry: Entry | None) -> tuple[str, ...]:
    left = entry.body.get("old_members") if entry else None
    if not left:
        return ()
    return (
        f"etcd's tool left old members in the db ({', '.join(left)}), as that of 3.4 does: upgrade "
        "the restored cluster member by member only, never feed this folder to etcd 3.6.",
    )


@contextlib.contextmanager
def _opened(options: Options) -> t.Iterator[Opened]:
    if not options.snapshot:
        raise OptionInvalid(
            "State staged needs snapshot.", hint="Name a snapshot that lies on this host."
        )
    with open_path(
        options.snapshot, options.keys, skip_hash_check=options.skip_hash_check
    ) as opened:
        yield opened


def _compare(options: Options, membership: Membership, entry: Entry) -> None:
    """Refuse what is not what was staged."""
    there = entry.body["asked"]
    sha256 = (options.sha256 or "").lower()
    if sha256 != there["sha256"] and options.snapshot:
        with _opened(options) as opened:
            sha256 = opened.sha256
    asked = asked_of(options, membership, sha256)
    # Where the snapshot is gone and none is named, what lies there is what was staged.
    other = [
        name for name in asked if asked[name] != there.get(name) and (sha256 or name != "sha256")
    ]
    if other:
        name = other[0]
        raise RestoreRefused(
            f"Restore {entry.run} of {options.data_dir} is {entry.state} already, with other "
            f"options: {name} was {there.get(name)!r}, now it is {asked[name]!r}.",
            hint="Run state rolled_back to begin anew, or go on with the options it was staged with.",
            path=options.data_dir,
        )


def _restored(
    plan: StagePlan, tool: Tool, image: Image, membership: Membership
) -> dict[str, t.Any]:
    return {
        "name": membership.own.name,
        "member_id": membership.own_id,
        "cluster_id": membership.cluster_id,
        "initial_cluster_token": membership.own.initial_cluster_token,
        "members": [
            {"id": each.id, "name": each.name, "peer_urls": list(each.peer_urls)}
            for each in membership.members
        ],
        "snapshot_sha256": image.sha256,
        "snapshot_revision": image.revision,
        "revision": plan.revision,
        "bump_revision": plan.bump_revision,
        "mark_compacted": bool(plan.bump_revision),
        "key_count": image.key_count,
        "db_size_bytes": image.size_bytes,
        "kube_system_uid": image.kube_system_uid,
        "etcd_minor": plan.etcd_minor,
        "tool_version": tool.version,
    }


def _is_live(places: Places) -> bool:
    there = [path for path in places.tops if os.path.isdir(path)]
    database = os.path.join(places.data_dir, "member", "snap", "db")
    return bool(holders(there)) or is_locked(database)


def _in_the_way(places: Places, entry: Entry | None) -> tuple[str, ...]:
    begun = entry is not None and entry.state in (State.STAGING, State.STAGED)
    ours = places.stagings if begun else ()
    wanted = (*places.stagings, *places.asides("before"), *places.asides("undone"))
    return tuple(path for path in wanted if path not in ours and os.path.lexists(path))


def _who() -> str:
    user = os.environ.get("SUDO_USER") or str(os.geteuid())
    return f"{user} on {socket.gethostname()}, pid {os.getpid()}"
