# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Where entries lie: the small interface that the archive needs, and a directory behind it.

Nothing here lists or changes anything outside the prefix that it is given, but for the shared
tools and wheelhouse, which are written once and never over.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import shutil
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import names, owner
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ArchiveError,
    OptionInvalid,
    SpaceMissing,
)

__all__ = ["MANIFEST", "SIGNATURE", "DirectoryStore", "Store", "open_store"]

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
INCOMING = ".incoming"
KITS = "pki"
_OWNER = ".owner.json"
# A manifest is some tens of KiB; nothing small in an archive is ever this large.
_SMALL_BYTES = 16 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Store(t.Protocol):
    """What the archive needs of the place that holds it; names are paths with `/` below a prefix."""

    location: str

    def prefixes(self, cluster: str | None = None) -> list[names.Prefix]:
        """List the prefixes (of one cluster) that hold entries."""

    def entries(self, prefix: names.Prefix) -> list[str]:
        """List the IDs of a prefix, oldest first; what is still being built is not there."""

    def records(self, prefix: names.Prefix, folder: str) -> list[str]:
        """List the file names in a folder of small records of a prefix."""

    def read(self, prefix: names.Prefix, name: str) -> bytes | None:
        """Return a small file whole; None if it is not there."""

    def open(self, prefix: names.Prefix, name: str) -> t.BinaryIO:
        """Open a file for reading."""

    def size_bytes(self, prefix: names.Prefix, name: str) -> int | None:
        """Return a file's size; None if it is not there."""

    def put_record(self, prefix: names.Prefix, name: str, data: bytes) -> None:
        """Write a small file that is not there yet."""


