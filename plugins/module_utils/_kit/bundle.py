# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A kit's file: a tar whose bytes depend on the tree alone, with an index of what lies in it.

Members are sorted and keep owner, mode and time (whole seconds) of the host's files. index.json
comes first; every other member is a path of the host without its leading slash, so that
`tar -xpf KIT --anchored --exclude=index.json -C /` puts it back.
"""

from __future__ import annotations

import dataclasses
import grp
import hashlib
import json
import os
import posixpath
import pwd
import tarfile
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import KitError
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.places import (
    SYSTEM_FOLDERS,
)

from .model import Link, Taken
from .tree import HostTree, Meta

__all__ = ["FORMAT", "INDEX", "Bundle", "IndexedFile", "Kit", "bundle", "open_kit", "read_index"]

FORMAT = "controlplane.etcd/kit/v1"
INDEX = "index.json"


@dataclasses.dataclass(frozen=True)
class IndexedFile:
    """A file, as the index inside a kit describes it."""

    path: str
    sha256: str
    size_bytes: int
    mode: str
    uid: int
    gid: int
    user: str
    group: str
    names: tuple[str, ...]
    why: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Kit:
    """A kit's index: what it is, and its files."""

    part: str
    layout: str
    host: str | None
    files: tuple[IndexedFile, ...]
    missing: tuple[str, ...]

    def by_name(self, name: str) -> tuple[IndexedFile, ...]:
        """Return the files of a standard name."""
        return tuple(file for file in self.files if name in file.names)


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A tar that is made while it is read."""

    kit: Kit
    members: tuple[tuple[tarfile.TarInfo, bytes], ...] = dataclasses.field(repr=False)

    @property
    def size_bytes(self) -> int:
        """The size of the whole tar."""
        blocks = sum(len(_header(info)) + _padded(len(data)) for info, data in self.members)
        end = blocks + 2 * tarfile.BLOCKSIZE
        return -(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE

    def open(self) -> t.Any:
        """Return the tar's bytes as a readable stream."""
        return _Stream(self._blocks())

    def _blocks(self) -> t.Iterator[bytes]:
        size = 0
        for info, data in self.members:
            for piece in (_header(info), data, b"\0" * (_padded(len(data)) - len(data))):
                size += len(piece)
                yield piece
        yield b"\0" * (self.size_bytes - size)


def bundle(
    tree: HostTree,
    files: t.Sequence[Taken],
    links: t.Sequence[Link],
    *,
    part: str,
    layout: str,
    host: str | None,
    missing: t.Sequence[str],
    prefix: str = "",
) -> Bundle:
    """Put files and links, and the folders that hold them, together.

    `prefix` is the folder that a loopback host's paths lie below; nothing from there up is a
    member.
    """
    owners = _Owners()
    indexed = tuple(_indexed(file, owners) for file in files)
    kit = Kit(part, layout, host, indexed, tuple(missing))
    members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    for file in files:
        info = _info(file.path, file.content.meta, owners)
        info.size = len(file.content.data)
        members[file.path] = (info, file.content.data)
    for link in links:
        info = _info(link.path, link.meta, owners)
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, link.target, 0o777
        members[link.path] = (info, b"")
    for path in sorted(_folders(members, prefix)):
        try:
            info = _info(path, tree.folder(path), owners)
        except KitError:
            continue  # it went away since: tar makes it anew
        info.type = tarfile.DIRTYPE
        members[path] = (info, b"")
    index = tarfile.TarInfo(INDEX)
    text = index_text(kit)
    index.size, index.mode, index.mtime = len(text), 0o600, 0
    index.uname = index.gname = "root"
    order = sorted(members, key=os.fsencode)
    return Bundle(kit, ((index, text), *(members[path] for path in order)))


def index_text(kit: Kit) -> bytes:
    """Return index.json."""
    document = {"format": FORMAT, **dataclasses.asdict(kit)}
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode("ascii")


def open_kit(source: t.Any) -> tuple[Kit, t.Iterator[tuple[IndexedFile, bytes]]]:
    """Read an opened (decrypted, decompressed) kit: its index, then its files as they come.

    Every file is checked against the index; nothing is written anywhere.

    :raises KitError: it is no kit, or a file is not what the index says.
    """
    try:
        archive = tarfile.open(  # noqa: SIM115 - the caller reads its members
            fileobj=source, mode="r|", encoding="utf-8", errors="surrogateescape"
        )
        first = archive.next()
    except (tarfile.TarError, EOFError, OSError) as exc:
        raise KitError(
            f"A kit cannot be opened: {exc}.", hint="Is it decrypted and decompressed?"
        ) from exc
    if first is None or first.name != INDEX:
        raise KitError("A kit's first member is not index.json: it is no kit, or was made anew.")
    member = archive.extractfile(first)
    kit = _kit_of(member.read() if member else b"")
    return kit, _files_of(archive, kit)


