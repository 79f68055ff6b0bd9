# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A delivery as the controller plans it: which files, which tools, what room; and sealed anew."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import os
import tempfile
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    choose,
    owner,
    restore_text,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.reseal import (
    most_bytes,
    reseal,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    DependencyMissing,
    EtcdToolError,
    OptionInvalid,
    SpaceMissing,
    TransferError,
    TrustError,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.entries import Entry
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        File,
        Manifest,
        Tool,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import (
        DirectoryStore,
    )

__all__ = [
    "Staged",
    "check_room",
    "check_spool",
    "check_tools",
    "delivered_name",
    "files_of",
    "host_error",
    "needed_bytes",
    "own_marks",
    "resealed",
    "stale",
    "tools_of",
    "wanted",
]

_SMALL_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Staged:
    """A file on its way: where it can be read on the controller, and what it must be on arrival."""

    path: str
    size_bytes: int
    sha256: str


def wanted(entry: str, before: str | None) -> choose.Wanted:
    """Read options `id` and `before`.

    :raises OptionInvalid: `before` is no time.
    """
    try:
        return choose.Wanted(entry, _time.parse_rfc3339(before) if before else None)
    except ValueError as exc:
        raise OptionInvalid(
            f"Option before is no time: {exc}.", hint="Write 2026-11-23T14:50:00Z."
        ) from exc


def files_of(entry: Entry, parts: t.Sequence[str], host: str | None) -> list[File]:
    """Return the files of some parts of an entry; of kits those of `host`, if it is given.

    :raises ArchiveError: the entry has no such kit, or no data.
    """
    manifest = _manifest(entry)
    found = [
        file
        for file in manifest.files
        if file.part in parts and (file.part != "pki" or host in (None, file.host))
    ]
    kits = sorted({file.host for file in manifest.files if file.part == "pki" and file.host})
    for part in parts:
        if part == "encryption" or any(file.part == part for file in found):
            continue
        of_host = f" of host {host}; it has those of {', '.join(kits) or 'none'}" if host else ""
        what = f"kit{of_host}" if part == "pki" else f"file of part {part}"
        raise ArchiveError(
            f"Entry {manifest.id} has no {what}.",
            hint="Choose another entry: etcd_archive_info tells whose kits each one has.",
        )
    return found


def _manifest(entry: Entry) -> Manifest:
    if entry.manifest is None:
        raise AssertionError("a chosen entry has a manifest")
    return entry.manifest


def tools_of(entry: Entry, wished: t.Sequence[str], platform: str) -> list[Tool]:
    """Return the programs that an entry's signed manifest names for a platform.

    :raises ArchiveError: there is none.
    """
    manifest = _manifest(entry)
    version, found = manifest.etcd.server_version, []
    for name in dict.fromkeys(wished):
        named = restore_text.restoring_tool(version) if name == "etcdutl" else name
        of_name = [tool for tool in manifest.tools if tool.name == named]
        here = next((tool for tool in of_name if tool.platform == platform), None)
        if here is None:
            others = ", ".join(sorted({tool.platform for tool in of_name}))
            kubernetes = named == "kube-apiserver"
            of = manifest.kubernetes.version if kubernetes else version
            raise ArchiveError(
                f"Entry {manifest.id} has no {named} for {platform}"
                + (f", only for {others}." if others else "."),
                hint=f"Have {named} {of or ''} on the node and name its path instead, or bring it "
                "from an internal mirror with its sha256"
                + ("; etcd_backup_include_apiserver has backups keep it." if kubernetes else "."),
            )
        if here not in found:
            found.append(here)
    return found


def check_tools(place: DirectoryStore, tools: t.Sequence[Tool]) -> None:
    """Compare programs in the archive with what the signed manifest says of them.

    :raises TrustError: another size or sha256, or it is gone.
    """
    for tool in tools:
        size = place.shared_size(tool.path)
        sha256 = place.shared_sha256(tool.path) if size is not None else None
        if (size, sha256) != (tool.size_bytes, tool.sha256):
            path = os.path.join(place.location, tool.path)
            came = "it is not there" if size is None else f"it has {size} bytes, sha256 {sha256}"
            raise TrustError(
                f"{path} on the controller is not the {tool.name} that was archived: {came}; the "
                f"signed manifest says {tool.size_bytes}, {tool.sha256}.",
                hint="Find out what happened to the archive; a backup of a cluster that runs this "
                "version puts the right one beside it.",
                path=path,
            )


def delivered_name(file: File) -> str:
    """Return the name that a file has in a delivery, where everything is sealed."""
    return file.name if file.name.endswith(".age") else f"{file.name}.age"


def needed_bytes(files: t.Sequence[File], tools: t.Sequence[Tool]) -> int:
    """Return what a delivery takes on the host, at most."""
    sealed = sum(most_bytes(file.size_bytes) for file in files)
    return sealed + sum(tool.size_bytes for tool in tools)


def check_spool(spool_dir: str, files: t.Sequence[File]) -> tuple[int, int]:
    """Return what the controller needs for one file at a time, and what is free.

    :raises SpaceMissing: that is too little.
    :raises OptionInvalid: there is no such folder.
    """
    needed = max((most_bytes(file.size_bytes) for file in files), default=0)
    try:
        free = _files.free_bytes(spool_dir)
    except OSError as exc:
        raise _no_spool(spool_dir, exc, "a folder that exists there") from exc
    if free < needed + _SMALL_BYTES:
        raise SpaceMissing(
            f"No room on the controller to seal the entry anew: the largest file takes {needed} "
            f"bytes, the file system of {spool_dir} has {free} free.",
            hint="Free space there, or set spool_dir to a larger file system.",
            path=spool_dir,
        )
    return needed, free


# Whose deliveries lie on the host


def own_marks(me: owner.Owner) -> dict[str, t.Any]:
    """Return what a delivery says of its run: no more than is needed to tell if that is over."""
    told = dataclasses.asdict(me)
    return {name: value for name, value in told.items() if name not in _names_of(me)}


def stale(
    deliveries: t.Sequence[t.Mapping[str, t.Any]], *, me: owner.Owner, label: str, now: dt.datetime
) -> list[str]:
    """Return the deliveries that are nobody's any more: of runs from here that are over, or a day old."""
    found = []
    for delivery in deliveries:
        over = delivery["age_seconds"] >= owner.DAY.total_seconds()
        if (
            not over and delivery["label"] == label
        ):  # the same machine, so its own names are left out
            theirs = owner.from_fields({**_names_of(me), **(delivery["owner"] or {})})
            over = theirs.is_over(here=me, now=now) if theirs else delivery["age_seconds"] > 60
        if over:
            found.append(delivery["path"])
    return found


def _names_of(me: owner.Owner) -> dict[str, t.Any]:
    return {"host": me.host, "machine_id": me.machine_id}


@contextlib.contextmanager
def resealed(
    place: DirectoryStore,
    entry: Entry,
    file: File,
    *,
    recipient: str,
    identities: t.Sequence[t.Any],
    spool_dir: str,
) -> t.Iterator[Staged]:
    """Seal a file of the entry to `recipient`, into a file without a name, for the `with` block.

    :raises TrustError: it was changed since it was looked at.
    :raises OptionInvalid: nothing can be spooled there.
    """
    sealed = file.encryption.scheme != "none"
    with _spooled(spool_dir) as (spool, path):
        with place.open(entry.prefix, f"{entry.id}/{file.name}") as source:
            made = reseal(source, spool, recipient, identities=identities if sealed else ())
        if made.source_sha256 != file.sha256:
            where = place.path(entry.prefix, f"{entry.id}/{file.name}")
            raise TrustError(
                f"{where} on the controller was changed while it was read: it has sha256 "
                f"{made.source_sha256} now; the signed manifest says {file.sha256}.",
                hint="Nothing of it was delivered. Find out who writes there.",
                path=where,
            )
        yield Staged(path, made.size_bytes, made.sha256)


@contextlib.contextmanager
def _spooled(spool_dir: str) -> t.Iterator[tuple[t.BinaryIO, str]]:
    """Give a file of mode 0600 and a path that others of this user can read it by.

    It has no name where there is a /proc to read it by.

    :raises OptionInvalid: no file can be made there.
    """
    own = f"/proc/{os.getpid()}/fd"
    with contextlib.ExitStack() as stack:
        try:
            if os.path.isdir(own):
                spool = stack.enter_context(_files.unnamed(spool_dir))
                path = f"{own}/{spool.fileno()}"
            else:
                named = stack.enter_context(
                    tempfile.NamedTemporaryFile(prefix=".controlplane-etcd-", dir=spool_dir)
                )
                spool, path = t.cast(t.BinaryIO, named), named.name
        except OSError as exc:
            raise _no_spool(spool_dir, exc, "a folder there that this user can write to") from exc
        yield spool, path


def _no_spool(spool_dir: str, exc: OSError, instead: str) -> OptionInvalid:
    return OptionInvalid(
        f"Nothing can be spooled into {spool_dir} on the controller: {exc.strerror}.",
        hint=f"Set spool_dir to {instead}.",
        path=spool_dir,
    )


def check_room(entry: str, dest_dir: str, host: str, needed: int, free: int) -> None:
    """Refuse what the host has no room for, as it would itself.

    :raises SpaceMissing: it has not.
    """
    if free < needed + _SMALL_BYTES:
        raise SpaceMissing(
            f"Entry {entry} does not fit into {dest_dir} on {host}: {needed} bytes are to be "
            f"delivered, {free} are free.",
            hint="Free space there, or set dest_dir to a larger file system.",
            path=dest_dir,
        )


def host_error(host: str, answer: t.Mapping[str, t.Any]) -> EtcdToolError | None:
    """Return the error that the host's half answered with, as one of ours."""
    told = answer.get("error") or {}
    for kind in (SpaceMissing, OptionInvalid, TransferError, DependencyMissing):
        if told.get("kind") == kind.kind:
            return kind(f"{host}: {told['message']}", hint=told["hint"], path=told["path"])
    return None
