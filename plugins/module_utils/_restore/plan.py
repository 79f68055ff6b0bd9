# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a staging will do, or why it is refused. Pure: facts in, plan out."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    RestoreRefused,
    SpaceMissing,
)

from .bump import BumpWish, raised_by
from .places import Places, is_ours

if t.TYPE_CHECKING:
    import datetime as dt

    from ansible_collections.controlplane.etcd.plugins.module_utils._etcd.etcdutl import Tool

    from .folders import Folder
    from .image import Image
    from .members import Membership

__all__ = ["Facts", "Space", "StagePlan", "Wish", "lay_out", "plan_stage"]

_MIB = 1 << 20
# etcd's tool preallocates one WAL segment of 64 MiB and a second one behind it (wal.go, file_pipeline.go).
_WAL_BYTES = 128 * _MIB
_RESERVE_BYTES = 64 * _MIB
# What an etcd that still runs on the file system must keep.
_LIVE_RESERVE_BYTES = 512 * _MIB
# What a plain disk writes and syncs a second.
_DISK_BYTES_PER_SECOND = 100e6
_IGNORED = ("lost+found",)


@dataclasses.dataclass(frozen=True)
class Wish:
    """What was asked for.

    :param id: the restore's ID.
    :param bump: None for a revision that is not raised.
    :param etcd_version: the version, or minor, of the etcd that will serve the data.
    """

    id: str
    membership: Membership
    bump: BumpWish | None
    etcd_version: str | None
    sha256: str | None
    kube_system_uid: str | None
    skip_hash_check: bool


@dataclasses.dataclass(frozen=True)
class Facts:
    """What there is.

    :param is_live: whether a process holds the member's folders.
    :param in_the_way: paths where the restore would put something.
    """

    data: Folder
    wal: Folder | None
    places: Places
    tool: Tool
    image: Image
    is_live: bool
    in_the_way: tuple[str, ...]
    now: dt.datetime


@dataclasses.dataclass(frozen=True)
class Space:
    """Room on one file system."""

    path: str
    needed_bytes: int
    reserve_bytes: int
    free_bytes: int


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """What will be done."""

    places: Places
    etcd_minor: str
    bump_revision: int
    revision: int
    space: tuple[Space, ...]
    seconds: int
    basis: str
    warnings: tuple[str, ...]


def lay_out(restore: str, data: Folder, wal: Folder | None) -> Places:
    """Decide what is renamed: the folders, or what is in them.

    :raises RestoreRefused: a folder is not a member's, or can't be swapped by rename.
    """
    entries = [each for each in data.entries or () if not is_ours(each)]
    others = [each for each in entries if each not in ("member", *_IGNORED)]
    below = None
    apart = wal
    if wal is not None and wal.path.startswith(data.path + "/"):
        below = wal.path[len(data.path) + 1 :]
        others = [each for each in others if each != below.split("/")[0]]
    if data.links and not (data.links == ("member/wal",) and wal is not None):
        raise RestoreRefused(
            f"{data.path}/{data.links[0]} is a link, which a swap would lose.",
            hint="Name the folder that it leads to with wal_dir, and have etcd started with that "
            "as its --wal-dir; or undo the link.",
            path=data.path,
        )
    if others and "member" not in entries:
        raise RestoreRefused(
            f"{data.path} is no data folder of etcd: it has no member/, but {_some(others)}.",
            hint="Name the folder that etcd is told by --data-dir; an empty one may stay.",
            path=data.path,
        )
    inside = data.is_mount or bool(others)
    if below is not None and (below.startswith("member/") or not inside):
        apart = None
    else:
        below = None
    if apart is not None:
        _check_wal(apart)
    return Places(
        id=restore,
        data_dir=data.path,
        inside=inside,
        wal_dir=apart.path if apart else None,
        wal_inside=bool(apart and apart.is_mount),
        wal_below=below,
    )


