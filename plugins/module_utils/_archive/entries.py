# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Entries as they lie in an archive: read, and judged by signature, manifest and files."""

from __future__ import annotations

import dataclasses
import hashlib
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import manifest, store
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.trust import (
    Signers,
    TrustState,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    EtcdToolError,
    ManifestInvalid,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.names import Prefix

__all__ = ["Depth", "Entry", "read_entry"]

Depth = t.Literal["none", "signature", "files"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry: what it says (None where that can't be read), and how far it can be trusted."""

    id: str
    prefix: Prefix
    trust: TrustState
    reason: str
    manifest: manifest.Manifest | None
    folder: str = ""
    """The name under which it lies, where that is not its ID: its removal was begun."""

    @property
    def place(self) -> str:
        """The name under which it lies."""
        return self.folder or self.id

    @property
    def manifest_trusted(self) -> bool:
        """Whether its manifest is, whatever became of the files that it names."""
        states = (TrustState.TRUSTED, TrustState.DAMAGED, TrustState.INCOMPLETE)
        return self.manifest is not None and self.trust in states

    @property
    def verified(self) -> bool:
        """Whether it is trusted and every check of its backup passed."""
        return (
            self.trust is TrustState.TRUSTED
            and self.manifest is not None
            and self.manifest.checks_passed
        )


def read_entry(
    place: store.Store,
    prefix: Prefix,
    entry: str,
    *,
    signers: Signers | None,
    depth: Depth,
    only: t.Collection[str] | None = None,
    folder: str = "",
) -> Entry:
    """Read an entry and judge it in this order: signature, manifest, its place, its files.

    `depth` none looks at no signature; signature compares the files' sizes too; files takes their
    sha256, and so reads every byte: of all files, or of those whose names are in `only`. What cannot
    be read is damaged: one odd entry is no reason not to look at others. `folder`: see Entry.
    """

    def judged(state: TrustState, reason: str, found: manifest.Manifest | None = None) -> Entry:
        return Entry(entry, prefix, state, reason, found, folder)

    lies_in = folder or entry
    try:
        data = place.read(prefix, f"{lies_in}/{store.MANIFEST}")
        signature = place.read(prefix, f"{lies_in}/{store.SIGNATURE}")
    except ArchiveError as exc:
        return judged(TrustState.DAMAGED, exc.message)
    if data is None:
        return judged(TrustState.INCOMPLETE, f"There is no {store.MANIFEST}.")
    state, reason = TrustState.NOT_CHECKED, "No signature was looked at."
    if depth != "none" and signers is not None:
        state, reason = signers.check(data, signature)
    where = f"{place.location}/{prefix}/{lies_in}/{store.MANIFEST}"
    try:
        found = manifest.from_json(data, where)
    except ManifestInvalid as exc:
        if state in (TrustState.TRUSTED, TrustState.NOT_CHECKED):
            state, reason = TrustState.DAMAGED, str(exc)
        return judged(state, reason)
    if state not in (TrustState.TRUSTED, TrustState.NOT_CHECKED):
        return judged(state, reason, found)
    foreign = _foreign(found, prefix, entry)
    if foreign:
        return judged(TrustState.FOREIGN, foreign, found)
    if depth != "none":
        hashed = [file.name for file in found.files if only is None or file.name in only]
        files = hashed if depth == "files" else ()
        broken = _files_broken(place, prefix, lies_in, found, files)
        if broken:
            return judged(*broken, found)
    return judged(state, reason, found)


def _foreign(found: manifest.Manifest, prefix: Prefix, entry: str) -> str:
    """Say why a genuine manifest does not belong where it lies: somebody put it there."""
    if found.id != entry:
        return f"The manifest is the one of entry {found.id}, put under another ID."
    cluster = found.cluster
    if (cluster.name, cluster.instance) != (prefix.cluster, prefix.instance):
        return (
            f"The manifest is one of cluster {cluster.name} (instance {cluster.instance}), put "
            f"under {prefix}."
        )
    return ""


def _files_broken(
    place: store.Store,
    prefix: Prefix,
    folder: str,
    found: manifest.Manifest,
    hashed: t.Collection[str],
) -> tuple[TrustState, str] | None:
    try:
        sizes = {
            file.name: place.size_bytes(prefix, f"{folder}/{file.name}") for file in found.files
        }
    except ArchiveError as exc:
        return TrustState.DAMAGED, exc.message
    missing = sorted(name for name, size in sizes.items() if size is None)
    if missing:
        return TrustState.INCOMPLETE, f"Missing: {', '.join(missing)}."
    for file in found.files:
        if sizes[file.name] != file.size_bytes:
            return TrustState.DAMAGED, (
                f"{file.name} is {sizes[file.name]} bytes; the manifest says {file.size_bytes}."
            )
        if file.name not in hashed:
            continue
        digest = hashlib.sha256()
        try:
            with place.open(prefix, f"{folder}/{file.name}") as source:
                for piece in _files.chunks(source):
                    digest.update(piece)
        except (OSError, EtcdToolError) as exc:
            return TrustState.DAMAGED, f"{file.name} cannot be read: {exc}"
        if digest.hexdigest() != file.sha256:
            return TrustState.DAMAGED, (
                f"{file.name} has sha256 {digest.hexdigest()}; the manifest says {file.sha256}."
            )
    return None