class DirectoryStore:
    """An archive in a directory of the controller (or of what is mounted there)."""

    def __init__(self, location: str) -> None:
        self.location = os.path.abspath(location)

    # Reading

    def must_exist(self) -> None:
        """Refuse an archive that is not there, which is not the same as an empty one.

        :raises ArchiveError: there is no such directory.
        """
        if not os.path.isdir(self.location):
            raise ArchiveError(
                f"There is no archive on the controller: {self.location} is not a directory.",
                hint="Check etcd_archive, and that what should be mounted there is.",
                path=self.location,
            )

    def prefixes(self, cluster: str | None = None) -> list[names.Prefix]:
        """List the prefixes (of one cluster) that hold entries."""
        found = []
        for name in [cluster] if cluster else self._folders(self.location):
            with contextlib.suppress(OptionInvalid):  # a folder of somebody else
                inside = self._folders(os.path.join(self.location, names.Prefix(name).cluster))
                if any(names.is_entry(entry) for entry in inside):
                    found.append(names.Prefix(name))
                for instance in inside:
                    with contextlib.suppress(OptionInvalid):
                        prefix = names.Prefix(name, instance)
                        if instance != names.MAIN and self.entries(prefix):
                            found.append(prefix)
        return found

    def entries(self, prefix: names.Prefix) -> list[str]:
        """List the IDs of a prefix, oldest first; what is still being built is not there."""
        return [name for name in self._folders(self.path(prefix)) if names.is_entry(name)]

    def records(self, prefix: names.Prefix, folder: str) -> list[str]:
        """List the file names in a folder of small records of a prefix."""
        try:
            with os.scandir(self.path(prefix, folder)) as listing:
                return sorted(item.name for item in listing if item.name[0] != ".")
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise self._failed("list", self.path(prefix, folder), exc) from exc

    def read(self, prefix: names.Prefix, name: str) -> bytes | None:
        """Return a small file whole; None if it is not there."""
        path = self.path(prefix, name)
        try:
            data = _files.read_small(path, most=_SMALL_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise self._failed("read", path, exc) from exc
        if len(data) > _SMALL_BYTES:
            raise ArchiveError(
                f"{path} is larger than {_SMALL_BYTES} bytes: no record of an archive is.",
                path=path,
            )
        return data

    def open(self, prefix: names.Prefix, name: str) -> t.BinaryIO:
        """Open a file for reading."""
        path = self.path(prefix, name)
        try:
            return _files.open_regular(path)
        except OSError as exc:
            raise self._failed("read", path, exc) from exc

    def size_bytes(self, prefix: names.Prefix, name: str) -> int | None:
        """Return a file's size; None if it is not there."""
        path = self.path(prefix, name)
        try:
            return os.stat(path).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise self._failed("read", path, exc) from exc

    # Writing

    def put_record(self, prefix: names.Prefix, name: str, data: bytes) -> None:
        """Write a small file that is not there yet; of two who do so at once, one fails."""
        path = self.path(prefix, name)
        folder, base = os.path.split(path)
        part = os.path.join(folder, f".{base}.{os.getpid()}.part")
        with self._writing(path):
            self._make(folder)
            try:
                _files.atomic_write(part, data)
                if not _name_once(part, path):
                    raise ArchiveError(
                        f"{path} is there already: nothing is written over.", path=path
                    )
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part)
            _files.fsync_directory(folder)

    def start(self, prefix: names.Prefix, entry: str, builder: owner.Owner) -> str:
        """Make the folder in which an entry is built, with its owner inside; return its path."""
        path = self.part_path(prefix, entry)
        with self._writing(path):
            self._make(self.path(prefix))
            os.mkdir(path, 0o700)
            _files.atomic_write(os.path.join(path, _OWNER), builder.to_json())
            for folder in (INCOMING, KITS):
                os.mkdir(os.path.join(path, folder), 0o700)
            _files.fsync_directory(path)
            _files.fsync_directory(self.path(prefix))
        return path

    def part_path(self, prefix: names.Prefix, entry: str) -> str:
        """Return where an entry is built."""
        names.entry_time(entry)
        return self.path(prefix, f".{entry}.part")

    def has_part(self, prefix: names.Prefix, entry: str) -> bool:
        """Tell whether an entry is being built."""
        return os.path.isdir(self.part_path(prefix, entry))

    def part_files(self, prefix: names.Prefix, entry: str) -> list[str]:
        """List the files of an entry being built, but for its owner and what is incoming."""
        root = self.part_path(prefix, entry)
        if not self.has_part(prefix, entry):
            raise ArchiveError(
                f"Entry {entry} is not being built: there is no folder {root}.",
                hint="Start one with state=started; a part is removed a day after its start.",
                path=root,
            )
        found = []
        for folder, inside, files in os.walk(root):
            inside[:] = sorted(name for name in inside if name != INCOMING)
            found += [os.path.relpath(os.path.join(folder, name), root) for name in files]
        return sorted(name for name in found if name != _OWNER)

    def write_part(self, prefix: names.Prefix, entry: str, name: str, data: bytes) -> None:
        """Write a small file of an entry being built."""
        path = os.path.join(self.part_path(prefix, entry), name)
        with self._writing(path):
            _files.atomic_write(path, data)

    def commit(self, prefix: names.Prefix, entry: str, *, manifest: bytes, signature: bytes) -> str:
        """Turn the part into the entry: everything durable first, the name last."""
        part, path = self.part_path(prefix, entry), self.path(prefix, entry)
        with self._writing(part):
            shutil.rmtree(os.path.join(part, INCOMING), ignore_errors=True)
            for folder, _folders, files in os.walk(part, topdown=False):
                for name in files:
                    _sync(os.path.join(folder, name))
                os.chmod(folder, 0o700)
                _files.fsync_directory(folder)
            self.step("synced")
            _files.atomic_write(os.path.join(part, SIGNATURE), signature)
            self.step("signature")
            _files.atomic_write(os.path.join(part, MANIFEST), manifest)
            self.step("manifest")
            os.rename(part, path)
            self.step("renamed")
            _files.fsync_directory(self.path(prefix))
            os.unlink(os.path.join(path, _OWNER))
        return path

    def step(self, name: str) -> None:
        """Mark that a step of commit() is done: the place for a test to die at."""

    def drop(self, prefix: names.Prefix, entry: str) -> bool:
        """Remove an entry that is still being built; tell whether there was one."""
        path = self.part_path(prefix, entry)
        if not self.has_part(prefix, entry):
            return False
        with self._writing(path):
            # Two runs may clean the same leavings at once.
            while os.path.lexists(path):
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(path)
        return True

    def parts(self, prefix: names.Prefix) -> list[str]:
        """List the IDs of all entries that are being built."""
        folders = self._folders(self.path(prefix), hidden=True)
        inner = [name[1 : -len(".part")] for name in folders if name.endswith(".part")]
        return [entry for entry in inner if names.is_entry(entry)]

    def stale_parts(
        self, prefix: names.Prefix, *, here: owner.Owner, now: dt.datetime
    ) -> list[str]:
        """List the IDs that were being built by runs that are over."""
        found = []
        for entry in self.parts(prefix):
            data = self.read(prefix, f".{entry}.part/{_OWNER}")
            builder = owner.from_json(data) if data else None
            if builder:
                stale = builder.is_stale(here=here, now=now)
            else:  # died between making the folder and naming its owner
                stale = now - names.entry_time(entry) >= owner.DAY
            if stale:
                found.append(entry)
        return found

    def shared_size(self, name: str) -> int | None:
        """Return the size of a file of the tools or the wheelhouse; None if it is not there."""
        try:
            return os.stat(os.path.join(self.location, name)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def shared_sha256(self, name: str) -> str:
        """Return the sha256 of a file of the tools or the wheelhouse."""
        path = os.path.join(self.location, name)
        try:
            return _files.sha256_file(path)
        except OSError as exc:
            raise self._failed("read", path, exc) from exc

    def put_once(self, name: str, source: str, *, mode: int) -> None:
        """Copy a file of the controller to the tools or the wheelhouse, never over another."""
        path = os.path.join(self.location, name)
        folder = os.path.dirname(path)
        with self._writing(path):
            self._make(folder)
            part = os.path.join(folder, f".{os.path.basename(path)}.{os.getpid()}.part")
            try:
                with _files.open_regular(source) as clear, open(part, "xb") as target:
                    os.fchmod(target.fileno(), mode)
                    shutil.copyfileobj(clear, target, _files.CHUNK_BYTES)
                    target.flush()
                    os.fsync(target.fileno())
                _name_once(part, path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part)
            _files.fsync_directory(folder)

    def path(self, prefix: names.Prefix, name: str = "") -> str:
        """Return the path of a name below a prefix."""
        return os.path.join(self.location, *prefix.parts, *name.split("/"))

    def _folders(self, path: str, *, hidden: bool = False) -> list[str]:
        try:
            with os.scandir(path) as listing:
                return sorted(
                    item.name
                    for item in listing
                    if item.name.startswith(".") == hidden and item.is_dir(follow_symlinks=False)
                )
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise self._failed("list", path, exc) from exc

    def _make(self, path: str) -> None:
        os.makedirs(path, 0o700, exist_ok=True)

    @contextlib.contextmanager
    def _writing(self, path: str) -> t.Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise self._failed("write", path, exc) from exc

    def _failed(self, verb: str, path: str, exc: OSError) -> ArchiveError | SpaceMissing:
        if exc.errno in _NO_ROOM:
            return SpaceMissing(
                f"The archive on the controller has no room left while writing {path}: "
                f"{_free(self.location)} bytes are free ({exc.strerror}).",
                hint="Free space there, or set etcd_archive to a larger file system; nothing of "
                "this entry is kept.",
                path=path,
            )
        return ArchiveError(
            f"The archive on the controller cannot {verb} {path}: {exc.strerror or exc}.",
            hint="Check owner and mode of the folder, and that what should be mounted there is.",
            path=path,
        )


def open_store(location: str) -> DirectoryStore:
    """Return the store behind `etcd_archive`.

    :raises ArchiveError: it is a kind of store that this version doesn't have.
    """
    scheme, found, _mark = location.partition("://")
    if found and scheme != "file":
        raise ArchiveError(
            f"Archive {location!r} cannot be used: this version of controlplane.etcd keeps archives "
            "in directories only.",
            hint="Set etcd_archive to a directory of the controller.",
        )
    path = location[len("file://") :] if found else location
    if not os.path.isabs(path):
        raise ArchiveError(
            f"Archive {location!r} is not an absolute path.",
            hint="Set etcd_archive to one: where a relative path leads depends on who asks.",
        )
    return DirectoryStore(path)


def _free(path: str) -> int | str:
    try:
        return _files.free_bytes(path)
    except OSError:
        return "unknown"


def _name_once(part: str, path: str) -> bool:
    # link() never replaces what another run put there meanwhile; some file systems have none.
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if os.path.lexists(path):
            return False
        os.rename(part, path)
    return True


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
