# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Objects chosen from a cluster as it was, written as clean YAML; Secrets sealed, never in clear."""

from __future__ import annotations

import os
import typing as t
from collections import Counter
from dataclasses import dataclass

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import (
    parse_recipients,
    seal,
    sealed_name,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ApiServerFailed,
    ArchiveError,
    EtcdToolError,
    OptionInvalid,
    SealError,
)

from .api_client import Api
from .clean import clean, left_out, rank
from .listing import Listing, ListRefused, pages
from .yaml_text import Writer

if t.TYPE_CHECKING:
    from .discovery import Discovery, Resource

__all__ = ["Extracted", "ExtractedFile", "Selection", "extract", "read_selection"]

OBJECTS = "objects.yaml"
SECRETS = "secrets.yaml"
_SECRETS = "secrets"
_NO_RECIPIENTS = (
    "Set recipients (age1…, ssh-ed25519 or ssh-rsa public keys), or leave Secrets out by naming "
    "other resources."
)


@dataclass(frozen=True)
class Selection:
    """Which objects are wanted; what is empty chooses all."""

    resources: tuple[str, ...]
    namespaces: tuple[str, ...]
    names: tuple[str, ...]
    labels: str
    dest_dir: str
    recipients: tuple[str, ...]
    owned: bool = False
    """Take what controllers made, too."""


@dataclass(frozen=True)
class ExtractedFile:
    """A file that was written."""

    name: str
    path: str
    size_bytes: int
    sha256: str
    sealed: bool
    object_count: int


@dataclass(frozen=True)
class Extracted:
    """What came of it."""

    files: tuple[ExtractedFile, ...]
    objects: t.Mapping[str, int]
    """Objects written, per resource."""
    left_out: t.Mapping[str, int]
    """Objects that were chosen and not written, per reason."""
    missing: tuple[str, ...]
    """Namespaces and names that were asked for and are not there."""


def read_selection(params: t.Mapping[str, t.Any]) -> Selection:
    """Read option `extract`, before anything is started for it.

    :raises OptionInvalid: nothing is chosen, or there is no folder to write to.
    :raises SealError: a recipient is none, or Secrets are chosen and there are no recipients.
    """
    wish = Selection(
        resources=_texts(params.get("resources")),
        namespaces=_texts(params.get("namespaces")),
        names=_texts(params.get("names")),
        labels=(params.get("labels") or "").strip(),
        dest_dir=params.get("dest_dir") or "",
        recipients=parse_recipients(params.get("recipients") or [], where="extract"),
        owned=bool(params.get("owned")),
    )
    if not (wish.resources or wish.namespaces or wish.names or wish.labels):
        raise OptionInvalid(
            "Option extract chooses nothing.",
            hint="Set at least one of resources, namespaces, names and labels.",
        )
    if not os.path.isdir(wish.dest_dir):
        raise OptionInvalid(
            f"Option extract.dest_dir is {wish.dest_dir or 'empty'}: no such folder on this host.",
            hint="Set it to a folder that exists, on a file system with room.",
            path=wish.dest_dir or None,
        )
    if not wish.recipients and (not wish.resources or _SECRETS in map(_plain, wish.resources)):
        raise _unsealed("Secrets")
    return wish


def extract(
    api: Api,
    discovery: Discovery,
    wish: Selection,
    *,
    revision: int,
    encrypted: t.Collection[str] = (),
) -> Extracted:
    """Write what is chosen as it was at `revision`, in an order in which it can be applied.

    Objects of Secrets, and of the resources that were `encrypted` in etcd, go to a sealed file.

    :raises OptionInvalid: a resource is not served, or its name is not unique.
    :raises SealError: what must be sealed has no recipients.
    :raises ApiServerFailed: something can't be read.
    :raises ArchiveError: a file can't be written.
    """
    chosen = _chosen(discovery, wish)
    # A catalogue may know what is encrypted by its name alone.
    sealed = {_SECRETS, *encrypted}
    hidden = [each for each in chosen if not sealed.isdisjoint((each.group_resource, each.name))]
    if hidden and not wish.recipients:
        raise _unsealed(", ".join(each.group_resource for each in hidden))
    reading = _Reading(api, wish, revision)
    clear = [each for each in chosen if each not in hidden]
    files: list[ExtractedFile] = []
    try:
        for name, resources, keys in (
            (OBJECTS, clear, ()),
            (SECRETS, hidden, wish.recipients),
        ):
            written = _write(wish, name, reading, resources, keys)
            files += [written] if written else []
    except EtcdToolError:
        # Half of what was asked for would be taken for all of it.
        for file in files:
            os.unlink(file.path)
        raise
    except OSError as exc:
        raise ArchiveError(
            f"Extracted objects cannot be written to {wish.dest_dir}: {exc.strerror or exc}.",
            hint="Set extract.dest_dir to a folder with room that this user can write to.",
            path=wish.dest_dir,
        ) from exc
    return Extracted(
        files=tuple(files),
        objects=dict(sorted(reading.taken.items())),
        left_out=dict(sorted(reading.left_out.items())),
        missing=tuple(reading.missing()),
    )


def _chosen(discovery: Discovery, wish: Selection) -> list[Resource]:
    found: dict[str, Resource] = {}
    for text in wish.resources:
        resource = _named(discovery, text)
        found[resource.group_resource] = resource
    if not wish.resources:
        found = dict(discovery.resources)
    if wish.namespaces:
        found = {name: each for name, each in found.items() if each.namespaced}
        if not found:
            raise OptionInvalid(
                "Option extract names namespaces, and only resources that lie in none.",
                hint="Leave namespaces out, or name resources that lie in them.",
            )
        if "namespaces" in discovery.resources:
            found["namespaces"] = discovery.resources["namespaces"]
    return sorted(found.values(), key=lambda each: rank(each.group, each.kind))