def _check_wal(wal: Folder) -> None:
    others = [
        each
        for each in wal.entries or ()
        if not is_ours(each) and each not in _IGNORED and not each.endswith((".wal", ".tmp"))
    ]
    if others:
        raise RestoreRefused(
            f"{wal.path} is no WAL folder of etcd: it holds {_some(others)}.",
            hint="Name the folder that etcd is told by --wal-dir.",
            path=wal.path,
        )


def plan_stage(wish: Wish, facts: Facts) -> StagePlan:
    """Check that a snapshot can be restored here, for this cluster, and say how.

    :raises RestoreRefused: it is another cluster's, another one than expected, of another minor, or
        something is in the way.
    :raises SpaceMissing: with what is there and what is needed.
    :raises ToolUnusable: the tool can't raise the revision.
    :raises OptionInvalid: the revision would be raised too far.
    """
    image = facts.image
    _check_file(wish, image)
    _check_cluster(wish, image)
    minor = _check_minor(wish, facts)
    bump = 0
    if wish.bump is not None:
        facts.tool.check_bump()
        bump = raised_by(wish.bump, image.revision, now=facts.now)
    _check_places(facts)
    seconds = image.read_seconds + image.size_bytes / _DISK_BYTES_PER_SECOND
    return StagePlan(
        places=facts.places,
        etcd_minor=minor,
        bump_revision=bump,
        revision=image.revision + bump,
        space=_plan_space(facts),
        seconds=int(seconds) + 1,
        basis=f"reading and checking its {image.size_bytes} bytes took {image.read_seconds:.1f} s "
        f"just now; writing them is reckoned at {_DISK_BYTES_PER_SECOND / 1e6:.0f} MB/s",
        warnings=tuple(_warnings(wish, image, bump)),
    )


def _check_file(wish: Wish, image: Image) -> None:
    if image.trailer != "passed" and not wish.skip_hash_check:
        raise RestoreRefused(
            f"Snapshot {image.where} has no sha256 behind its image: it was copied out of a data "
            "folder, perhaps while etcd wrote to it.",
            hint="Restore a snapshot that etcd made. If this file is all there is, set "
            "skip_hash_check: its structure is proven all the same.",
            path=image.where,
        )
    if image.trailer == "failed" and image.trailer_bytes != 32:
        raise RestoreRefused(
            f"Snapshot {image.where} goes on for {image.trailer_bytes} bytes behind its image.",
            hint="etcd's tool would take them along: cut them off, or copy the file again.",
            path=image.where,
        )
    if wish.sha256 is not None and wish.sha256.lower() != image.sha256:
        raise RestoreRefused(
            f"Snapshot {image.where} is another one: its image has sha256 {image.sha256}, expected "
            f"was {wish.sha256}.",
            hint="Deliver the entry again, or correct sha256.",
            path=image.where,
        )


def _check_cluster(wish: Wish, image: Image) -> None:
    if wish.kube_system_uid is not None and wish.kube_system_uid != image.kube_system_uid:
        raise RestoreRefused(
            f"Snapshot {image.where} is another cluster's: its kube-system namespace has UID "
            f"{image.kube_system_uid or 'none'}, expected was {wish.kube_system_uid}.",
            hint="Choose an archive of this cluster, or correct kube_system_uid.",
            path=image.where,
        )
    again = sorted({each.id for each in wish.membership.members} & set(image.member_ids))
    if again:
        raise RestoreRefused(
            f"Member {again[0]} of the snapshot would come back under its old ID: these peer URLs "
            "with this initial_cluster_token are those of the old cluster, whose members could "
            "join it.",
            hint="Give an initial_cluster_token that was never used, or leave it out.",
        )


