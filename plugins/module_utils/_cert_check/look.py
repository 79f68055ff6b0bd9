# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a host has that carries certificates: files, kubeconfigs, and what could not be looked at."""

from __future__ import annotations

import dataclasses
import posixpath
import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    KitError,
    LayoutError,
    OptionInvalid,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.collect import collect
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.host import Host, find_host
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.model import (
    Collection,
    Taken,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.notes import Note, NoteKind
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.tree import HostTree, shown
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import names
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.places import (
    Folder,
    Places,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import (
    checks,
    kubeconfig,
    reading,
    table,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Carrier,
    Contents,
    Finding,
)

__all__ = ["Looked", "User", "look"]

_ENDINGS = (".crt", ".pem", ".cer", ".cert", ".der", ".key", ".pub")
# What leads to certificates, or is compared between hosts.
_CONFIGURATION = frozenset(
    {*names.MANIFESTS.values(), "kubelet/config.yaml", "etcd/config", names.ENCRYPTION_CONFIG}
)
_OTHER_ENDINGS = (".yaml", ".yml", ".json", ".toml", ".env", ".service")
_KUBECONFIG_ENDINGS = (".conf", ".kubeconfig")
# What the kubelet's certificate manager leaves of earlier turns (client-go
# util/certificate/certificate_store.go); the link …-current.pem leads to the one that counts.
_ROTATED = re.compile(r"kubelet-(?:client|server)-\d{4}(?:-\d\d){5}\.pem\Z")
_RANCHER = ("k3s", "rke2")
# What k3s and rke2 keep for their agent (k3s-io/k3s pkg/agent/config/config.go).
_OF_AGENT = {
    "agent/serving-kubelet.crt": "kubelet/pki/kubelet.crt",
    "agent/serving-kubelet.key": "kubelet/pki/kubelet.key",
    "agent/client-kubelet.crt": "kubelet/client-current.pem",
    "agent/kubelet.kubeconfig": "kubelet.conf",
    "agent/client-ca.crt": "client-ca.crt",
}
_ASKED = "extra_paths"  # what the collector calls a path that somebody named
_DEPTH = 8
# How the collector ends why it took a file that one of these fields names.
_NAMING = (
    " certificate-authority",
    " client-certificate",
    " client-key",
    " clientCAFile",
    " tlsCertFile",
    " tlsPrivateKeyFile",
)
_ENDLESS = ("/proc/", "/sys/", "/dev/")


@dataclasses.dataclass(frozen=True)
class User:
    """A user of a kubeconfig, and the kubeconfig's standard name."""

    name: str | None
    pair: kubeconfig.EntryPair


@dataclasses.dataclass(frozen=True)
class Looked:
    """What lies on a host."""

    layout: str
    """LayoutKind's value; empty where only `paths` were looked at."""
    host: Host | None
    files: tuple[Taken, ...]
    carriers: tuple[Carrier, ...]
    """Files and fields with certificates or keys, or that should have some."""
    unread: tuple[Carrier, ...]
    """Files that are there, and that this user can't read."""
    users: tuple[User, ...]
    unused: frozenset[str]
    """Paths of files that nothing is known to read."""
    links: t.Mapping[str, str]
    """Every path that leads to a file -> the file's own."""
    names: t.Mapping[str, tuple[str, ...]]
    """A file's path -> its standard names."""
    findings: tuple[Finding, ...]
    tree: HostTree

    def file_at(self, path: str | None) -> Carrier | None:
        """Return the file that a path of the host leads to, if it carries anything."""
        inside = self.tree.inside(path or "")
        wanted = self.links.get(inside, inside)
        return next(
            (each for each in self.carriers if (each.path, each.field) == (wanted, None)), None
        )

    def carried(self, place: Carrier | kubeconfig.Reference | None) -> Carrier | None:
        """Return what a field of a kubeconfig holds, or the file that it names."""
        return place if isinstance(place, Carrier) else self.file_at(place.path if place else None)

    def roles_of(self, path: str) -> tuple[str, ...]:
        """Return the roles of a file, by all of its standard names."""
        found = (table.role_of(name) for name in self.names.get(path, ()))
        return tuple(dict.fromkeys(role.name for role in found if role))


def look(
    kind: str = "auto",
    *,
    certificates_dir: str | None = None,
    static_pod_path: str | None = None,
    data_dir: str | None = None,
    paths: t.Sequence[str] = (),
    root: str = "/",
) -> Looked:
    """Look at a host as its layout has it, or at `paths` only.

    :raises LayoutError: there is no control plane that we know.
    :raises OptionInvalid: nothing lies at `paths`.
    :raises KitError: nothing can be read.
    """
    tree = HostTree(root)
    if paths:
        return _read(tree, "", None, _collect_paths(tree, paths))
    host = find_host(
        kind,
        certificates_dir=certificates_dir,
        static_pod_path=static_pod_path,
        data_dir=data_dir,
        root=root,
    )
    try:
        collection = collect(tree, host.places)
    except KitError as exc:
        raise LayoutError(exc.message, hint=exc.hint, path=exc.path) from exc
    return _read(tree, host.places.layout, host, collection)


def _collect_paths(tree: HostTree, paths: t.Sequence[str]) -> Collection:
    known = {**names.KUBEADM_PKI, **names.KUBERNETES_DIR}
    below = {f"{folder}/{name}": name for folder in ("pki", "ssl") for name in names.KUBEADM_PKI}
    folders, files = [], []
    for path in paths:
        if not path.startswith("/"):
            raise OptionInvalid(
                f"Option paths: {shown(path)} is not an absolute path.",
                hint="Write it from the root of this host.",
                path=shown(path),
            )
        found = tree.resolve(path)
        for place in (path, found.path if found else None):
            if place is not None and _is_endless(place):
                raise OptionInvalid(
                    f"Option paths: {shown(path)} is too much to look at, or nothing of a disk.",
                    hint="Name the files and folders that hold certificates, as in /etc/ssl.",
                    path=shown(path),
                )
        if found and found.is_folder:
            folders.append(Folder(path, _ASKED, depth=_DEPTH, names={**known, **below}))
        else:
            files.append(path)
    # Links may lead from one path into another.
    places = Places("", (), tuple(folders), (), "")
    try:
        return collect(tree, places, extra_paths=files)
    except KitError as exc:
        raise OptionInvalid(
            f"Nothing was found at {', '.join(shown(path) for path in paths)} (option paths): "
            + exc.message.partition(": ")[2],
            hint="Name files or folders of this host.",
            path=shown(paths[0]),
        ) from exc


def _is_endless(path: str) -> bool:
    plain = "/" + posixpath.normpath(path).lstrip("/")
    return plain == "/" or f"{plain}/".startswith(_ENDLESS)


def _read(tree: HostTree, layout: str, host: Host | None, collection: Collection) -> Looked:
    carriers: list[Carrier] = []
    users: list[User] = []
    findings = [
        _noted(note, layout, collection) for note in collection.notes if _concerns(note, collection)
    ]
    if host is not None:
        manifests = next(
            (each.path for each in host.places.folders if each.names is names.MANIFESTS), ""
        )
        findings += [checks.not_looked_at(manifests, text, needed=True) for text in host.warnings]
    unused = set()
    folder_reasons = {folder.why for folder in host.places.folders} if host else set()
    for file in collection.files:
        name = _name_of(file, layout)
        passed_by = host is not None and name is None and set(file.why) <= folder_reasons
        if passed_by and _ROTATED.search(file.path):
            continue
        if _is_kubeconfig(file, name):
            found = kubeconfig.parse(shown(file.path), file.content.data, name=name, **_owner(file))
            carriers += found.embedded
            users += [User(name, pair) for pair in found.pairs]
            problem = found.problem or _without_user(file, name)
            if problem:
                carriers.append(_carrier(file, name, reading.unreadable(problem)))
        elif _may_carry(file, name):
            carrier = _carrier(file, name, reading.read(file.content.data))
            carriers.append(dataclasses.replace(carrier, named=_is_named(file)))
            if passed_by and layout not in _RANCHER:
                unused.add(shown(file.path))
    links = {shown(file.path): shown(file.path) for file in collection.files}
    for file in collection.files:
        for link in file.links:
            links.setdefault(shown(link), shown(file.path))
    return Looked(
        layout=layout,
        host=host,
        files=collection.files,
        carriers=tuple(carriers),
        unread=tuple(
            Carrier(shown(note.path), note.name, reading.unreadable("it was not read"))
            for note in collection.notes
            if note.kind is NoteKind.UNREADABLE and note.path
        ),
        users=tuple(users),
        unused=frozenset(unused),
        links=links,
        names={shown(file.path): file.names for file in collection.files},
        findings=tuple(findings),
        tree=tree,
    )


def _name_of(file: Taken, layout: str) -> str | None:
    return _of_agent(file.path, layout) or (file.names[0] if file.names else None)


def _of_agent(path: str, layout: str) -> str | None:
    if layout not in _RANCHER:
        return None
    folder, name = posixpath.split(path)
    return _OF_AGENT.get(f"{posixpath.basename(folder)}/{name}")


def _is_kubeconfig(file: Taken, name: str | None) -> bool:
    if name in names.KUBECONFIGS:
        return True
    if file.parsed.kind == "Config":
        return any("clusters" in each or "users" in each for each in file.parsed.documents)
    # One that is broken or cut off.
    return file.path.endswith(".kubeconfig") or (
        file.path.endswith(_KUBECONFIG_ENDINGS)
        and bool(file.parsed.problem)
        and b"current-context" in file.content.data
    )


def _without_user(file: Taken, name: str | None) -> str | None:
    """Say so where a kubeconfig of the control plane has nobody to log in as: it is cut off, say."""
    if name not in names.KUBECONFIGS:
        return None
    for document in file.parsed.documents:
        users = document.get("users")
        for user in users if isinstance(users, list) else ():
            own = user.get("user") if isinstance(user, dict) else None
            own = own if isinstance(own, dict) else {}
            # It may have a token, or run a program; a key alone is nothing.
            if any(value for key, value in own.items() if not str(key).startswith("client-key")):
                return None
    return "it names no user with credentials"


def _may_carry(file: Taken, name: str | None) -> bool:
    if (name or file.path).endswith(_ENDINGS) or file.path.endswith(_ENDINGS):
        return True
    if file.parsed.kind is not None or name in names.MANIFESTS.values():
        return False
    return b"-----BEGIN " in file.content.data


def _is_named(file: Taken) -> bool:
    """Tell whether a flag, or a field of a kubeconfig or of the kubelet's, names this very file."""
    return any(" --" in why or why.endswith(_NAMING) for why in file.why)


def _owner(file: Taken) -> dict[str, int]:
    meta = file.content.meta
    return {"mode": meta.mode, "uid": meta.uid, "gid": meta.gid}


def _carrier(file: Taken, name: str | None, contents: Contents) -> Carrier:
    meta = file.content.meta
    return Carrier(
        path=shown(file.path),
        name=name,
        contents=contents,
        mode=meta.mode,
        uid=meta.uid,
        gid=meta.gid,
    )


def _concerns(note: Note, collection: Collection) -> bool:
    """Tell whether a note means that a certificate may not have been looked at."""
    if note.kind in (NoteKind.USUAL, NoteKind.TAKEN_ANYWAY):
        return False
    if note.kind is NoteKind.MISSING:
        return (note.path or "").endswith((*_ENDINGS, *_KUBECONFIG_ENDINGS)) or (
            note.path is not None and _ASKED in note.text
        )
    if note.kind is NoteKind.NOT_PARSED:
        # A kubeconfig tells its problem itself.
        return any(
            file.path == note.path and not _is_kubeconfig(file, _name_of(file, ""))
            for file in collection.files
            if _CONFIGURATION.intersection(file.names)
        )
    if note.kind is NoteKind.UNREADABLE and (note.path or "").endswith(_OTHER_ENDINGS):
        return note.name in _CONFIGURATION
    return True


def _noted(note: Note, layout: str, collection: Collection) -> Finding:
    where = shown(note.path or "")
    name = note.name or _of_agent(note.path or "", layout)
    if note.kind is NoteKind.LEFT_OUT:
        return dataclasses.replace(
            checks.not_looked_at(where, note.reason, name=name, needed=True),
            message=f"It and what follows was not looked at: {note.reason}.",
            action="Name smaller folders or files in paths, or move away what is none of the control "
            "plane's; then check again.",
        )
    if note.kind is NoteKind.NOT_PARSED:
        taken = next((file for file in collection.files if file.path == note.path), None)
        name = name or (taken.names[0] if taken and taken.names else None)
        reason = f"{note.reason}; what it references could not be followed"
        return checks.not_looked_at(where, reason, name=name, needed=name in _CONFIGURATION)
    if note.kind is NoteKind.MISSING:
        finding = checks.missing(note.name or posixpath.basename(where), where, layout=layout)
        return dataclasses.replace(
            finding, message=f"It is missing: {note.reason}.", name=note.name
        )
    return checks.not_looked_at(where, note.reason, name=name, needed=name in _CONFIGURATION)
