# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a caller of a restore asks for, and what follows from that alone."""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._etcd import etcdutl
from ansible_collections.controlplane.etcd.plugins.module_utils._node.processes import find_tools

from .folders import Folder, Look
from .members import Membership, plan_members

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.opened import Keys

    from .bump import BumpWish
    from .states import Wished

__all__ = ["Options", "asked_of", "membership_of", "tool_of", "worn_of"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What a caller wants, read from its options."""

    state: Wished
    data_dir: str
    wal_dir: str | None
    id: str | None
    journal_dir: str
    lock_timeout: float
    keys: Keys
    snapshot: str | None = None
    name: str | None = None
    initial_cluster: str | None = None
    initial_advertise_peer_urls: str | None = None
    initial_cluster_token: str | None = None
    bump: BumpWish | None = None
    etcd_version: str | None = None
    sha256: str | None = None
    kube_system_uid: str | None = None
    etcd_prefix: str = "/registry"
    skip_hash_check: bool = False
    etcdutl: str | None = None
    owner: str | None = None
    group: str | None = None
    timeout: float = 1800.0


def membership_of(options: Options, identifier: str, *, is_named: bool) -> Membership:
    """Read who the members will be; the token is made of the restore's ID unless one is given.

    :raises OptionInvalid: something is missing, or would differ from host to host.
    """
    name, cluster = options.name, options.initial_cluster
    if not name or not cluster:
        raise OptionInvalid(
            "State staged needs name and initial_cluster.",
            hint="Give what etcd itself is started with on this host.",
        )
    several = len({part.partition("=")[0].strip() for part in cluster.split(",")}) > 1
    if several and not options.initial_cluster_token and not is_named:
        raise OptionInvalid(
            "Option initial_cluster has several members, which need one fresh "
            "initial_cluster_token: made here, each host would have its own.",
            hint="Set id to one new value for all of them, from which the token is made, or set "
            "initial_cluster_token.",
        )
    return plan_members(
        name,
        initial_cluster=cluster,
        initial_advertise_peer_urls=options.initial_advertise_peer_urls,
        token=options.initial_cluster_token or f"controlplane-etcd-{identifier}",
    )


def tool_of(options: Options) -> etcdutl.Tool:
    """Return the tool that was named, or the one on PATH.

    :raises ToolUnusable: it can't be run, or restores nothing.
    :raises OptionInvalid: there is none.
    """
    if options.etcdutl:
        return etcdutl.probe(options.etcdutl)
    names = ("etcdutl", "etcdctl")
    found = {each.name: each.path for each in find_tools(None) if each.name in names}
    for name in names:
        if name in found:
            return etcdutl.probe(found[name])
    raise OptionInvalid(
        "No etcdutl is on this host's PATH.",
        hint="Name it with etcdutl: an archive has it among its tools.",
    )


def asked_of(options: Options, membership: Membership, sha256: str) -> dict[str, t.Any]:
    """Return what tells one restore from another."""
    own = membership.own
    bump = options.bump
    return {
        "sha256": sha256,
        "wal_dir": os.path.realpath(options.wal_dir) if options.wal_dir else None,
        "name": own.name,
        "initial_cluster": own.initial_cluster,
        "initial_advertise_peer_urls": own.initial_advertise_peer_urls,
        "initial_cluster_token": own.initial_cluster_token,
        "bump_revision": None if bump is None else ("auto" if bump.fixed is None else bump.fixed),
    }


def worn_of(options: Options, data: Folder) -> Look:
    """Return how new folders look where there are no old ones."""
    if data.look is not None:
        return dataclasses.replace(data.look, mode=0o700)
    try:
        uid = pwd.getpwnam(options.owner).pw_uid if options.owner else os.geteuid()
        gid = grp.getgrnam(options.group).gr_gid if options.group else os.getegid()
    except KeyError as exc:
        raise OptionInvalid(
            f"Options owner and group: {exc.args[0]}.", hint="Name a user and a group of this host."
        ) from exc
    return Look(uid, gid, 0o700)
