# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What was delivered to this node: the manifest, the programs, and whether there is room to work."""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    manifest as manifests,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    schemas,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.names import DELIVERY
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ManifestInvalid,
    OptionInvalid,
    SpaceMissing,
    ToolUnusable,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node.space import file_system

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        Manifest,
    )

    from .model import Wish

__all__ = ["Plan", "Program", "plan", "removable"]

_MIB = 1 << 20
_MANIFEST = "manifest.json"
_DATA = ("data.db.zst.age", "data.db.zst")
# etcd allocates two of these ahead (server/storage/wal, SegmentSizeBytes).
_WAL_BYTES = 2 * 64 * _MIB
_RESERVE_BYTES = 64 * _MIB
_ETCD, _APISERVER = "etcd", "kube-apiserver"
_RESTORERS = ("etcdutl", "etcdctl")


@dataclasses.dataclass(frozen=True)
class Program:
    """A program to run in the drill, and the sha256 that it must have."""

    name: str
    path: str
    sha256: str | None
    size_bytes: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """A drill that can be done here, as far as can be told without starting anything."""

    manifest: Manifest
    data_path: str
    etcd: Program
    restorer: Program
    apiserver: Program | None
    need_bytes: int
    free_bytes: int


def plan(wish: Wish) -> Plan:
    """Read the delivery and look at the node.

    :raises OptionInvalid: there is no delivery, or an option can't be used.
    :raises ManifestInvalid: its manifest can't be used.
    :raises ToolUnusable: a program is missing.
    :raises SpaceMissing: the work folder has not enough room.
    """
    manifest = _manifest(wish)
    data = next(
        (path for name in _DATA if os.path.isfile(path := os.path.join(wish.delivery, name))), None
    )
    if data is None:
        raise OptionInvalid(
            f"Delivery {wish.delivery} has no {_DATA[0]} in it.",
            hint="Deliver the entry with etcd_deliver.",
            path=wish.delivery,
        )
    etcd = _program(wish, manifest, (_ETCD,))
    restorer = _program(wish, manifest, _RESTORERS)
    apiserver = _program(wish, manifest, (_APISERVER,)) if wish.api else None
    programs = [each for each in (etcd, restorer, apiserver) if each]
    need, free = _room(wish, manifest, sum(program.size_bytes for program in programs))
    return Plan(manifest, data, etcd, restorer, apiserver, need, free)


def removable(wish: Wish) -> tuple[str, ...]:
    """Return what is removed in the end: the delivery and its own key; nothing, if that is asked.

    :raises OptionInvalid: the paths are not those of a delivery: a drill would remove other things.
    """
    if not DELIVERY.fullmatch(os.path.basename(wish.delivery)) or os.path.islink(wish.delivery):
        raise OptionInvalid(
            f"{wish.delivery} is not the folder of a delivery.",
            hint="Set delivery to what etcd_deliver returned.",
            path=wish.delivery,
        )
    if not wish.remove_delivery:
        return ()
    name = os.path.basename(wish.identity)
    if name == f"{os.path.basename(wish.delivery)}.key":
        return (wish.identity, wish.delivery)
    if os.path.dirname(os.path.abspath(wish.identity)) == os.path.abspath(wish.delivery):
        return (wish.delivery,)
    raise OptionInvalid(
        f"{wish.identity} is not the key of delivery {wish.delivery}: it would be removed with it.",
        hint="Set identity to what etcd_deliver returned, or remove_delivery to false.",
        path=wish.identity,
    )


def _manifest(wish: Wish) -> Manifest:
    path = os.path.join(wish.delivery, _MANIFEST)
    try:
        with _files.open_regular(path) as source:
            data = source.read()
    except OSError as exc:
        raise OptionInvalid(
            f"There is no delivery at {wish.delivery} on this host: {path}: {exc.strerror}.",
            hint="Set delivery to what etcd_deliver returned; a drill removes it when it ends.",
            path=wish.delivery,
        ) from exc
    # Its bytes were validated and their signature checked on the controller; hosts have no jsonschema.
    try:
        document = json.loads(data)
        if document["schema"] != schemas.MANIFEST:
            raise ValueError(f"its schema is {document['schema']!r}")
        return manifests.read_fields(manifests.Manifest, document)
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise ManifestInvalid(
            f"Manifest {path} cannot be read: {exc}.", hint="Deliver the entry again.", path=path
        ) from exc


def _program(wish: Wish, manifest: Manifest, names: tuple[str, ...]) -> Program:
    """Find a program under one of its names: a named one, else the delivered one."""
    for name in names:
        for tool in wish.tools:
            if tool.name == name:
                return _sized(name, tool.path, tool.sha256)
    for name in names:
        path = os.path.join(wish.delivery, "tools", name)
        if os.path.isfile(path):
            found = {tool.sha256 for tool in manifest.tools if tool.name == name}
            own = _files.sha256_file(path)
            if own not in found:
                raise ToolUnusable(
                    f"Delivered program {path} is none that the manifest of {manifest.id} names: "
                    f"its sha256 is {own}.",
                    hint="Deliver the entry again, or name another program with tools.",
                    path=path,
                )
            return _sized(name, path, own)
    version = manifest.etcd.server_version
    of = (
        f"etcd {version}" if names[0] != _APISERVER else manifest.kubernetes.version or "Kubernetes"
    )
    raise ToolUnusable(
        f"No {' or '.join(names)} was delivered with {manifest.id} to {wish.delivery}, and none is "
        "named.",
        hint=f"Name one of {of} with tools: a path on this host, and its sha256.",
        path=wish.delivery,
    )


def _sized(name: str, path: str, sha256: str | None) -> Program:
    try:
        size_bytes = os.stat(path).st_size
    except OSError as exc:
        raise ToolUnusable(
            f"Program {path} ({name}) is not there on this host: {exc.strerror}.",
            hint="Name one that is with tools, or deliver the entry with its tools.",
            path=path,
        ) from exc
    return Program(name, path, sha256, size_bytes)


def _room(wish: Wish, manifest: Manifest, tools_bytes: int) -> tuple[int, int]:
    """Return what the work folder must have free, and what it has."""
    db_bytes = manifest.snapshot.db_size_bytes
    # The clear image lies there until etcdutl has made its copy of it, in which etcd then writes.
    need = 2 * db_bytes + db_bytes // 10 + _WAL_BYTES + tools_bytes + _RESERVE_BYTES
    if not os.path.isdir(wish.work_dir):
        raise OptionInvalid(
            f"Work folder {wish.work_dir} is not there on this host.",
            hint="Set work_dir to a folder on a disk, such as /var/tmp.",
            path=wish.work_dir,
        )
    free = file_system(wish.work_dir).free_bytes
    if free < need:
        raise SpaceMissing(
            f"Not enough room for a drill of {manifest.id} in {wish.work_dir}: "
            f"{free / _MIB:.0f} MiB free; the clear image and the member's data of "
            f"{db_bytes / _MIB:.0f} MiB each, its log and the programs take {need / _MIB:.0f} MiB.",
            hint="Free space there, or set work_dir to a larger file system.",
            path=wish.work_dir,
        )
    return need, free