def _named(discovery: Discovery, text: str) -> Resource:
    """Return the resource of a name as kubectl takes it: deploy, Deployment, deployments.apps."""
    plain = text.strip().lower()
    found = [each for each in discovery.resources.values() if plain in _spellings(each)]
    core = [each for each in found if not each.group]
    if len(found) > 1 and len(core) == 1:
        found = core
    if len(found) == 1:
        return found[0]
    if found:
        named = ", ".join(sorted(f"{each.name}.{each.group}" for each in found))
        why, hint = f"it fits {named}", "Name one of them."
    else:
        why = "the archive's cluster has no such resource"
        hint = "Name resources as kubectl does, as in deployments or certificates.cert-manager.io."
    raise OptionInvalid(f"Option extract.resources has {text!r}: {why}.", hint=hint)


def _spellings(resource: Resource) -> set[str]:
    names = {resource.name, resource.singular, *resource.short_names, resource.kind.lower()}
    group = f".{resource.group}" if resource.group else ""
    return {*names, *(name + group for name in names), resource.group_resource} - {"", group}


class _Reading:
    """Yields chosen objects as YAML, and counts."""

    def __init__(self, api: Api, wish: Selection, revision: int) -> None:
        self.taken: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self._api = api
        self._wish = wish
        self._revision = revision
        self._yaml = Writer()
        self._namespaces: set[str] = set()
        self._names: set[str] = set()
        # Namespaced Services with a selector: their Endpoints are made for them.
        self._selecting: set[tuple[str, str]] = set()

    def documents(self, resources: t.Iterable[Resource]) -> t.Iterator[bytes]:
        """Yield the documents of resources, in this order."""
        for resource in resources:
            for item in self._items(resource):
                if self._takes(resource, item):
                    self.taken[resource.group_resource] += 1
                    yield self._yaml.document(
                        clean(item, kind=resource.kind, api_version=resource.api_version)
                    )

    def missing(self) -> t.Iterator[str]:
        """Yield what was asked for by name and never came by."""
        for namespace in self._wish.namespaces:
            if namespace not in self._namespaces:
                yield f"namespace {namespace}"
        for name in self._wish.names:
            if name not in self._names:
                yield f"name {name}"

    def _items(self, resource: Resource) -> t.Iterator[dict[str, t.Any]]:
        wish = self._wish
        is_namespace = resource.group_resource == "namespaces" and bool(wish.namespaces)
        spaces: tuple[str | None, ...] = wish.namespaces or (None,)
        names: tuple[str | None, ...] = wish.names or (None,)
        labels = wish.labels
        if is_namespace:
            spaces, names, labels = (None,), wish.namespaces, ""
        for space in spaces:
            for name in names:
                listing = Listing(resource, self._revision, space, name, labels, whole=True)
                try:
                    for page in pages(self._api, listing):
                        yield from page
                except ListRefused as exc:
                    raise ApiServerFailed(
                        f"{resource.group_resource} cannot be extracted: {exc}.",
                        hint="Choose fewer resources with extract.resources.",
                    ) from exc

    def _takes(self, resource: Resource, item: dict[str, t.Any]) -> bool:
        metadata = item.get("metadata") or {}
        namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
        item.setdefault("kind", resource.kind)
        if resource.group_resource == "namespaces":
            self._namespaces.add(name)
        self._names.add(name)
        if resource.kind == "Service" and (item.get("spec") or {}).get("selector"):
            self._selecting.add((namespace, name))
        is_asked = bool(self._wish.resources or self._wish.names)
        reason = left_out(item, asked=is_asked)
        if reason is None and resource.kind == "Endpoints" and (namespace, name) in self._selecting:
            self.left_out["owned"] += 1
            return False
        if reason is None or (reason.value == "owned" and self._wish.owned):
            return True
        self.left_out[reason.value] += 1
        return False


class _Stream:
    """Documents as a readable stream."""

    def __init__(self, pieces: t.Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; empty at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self.count += 1
            self._rest = piece
        size = len(self._rest) if size is None or size < 0 else size
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _write(
    wish: Selection,
    name: str,
    reading: _Reading,
    resources: t.Sequence[Resource],
    recipients: tuple[str, ...],
) -> ExtractedFile | None:
    """Write one file, whole or not at all; none where nothing is in it. It gets the folder's owner."""
    name = sealed_name(name, recipients) if recipients else name
    path = os.path.join(wish.dest_dir, name)
    stream = _Stream(reading.documents(resources))
    try:
        with _files.part_file(path, owner=os.stat(wish.dest_dir)) as target:
            hashing = _files.HashingWriter(target)
            if recipients:
                seal(stream, hashing, recipients)
            else:
                for piece in _files.chunks(t.cast(t.BinaryIO, stream)):
                    hashing.write(piece)
            if not stream.count:
                raise _NothingThere
    except _NothingThere:
        return None
    return ExtractedFile(
        name=name,
        path=path,
        size_bytes=hashing.size_bytes,
        sha256=hashing.sha256,
        sealed=bool(recipients),
        object_count=stream.count,
    )


class _NothingThere(Exception):
    """No object went into a file."""


def _texts(value: t.Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(each).strip() for each in value or [] if str(each).strip()))


def _plain(resource: str) -> str:
    plain = resource.strip().lower()
    return _SECRETS if plain in ("secret", "secrets", "secrets.", "v1/secrets") else plain


def _unsealed(what: str) -> SealError:
    return SealError(
        f"{what} would be extracted, and must not lie unsealed, but there are no recipients.",
        hint=_NO_RECIPIENTS,
    )
