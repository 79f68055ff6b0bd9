# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Add an entry to an archive: start it, and finish it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import stat

from ansible_collections.controlplane.etcd.plugins.module_utils import _files, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    entries,
    identity,
    manifest,
    names,
    owner,
    restore_text,
    shared,
    store,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.assemble import (
    Records,
    assemble,
    file_claims,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.awx import awx_warning
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import (
    Signers,
    Signing,
    TrustState,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.version import (
    COLLECTION_VERSION,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    OptionInvalid,
    TrustError,
)

__all__ = ["Finished", "Started", "Wish", "finish", "read_back", "start"]


@dataclasses.dataclass(frozen=True)
class Wish:
    """Where entries go, whose they are, and who signs them."""

    place: store.DirectoryStore
    prefix: names.Prefix
    signing: Signing
    signers: Signers
    allow_unsealed: bool
    tools: tuple[shared.Given, ...] = ()
    wheelhouse: tuple[shared.Given, ...] = ()


@dataclasses.dataclass(frozen=True)
class Started:
    """An entry that is being built."""

    id: str
    path: str
    incoming: str
    owner_label: str
    parts: tuple[str, ...]
    removed_parts: tuple[str, ...]
    abandoned_before: str
    tools_missing: tuple[str, ...]
    wheelhouse_missing: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Finished:
    """An entry that is in the archive."""

    entry: entries.Entry
    path: str
    identity_record: str | None
    warnings: tuple[str, ...]


def start(wish: Wish, *, now: dt.datetime, really: bool) -> Started:
    """Make the folder that an entry is built in, once it is sure that it can be signed.

    Parts that dead runs left are removed. `really` false: nothing is changed.

    :raises TrustError: the key cannot sign, or its signatures would not be trusted.
    """
    entry = names.new_entry(now)
    _probe(wish, entry)
    _known, warnings = identity.known(wish.place, wish.prefix, wish.signers)
    builder = owner.of_process(owner.ansible_process(), now=now)
    stale = wish.place.stale_parts(wish.prefix, here=builder, now=now)
    path = wish.place.part_path(wish.prefix, entry)
    if really:
        for old in stale:
            wish.place.drop(wish.prefix, old)
        wish.place.start(wish.prefix, entry, builder)
    return Started(
        id=entry,
        path=path,
        incoming=os.path.join(path, store.INCOMING),
        owner_label=builder.label(os.path.realpath(wish.place.path(wish.prefix))),
        parts=tuple(sorted({*wish.place.parts(wish.prefix), entry} - set(stale))),
        removed_parts=tuple(stale),
        abandoned_before=names.entry_stamp(now - owner.DAY),
        tools_missing=tuple(given.name for given in wish.tools if shared.lacks(wish.place, given)),
        wheelhouse_missing=tuple(
            given.name for given in wish.wheelhouse if shared.lacks(wish.place, given)
        ),
        warnings=tuple(filter(None, [*warnings, awx_warning(wish.place.location, os.environ)])),
    )


def finish(wish: Wish, entry: str, records: Records, *, now: dt.datetime) -> Finished:
    """Check what arrived, merge the records, sign, and give the entry its name.

    Whatever fails, no entry is there, and its part is removed.

    :raises IdentityMismatch: the name belongs to another cluster.
    :raises TrustError: a file is not the one that its host recorded.
    """
    try:
        return _finish(wish, entry, records, now)
    except BaseException:
        wish.place.drop(wish.prefix, entry)
        raise


def _finish(wish: Wish, entry: str, records: Records, now: dt.datetime) -> Finished:
    place, prefix = wish.place, wish.prefix
    files = _arrived(wish, entry, records)
    before, warnings = identity.known(place, prefix, wish.signers)
    guarded = identity.guard(before, _seen(records), prefix, entry=entry, now=now)
    draft = assemble(
        records,
        prefix,
        entry=entry,
        created_at=_time.rfc3339(names.entry_time(entry)),
        collection_version=COLLECTION_VERSION,
        files=files,
        lineage=guarded.record.lineage,
        tools=tuple(shared.keep_tool(place, given) for given in wish.tools),
        wheelhouse=tuple(shared.keep_wheelhouse(place, given) for given in wish.wheelhouse),
        checks=(
            manifest.Check(
                "files", "passed", f"{len(files)} files arrived as their hosts sealed them"
            ),
            manifest.Check(
                "identity",
                "passed" if before else "first",
                f"the archive knows {before}" if before else "the first entry under this name",
            ),
        ),
        warnings=guarded.warnings,
    )
    text = restore_text.restore_text(draft, signer=wish.signing.public_key).encode()
    place.write_part(prefix, entry, restore_text.NAME, text)
    final = dataclasses.replace(draft, files=(*files, _text_file(wish, entry)))
    data = final.to_json()
    signature = wish.signing.sign(data)
    state, reason = wish.signers.check(data, signature)
    if state is not TrustState.TRUSTED:
        raise TrustError(f"The manifest just signed is not trusted ({state.value}): {reason}")
    # Before the entry: with the name taken and no entry yet, the same cluster just tries again.
    record = None
    if guarded.is_news:
        record = identity.put(
            place,
            prefix,
            guarded.record,
            signing=wish.signing,
            now=now,
            collection_version=COLLECTION_VERSION,
        )
    path = place.commit(prefix, entry, manifest=data, signature=signature)
    return Finished(
        entry=entries.Entry(entry, prefix, TrustState.TRUSTED, "", final),
        path=path,
        identity_record=record,
        warnings=(*warnings, *final.warnings),
    )


def _seen(records: Records) -> identity.Seen:
    kubernetes = records.snapshot.get("kubernetes") or {}
    return identity.Seen(
        kube_system_uid=kubernetes.get("kube_system_uid"),
        cluster_id=str(records.snapshot.get("cluster_id")),
    )


def _probe(wish: Wish, entry: str) -> None:
    # A backup of an hour must not end at a key that was never going to sign.
    data = f"controlplane.etcd can sign {wish.prefix}/{entry}\n".encode()
    state, reason = wish.signers.check(data, wish.signing.sign(data))
    if state is not TrustState.TRUSTED:
        raise TrustError(
            f"What {wish.signing.path} signs would not be trusted ({state.value}): {reason}",
            hint="Add its public half to etcd_allowed_signers, or sign with a key that is there.",
            path=wish.signing.path,
        )


def _arrived(wish: Wish, entry: str, records: Records) -> tuple[manifest.File, ...]:
    place, prefix = wish.place, wish.prefix
    claims = file_claims(records)
    root = place.part_path(prefix, entry)
    there = [name for name in place.part_files(prefix, entry) if name != restore_text.NAME]
    unknown = sorted(name for name in there if name not in claims)
    if unknown:
        raise ArchiveError(
            f"{root} holds {', '.join(unknown)}, which no record names.",
            hint="Only what snapshot and kits recorded may be in an entry; other files belong "
            f"into {store.INCOMING}.",
            path=root,
        )
    missing = sorted(set(claims) - set(there))
    if missing:
        raise ArchiveError(
            f"{', '.join(missing)} did not arrive in {root}.",
            hint="Fetch every file of the records with etcd_fetch, under its name.",
            path=root,
        )
    return tuple(_matching(root, claims[name], wish) for name in sorted(claims))


def _matching(root: str, claims: list[manifest.File], wish: Wish) -> manifest.File:
    name = claims[0].name
    path = os.path.join(root, name)
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise ArchiveError(f"{path} is not a regular file.", path=path)
    size, sha256 = os.stat(path).st_size, _files.sha256_file(path)
    os.chmod(path, 0o600)
    for claim in claims:
        if (claim.size_bytes, claim.sha256) == (size, sha256):
            if claim.encryption.scheme == "none" and not wish.allow_unsealed:
                raise OptionInvalid(
                    f"{path} is not sealed, and nothing may lie unsealed in an archive.",
                    hint="Set recipients where it is made, or allow_unsealed.",
                )
            # A file that each host could have given belongs to none of them.
            return dataclasses.replace(claim, host=None) if len(claims) > 1 else claim
    raise TrustError(
        f"{path} is {size} bytes with sha256 {sha256}; its host recorded "
        f"{' or '.join(f'{claim.size_bytes} bytes with {claim.sha256}' for claim in claims)}.",
        hint="It was changed or cut off on its way: run the backup again.",
        path=path,
    )


def _text_file(wish: Wish, entry: str) -> manifest.File:
    path = os.path.join(wish.place.part_path(wish.prefix, entry), restore_text.NAME)
    return manifest.File(
        name=restore_text.NAME,
        part="text",
        size_bytes=os.stat(path).st_size,
        sha256=_files.sha256_file(path),
        compression="none",
        encryption=manifest.Encryption("none", ()),
    )


def read_back(wish: Wish, entry: str) -> entries.Entry | None:
    """Return the entry if it is in the archive already: a second call of the same."""
    if entry not in wish.place.entries(wish.prefix):
        return None
    return entries.read_entry(
        wish.place, wish.prefix, entry, signers=wish.signers, depth="signature"
    )
