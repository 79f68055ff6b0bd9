# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Collect a host's files: what the layout lists, what those reference, what these reference, …"""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
import posixpath
import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import KitError
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import names
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import (
    StaticPod,
    Tree,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.places import (
    SYSTEM_FOLDERS,
    Folder,
    Places,
)

from .model import Collection, Link, Taken
from .notes import NoteKind, Notes
from .references import Parsed, Reference, parse
from .tree import Content, HostTree, Resolved, shown

__all__ = ["collect"]

MAX_FILES = 5000
MAX_ENTRIES = 50_000
MAX_TOTAL_BYTES = 64 << 20
_ENCRYPTION = re.compile(rb"""kind["']?\s*:\s*["']?EncryptionConfig""")
_OF_ENCRYPTION = frozenset({names.ENCRYPTION_CONFIG, "encryption-state"})
# Devices and run-time state; and what every host has of its own.
_NEVER = ("/dev/", "/proc/", "/sys/", "/run/", "/var/run/", "/var/log/")
_OF_SYSTEM = frozenset(
    f"/etc/{name}"
    for name in (
        "group",
        "gshadow",
        "hostname",
        "hosts",
        "localtime",
        "machine-id",
        "nsswitch.conf",
    )
    + ("os-release", "passwd", "resolv.conf", "shadow", "timezone")
)


@dataclasses.dataclass
class _File:
    content: Content
    parsed: Parsed
    names: list[str] = dataclasses.field(default_factory=list)
    why: list[str] = dataclasses.field(default_factory=list)
    links: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Wish:
    path: str
    """The host's own path."""
    why: str
    name: str | None
    strong: bool
    named: bool
    """Something names this very path; otherwise it was found in a folder."""
    pod: StaticPod | None = None
    seen_as: str | None = None
    """The path as its container sees it, for what the file references by a relative path."""


def collect(
    tree: HostTree,
    places: Places,
    *,
    extra_paths: t.Sequence[str] = (),
    exclude: t.Sequence[str] = (),
) -> Collection:
    """Find and read everything; what can't be taken is warned of, not raised.

    `extra_paths` are files and folders of the host; `exclude` are shell patterns of its paths.

    :raises KitError: nothing at all was found.
    """
    collector = _Collector(tree, places, exclude, roots=(*places.roots, *extra_paths))
    for folder in places.folders:
        collector.walk(folder)
    for place in places.files:
        collector.want(_Wish(place.path, place.why, place.name, strong=False, named=False))
    for path in extra_paths:
        collector.take_asked(path)
    collector.run()
    return collector.result()


class _Collector:
    def __init__(
        self, tree: HostTree, places: Places, exclude: t.Sequence[str], *, roots: t.Sequence[str]
    ) -> None:
        self._tree = tree
        self._places = places
        self._exclude = tuple(exclude)
        self._roots = [root.rstrip("/") for root in roots]
        self._queue: collections.deque[_Wish] = collections.deque()
        self._files: dict[str, _File] = {}
        self._links: dict[str, Link] = {}
        self._missing: set[str] = set()
        self._excluded: set[str] = set()
        self._notes = Notes()
        self._walked: set[str] = set()
        self._followed: set[tuple[str, str]] = set()
        self._total = 0
        self._entries = 0
        self._full = False

    def want(self, wish: _Wish) -> None:
        """Put a file on the list."""
        self._queue.append(wish)

    def run(self) -> None:
        """Work the list off; it grows meanwhile."""
        while self._queue:
            self._take(self._queue.popleft())

    def take_asked(self, path: str) -> None:
        """Take what somebody asked for, a file or a whole folder."""
        resolved = self._resolve(path)
        if resolved is None or resolved.path is None:
            self._notes.add(
                NoteKind.MISSING,
                f"extra_paths names {shown(path)}: there is no such file.",
                path,
                "there is no such file",
            )
        elif resolved.is_folder:
            self.walk(Folder(path, "extra_paths", depth=8))
        else:
            self.want(_Wish(path, "extra_paths", None, strong=True, named=True))

    def walk(self, folder: Folder) -> None:
        """Put every file of a folder on the list."""
        if posixpath.normpath(folder.path) in SYSTEM_FOLDERS and folder.why != "extra_paths":
            return
        self._walk(folder, folder.path, "", folder.depth)

    def _walk(self, folder: Folder, path: str, below: str, depth: int) -> None:
        resolved = self._resolve(path)
        if resolved is None or not resolved.is_folder or resolved.path is None:
            return
        self._keep_links(resolved)
        if resolved.path in self._walked:
            return
        self._walked.add(resolved.path)
        try:
            entries = self._tree.entries(resolved.path)
        except KitError as exc:
            self._notes.refused(exc)
            return
        for entry in entries:
            inside = posixpath.join(below, entry)
            full = posixpath.join(path, entry)
            self._entries += 1
            if self._entries > MAX_ENTRIES:
                self._stop_walking(full)
                return
            found = self._resolve(full)
            if found is None:
                continue
            if found.is_folder:
                if depth and (not found.links or self._is_ours(found.path)):
                    self._walk(folder, full, inside, depth - 1)
                elif depth and found.links:
                    self._leads_out(full, found)
                continue
            if folder.path == path and self._is_hidden(folder, entry):
                continue
            name = folder.names.get(inside) or folder.group
            self.want(_Wish(full, folder.why, name, strong=False, named=False))

    def _stop_walking(self, path: str) -> None:
        if self._entries == MAX_ENTRIES + 1:  # said once
            why = f"the folders hold more than {MAX_ENTRIES} entries"
            text = f"{shown(path)} and what follows was left out: {why}. Name smaller folders."
            self._notes.add(NoteKind.LEFT_OUT, text, path, why)

    def _is_hidden(self, folder: Folder, entry: str) -> bool:
        # The kubelet leaves these alone (kubernetes pkg/kubelet/config/file.go).
        return folder.names is names.MANIFESTS and entry.startswith(".")

    def _take(self, wish: _Wish) -> None:
        if any(fnmatch.fnmatch(wish.path, pattern) for pattern in self._exclude):
            if wish.name:
                self._excluded.add(wish.name)
            return
        resolved = self._resolve(wish.path, wish)
        if resolved is None or resolved.path is None:
            if resolved:
                self._keep_links(resolved)
            self._is_missing(
                wish, "there is no such file" if not resolved else "its link is dangling"
            )
            return
        if resolved.is_folder:
            # One that is mounted or named: its files have their own references. But container
            # runtimes make a folder of a file that is to be mounted and is not there, too.
            self._is_missing(wish, "it is a folder")
            return
        if not wish.named and resolved.links and not self._is_ours(resolved.path):
            self._leads_out(wish.path, resolved)
            return
        file = self._files.get(resolved.path) or self._read(wish, resolved)
        if file is None:
            return
        if wish.named and resolved.links and not self._is_ours(resolved.path):
            self._notes.add(
                NoteKind.TAKEN_ANYWAY,
                f"{shown(wish.path)} is a link to {shown(resolved.path)}, outside the control "
                f"plane's folders; it was taken, because {wish.why} references it.",
                wish.path,
            )
        self._keep_links(resolved)
        if wish.name and wish.name not in file.names:
            file.names.append(wish.name)
        if wish.why not in file.why:
            file.why.append(wish.why)
        file.links += [link for link in resolved.links if link not in file.links]
        self._follow(wish, resolved.path, file)

    def _read(self, wish: _Wish, resolved: Resolved) -> _File | None:
        path = t.cast(str, resolved.path)
        if not resolved.is_file and not wish.strong and wish.named:
            return None  # a socket that is mounted, say
        if self._full or len(self._files) >= MAX_FILES:
            self._leave_out(wish, f"the kit already has {len(self._files)} files")
            return None
        try:
            content = self._tree.read(path)
        except KitError as exc:
            self._is_missing(wish, str(exc), always=True)
            return None
        if self._total + len(content.data) > MAX_TOTAL_BYTES:
            self._leave_out(wish, f"the kit would pass {MAX_TOTAL_BYTES} bytes")
            return None
        self._total += len(content.data)
        parsed = parse(path, content.data, tree=Tree())
        if parsed.problem and posixpath.splitext(path)[1] in (".yaml", ".yml", ".conf", ".json"):
            self._notes.add(
                NoteKind.NOT_PARSED,
                f"{shown(path)} was taken, but what it references is not known: {parsed.problem}.",
                path,
                parsed.problem,
            )
        self._files[path] = file = _File(content, parsed)
        return file

    def _follow(self, wish: _Wish, path: str, file: _File) -> None:
        """Put what a file references on the list, once for each container that reads it."""
        context = (path, f"{wish.pod.manifest} {wish.pod.component}" if wish.pod else "")
        if context in self._followed:
            return
        self._followed.add(context)
        for reference in file.parsed.references:
            self._refer(wish, path, reference)

    def _refer(self, wish: _Wish, path: str, reference: Reference) -> None:
        pod = reference.pod or wish.pod
        seen = reference.path
        if pod is not None and reference.pod is None and wish.seen_as:
            # A relative path was joined to the host's folder: see it from inside the container.
            folder, inside = posixpath.dirname(path), posixpath.dirname(wish.seen_as)
            if folder != inside and seen.startswith(folder + "/") and pod.host_path(seen) is None:
                seen = inside + seen[len(folder) :]
        seen = posixpath.normpath(seen)
        host: str | None = seen
        if pod is not None:
            host = pod.host_path(seen)
        wanted = _Wish(
            host or seen, reference.why, reference.name, reference.strong, True, pod, seen
        )
        if host is None:
            self._is_missing(wanted, "no volume of the host is mounted there")
        elif reference.strong or not (host.startswith(_NEVER) or host in _OF_SYSTEM):
            self._queue.append(wanted)

    def _resolve(self, path: str, wish: _Wish | None = None) -> Resolved | None:
        try:
            return self._tree.resolve(path)
        except KitError as exc:
            if wish is not None:
                self._is_missing(wish, str(exc), always=True)
            else:
                self._notes.refused(exc)
            return None

    def _is_ours(self, path: str | None) -> bool:
        return path is not None and any(
            path == root or path.startswith(root + "/") for root in self._roots
        )

    def _keep_links(self, resolved: Resolved) -> None:
        for path in resolved.links:
            if path in self._links or path in SYSTEM_FOLDERS:
                continue
            try:
                target, meta = self._tree.link(path)
            except KitError as exc:
                self._notes.refused(exc)
                continue
            self._links[path] = Link(path, target, meta)

    def _leads_out(self, path: str, resolved: Resolved) -> None:
        self._keep_links(resolved)
        reason = (
            f"is a link to {shown(resolved.path or '')}, outside the control plane's folders, "
            "which nothing references"
        )
        self._notes.add(
            NoteKind.LEADS_OUT,
            f"{shown(path)} {reason}: the link was kept, its content was not taken. Name it in "
            "extra_paths if it belongs to the kit.",
            path,
            reason,
        )

    def _is_missing(self, wish: _Wish, reason: str, *, always: bool = False) -> None:
        """Note a file that can't be taken; `always`: it is there, whoever wants it."""
        if not wish.strong and not always:
            return
        if wish.name:
            self._missing.add(wish.name)
        why = wish.why if wish.strong else None
        self._notes.untaken(wish.path, reason, why=why, name=wish.name, there=always)

    def _leave_out(self, wish: _Wish, reason: str) -> None:
        if not self._full:
            self._full = True
            self._notes.add(
                NoteKind.LEFT_OUT,
                f"{shown(wish.path)} and what follows was left out: {reason}. Name large files in "
                "exclude.",
                wish.path,
                reason,
            )
        if wish.name:
            self._missing.add(wish.name)

    def result(self) -> Collection:
        """Return all that was found."""
        notes = self._notes.all()
        if not self._files:
            raise KitError(
                f"Nothing of a control plane was found on this host (layout {self._places.layout}): "
                + ("; ".join(note.text for note in notes[:3]) or "none of its folders exists."),
                hint="Run the task with become, on a control-plane host; see certificates_dir and "
                "static_pod_path.",
            )
        files = tuple(_taken(path, self._files[path]) for path in sorted(self._files))
        present = {name for file in files for name in file.names}
        usual = set(self._places.expected) - present - self._missing - self._excluded
        if usual:
            self._notes.add(
                NoteKind.USUAL,
                f"A {self._places.layout} control plane usually has {len(usual)} more file(s), which "
                f"are not in the kit: {', '.join(sorted(usual))}.",
            )
        return Collection(
            files=files,
            links=tuple(self._links[path] for path in sorted(self._links)),
            missing=tuple(sorted((self._missing | usual) - present - self._excluded)),
            excluded=tuple(sorted(self._excluded - present)),
            notes=self._notes.all(),
        )


def _taken(path: str, file: _File) -> Taken:
    core = [name for name in file.names if name in names.CORE]
    known = core or file.names[:1]
    is_encryption = (
        bool(_OF_ENCRYPTION.intersection(file.names))
        or _ENCRYPTION.search(file.content.data) is not None
    )
    return Taken(
        path=path,
        content=file.content,
        names=tuple(known),
        why=tuple(file.why),
        part="encryption" if is_encryption else "pki",
        parsed=file.parsed,
        links=tuple(file.links),
    )