def read_index(source: t.Any) -> Kit:
    """Return the index of an opened (decrypted, decompressed) kit.

    :raises KitError: it is no kit.
    """
    return open_kit(source)[0]


def _kit_of(text: bytes) -> Kit:
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise KitError(
                f"A kit of format {document['format']!r} cannot be read here, only {FORMAT}.",
                hint="Use the collection's version that wrote it, named in the manifest.",
            )
        files = tuple(
            IndexedFile(
                path=each["path"],
                sha256=each["sha256"],
                size_bytes=each["size_bytes"],
                mode=each["mode"],
                uid=each["uid"],
                gid=each["gid"],
                user=each["user"],
                group=each["group"],
                names=tuple(each["names"]),
                why=tuple(each["why"]),
            )
            for each in document["files"]
        )
        missing = tuple(document["missing"])
        return Kit(document["part"], document["layout"], document["host"], files, missing)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise KitError(f"A kit's index.json cannot be read: {type(exc).__name__}.") from exc


def _files_of(archive: tarfile.TarFile, kit: Kit) -> t.Iterator[tuple[IndexedFile, bytes]]:
    wanted = {file.path.lstrip("/"): file for file in kit.files}
    try:
        while True:
            info = archive.next()
            if info is None:
                break
            if not info.isreg():
                continue
            file = wanted.pop(info.name, None)
            member = archive.extractfile(info)
            data = member.read() if member else b""
            if file is None or hashlib.sha256(data).hexdigest() != file.sha256:
                raise KitError(f"File {info.name!r} of a kit is not what its index says.")
            yield file, data
    except tarfile.TarError as exc:
        raise KitError(f"A kit is damaged or cut off: {exc}.") from exc
    if wanted:
        raise KitError(f"A kit lacks {len(wanted)} file(s) of its index, {min(wanted)!r} first.")


class _Owners:
    """Names of users and groups of this host."""

    def __init__(self) -> None:
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}

    def user(self, uid: int) -> str:
        if uid not in self._users:
            try:
                self._users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._users[uid] = ""
        return self._users[uid]

    def group(self, gid: int) -> str:
        if gid not in self._groups:
            try:
                self._groups[gid] = grp.getgrgid(gid).gr_name
            except KeyError:
                self._groups[gid] = ""
        return self._groups[gid]


class _Stream:
    """A generator of bytes as a stream."""

    def __init__(self, pieces: t.Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; all of the rest for a negative size; empty at the end."""
        if size is None or size < 0:
            data, self._rest = self._rest + b"".join(self._pieces), b""
            return data
        while not self._rest:
            try:
                self._rest = next(self._pieces)
            except StopIteration:
                return b""
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _indexed(file: Taken, owners: _Owners) -> IndexedFile:
    meta = file.content.meta
    return IndexedFile(
        path=file.path,
        sha256=hashlib.sha256(file.content.data).hexdigest(),
        size_bytes=len(file.content.data),
        mode=f"{meta.mode:04o}",
        uid=meta.uid,
        gid=meta.gid,
        user=owners.user(meta.uid),
        group=owners.group(meta.gid),
        names=file.names,
        why=file.why,
    )


def _info(path: str, meta: Meta, owners: _Owners) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path.lstrip("/"))
    info.mode, info.uid, info.gid = meta.mode, meta.uid, meta.gid
    info.mtime = max(meta.mtime, 0)
    info.uname, info.gname = owners.user(meta.uid), owners.group(meta.gid)
    return info


def _folders(paths: t.Iterable[str], prefix: str) -> set[str]:
    """Return the folders above `paths` that belong to the control plane."""
    found = set()
    for path in paths:
        folder = posixpath.dirname(path)
        while folder not in ("/", "") and folder not in found:
            inside = folder[len(prefix) :] if folder.startswith(prefix + "/") else None
            if inside is not None and inside not in SYSTEM_FOLDERS:
                found.add(folder)
            folder = posixpath.dirname(folder)
    return found


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