def _check_minor(wish: Wish, facts: Facts) -> str:
    image, tool = facts.image, facts.tool
    stored = image.storage_version or image.cluster_version
    asked = wish.etcd_version or stored
    if asked is None:
        raise RestoreRefused(
            f"Snapshot {image.where} does not say which etcd wrote it.",
            hint="Set etcd_version to that of the etcd that will serve it.",
            path=image.where,
        )
    minor = _minor(asked)
    if stored is not None and _number(minor) < _number(_minor(stored)):
        raise RestoreRefused(
            f"Snapshot {image.where} is of etcd {_minor(stored)}; an etcd {minor} can't serve it.",
            hint=f"Use etcd {_minor(stored)}.",
            path=image.where,
        )
    if tool.minor != minor:
        raise RestoreRefused(
            f"{tool.path} is {tool.name} {tool.version}; this is to be served by etcd {minor}, and "
            "only the tool of the same minor makes its folders.",
            hint=f"Name an etcdutl of etcd {minor}"
            + (" (its etcdctl)" if minor == "3.4" else "")
            + ", or set etcd_version if another etcd will serve it.",
            path=tool.path,
        )
    return minor


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _number(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


def _check_places(facts: Facts) -> None:
    for folder in (facts.data, facts.wal):
        if folder is not None and folder.here.is_memory:
            raise RestoreRefused(
                f"{folder.path} lies in memory ({folder.here.kind}): what is restored there is gone "
                "with the next boot.",
                hint="Mount the disk that etcd's data belongs on.",
                path=folder.path,
            )
    for folder in (facts.data, facts.wal):
        if folder is not None and folder.beside.path != folder.path.rpartition("/")[0]:
            raise RestoreRefused(
                f"{folder.path} can't be made: {folder.path.rpartition('/')[0]} is not there.",
                hint="Make that folder, with the owner and mode that etcd needs.",
                path=folder.path,
            )
    if facts.in_the_way:
        raise RestoreRefused(
            f"{facts.in_the_way[0]} is there already, and no journal says that it is this "
            "restore's.",
            hint="Take another id, or remove it if it is a leaving of one that is over.",
            path=facts.in_the_way[0],
        )


def _plan_space(facts: Facts) -> tuple[Space, ...]:
    places = facts.places
    data = facts.data.here if places.inside else facts.data.beside
    needs = [(data, facts.image.size_bytes)]
    wal = data
    if facts.wal is not None and places.wal_dir:
        wal = facts.wal.here if places.wal_inside else facts.wal.beside
    needs.append((wal, _WAL_BYTES))
    reserve = _LIVE_RESERVE_BYTES if facts.is_live else _RESERVE_BYTES
    found: list[Space] = []
    for place, needed in needs:
        if found and place.is_same(data):
            found[0] = dataclasses.replace(found[0], needed_bytes=found[0].needed_bytes + needed)
        else:
            found.append(Space(place.path, needed, reserve, place.free_bytes))
    for each in found:
        if each.free_bytes < each.needed_bytes + each.reserve_bytes:
            raise SpaceMissing(
                f"Not enough room on the file system of {each.path}: {_mib(each.free_bytes)} free; "
                f"the restored data takes {_mib(each.needed_bytes)}, and "
                f"{_mib(each.reserve_bytes)} must stay free"
                f"{' for the etcd that runs on it' if facts.is_live else ''}.",
                hint="Free space there: the old data must lie beside the new one until state "
                "committed.",
                path=each.path,
            )
    return tuple(found)


def _warnings(wish: Wish, image: Image, bump: int) -> t.Iterator[str]:
    if image.trailer != "passed":
        yield (
            f"Snapshot {image.where} has no valid sha256 of its own: its structure holds, but "
            "nothing proves that its values are those that were written."
        )
    if image.object_count and not bump:
        yield (
            "The revision is not raised: clients that watched the old history, Kubernetes' own "
            "among them, will take the restored one for it. Set bump_revision to auto."
        )
    for alarm in image.alarms:
        yield f"Alarm {alarm} is in the snapshot and survives: disarm it once etcd is up."
    if wish.kube_system_uid is None and wish.sha256 is None:
        yield (
            "Nothing says whose snapshot this must be: set sha256 or kube_system_uid, as the "
            "archive's manifest has them."
        )


def _some(names: t.Sequence[str]) -> str:
    shown = ", ".join(repr(each) for each in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _mib(size: float) -> str:
    return f"{size / _MIB:.1f} MiB"
