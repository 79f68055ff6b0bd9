# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Take a kit: look what a host has, then seal it in parts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import sealing
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.names import check_part
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealed_file import (
    SealedFile,
    write_sealed,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import KitError
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import names
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import (
    places as layout_places,
)

from . import damage, facts
from .bundle import Bundle, bundle
from .collect import collect
from .host import find_host
from .model import Collection
from .tree import HostTree, shown

__all__ = ["Options", "Plan", "contents", "plan", "recipients", "record", "write"]

PARTS = (sealing.Part.ENCRYPTION.value, sealing.Part.PKI.value)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to take, and what not."""

    host: str
    layout: str = "auto"
    certificates_dir: str | None = None
    static_pod_path: str | None = None
    data_dir: str | None = None
    include_ca_keys: bool = True
    extra_paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    root: str = "/"
    """Another place of the host's file tree, for recorded trees."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a kit would hold."""

    host: str
    layout: str
    collection: Collection
    bundles: tuple[Bundle, ...]
    encryption: facts.Encryption
    certificates: tuple[facts.Certificate, ...]
    warnings: tuple[str, ...]
    damaged: tuple[str, ...] = ()
    """Standard names that are there, and can't be used."""


def recipients(value: t.Any, *, allow_unsealed: bool) -> dict[str, tuple[str, ...]]:
    """Return each part's recipients, from a list for both or a dictionary with a list for each.

    :raises SealError: a recipient can't be used, or a part has none while `allow_unsealed` is
        false.
    """
    return sealing.recipients_by_part(value, parts=PARTS, allow_unsealed=allow_unsealed)


def plan(options: Options) -> Plan:
    """Look at the host, and put the kit together in memory.

    :raises OptionInvalid: the host's name can't be part of a file's name.
    :raises LayoutError: what lies here is no control plane that we know.
    :raises KitError: nothing can be taken.
    """
    check_part(options.host, "The kit's name")
    tree = HostTree(options.root)
    host = find_host(
        options.layout,
        certificates_dir=options.certificates_dir,
        static_pod_path=options.static_pod_path,
        data_dir=options.data_dir,
        root=options.root,
    )
    places = host.places
    collection = collect(tree, places, extra_paths=options.extra_paths, exclude=options.exclude)
    warnings = [*host.warnings, *collection.warnings]
    encryption = facts.encryption(collection.files)
    # With all keys at hand, those too that will be left out: they tell what belongs together.
    damaged = damage.look_for(collection.files, encryption)
    warnings += damaged.warnings
    if not options.include_ca_keys:
        collection = _without(collection, facts.ca_keys(collection.files))
    if encryption.kms:
        warnings.append(
            f"Secrets are encrypted by KMS plugin(s) {', '.join(encryption.kms)}: their key is not "
            "in any kit. Without that KMS a restored cluster cannot read them."
        )
    bundles = [
        _bundle(tree, places, collection, part=part, host=options.host)
        for part in PARTS
        if any(file.part == part for file in collection.files)
    ]
    return Plan(
        host=options.host,
        layout=places.layout,
        collection=collection,
        bundles=tuple(bundles),
        encryption=encryption,
        certificates=facts.certificates(collection.files),
        warnings=tuple(warnings),
        damaged=tuple(name for name in damaged.names if name in collection.present),
    )


def write(
    wanted: Plan, dest_dir: str, sealed_to: t.Mapping[str, t.Sequence[str]]
) -> tuple[SealedFile, ...]:
    """Seal each part into `dest_dir`: all of them whole, or none is there.

    :raises KitError: the folder can't be written.
    """
    written: list[SealedFile] = []
    try:
        for each in wanted.bundles:
            written.append(_write(each, wanted.host, dest_dir, sealed_to[each.kit.part]))
    except BaseException:
        for done in written:
            with contextlib.suppress(OSError):
                os.unlink(done.path)
        raise
    return tuple(written)


def record(
    wanted: Plan, written: t.Sequence[SealedFile], sealed_to: t.Mapping[str, t.Sequence[str]]
) -> dict[str, t.Any]:
    """Return what the module returns; `written` is empty in check mode."""
    collection = wanted.collection
    files: list[dict[str, t.Any]] = [dataclasses.asdict(each) for each in written]
    if not written:
        files = [
            {
                "name": _name(each.kit.part, wanted.host, sealed_to[each.kit.part]),
                "part": each.kit.part,
                "clear_size_bytes": each.size_bytes,
            }
            for each in wanted.bundles
        ]
    return {
        "name": wanted.host,
        "layout": wanted.layout,
        "kit": {
            "present": list(collection.present),
            "missing": list(collection.missing),
            "excluded": list(collection.excluded),
            "damaged": list(wanted.damaged),
        },
        "files": files,
        "certificates": [dataclasses.asdict(each) for each in wanted.certificates],
        "encryption": {
            "providers": list(wanted.encryption.providers),
            "key_names": list(wanted.encryption.key_names),
        },
        "kms_needed": bool(wanted.encryption.kms),
        "file_count": len(collection.files),
    }


def contents(wanted: Plan) -> list[dict[str, t.Any]]:
    """Return what would be taken, file by file, for check mode."""
    return [
        {
            "path": shown(file.path),
            "names": list(file.names),
            "part": each.kit.part,
            "size_bytes": file.size_bytes,
            "why": [shown(why) for why in file.why],
        }
        for each in wanted.bundles
        for file in each.kit.files
    ]


def _without(collection: Collection, paths: frozenset[str]) -> Collection:
    """Leave files out as asked; their names count neither as present nor as missing."""
    left_out = {name for file in collection.files if file.path in paths for name in file.names}
    kept = dataclasses.replace(
        collection, files=tuple(file for file in collection.files if file.path not in paths)
    )
    # kubeadm's external CA mode has none to begin with.
    away = left_out | names.CA_KEYS
    return dataclasses.replace(
        kept,
        missing=tuple(name for name in kept.missing if name not in away),
        excluded=tuple(sorted({*kept.excluded, *left_out} - set(kept.present))),
    )


def _bundle(
    tree: HostTree, places: layout_places.Places, collection: Collection, *, part: str, host: str
) -> Bundle:
    files = [file for file in collection.files if file.part == part]
    shared = part == sealing.Part.ENCRYPTION.value
    used = {link for file in files for link in file.links}
    return bundle(
        tree,
        files,
        [link for link in collection.links if link.path in used or not shared],
        part=part,
        layout=places.layout,
        host=None if shared else host,  # the encryption part is the same on all hosts of a cluster
        missing=[
            each for each in collection.missing if (each == names.ENCRYPTION_CONFIG) == shared
        ],
        prefix=places.prefix,
    )


def _name(part: str, host: str, sealed_to: t.Sequence[str]) -> str:
    base = f"pki/{host}.tar" if part == sealing.Part.PKI.value else f"{part}.tar"
    return sealing.sealed_name(base, sealed_to)


def _write(made: Bundle, host: str, dest_dir: str, sealed_to: t.Sequence[str]) -> SealedFile:
    name = _name(made.kit.part, host, sealed_to)
    path = os.path.join(dest_dir, name.replace("/", "-"))
    try:
        return write_sealed(
            made.open(), dest_dir, name=name, part=made.kit.part, recipients=sealed_to
        )
    except OSError as exc:
        raise KitError(
            f"Cannot write {path} on this host: {exc.strerror}.",
            hint="dest_dir must be a folder with room that this user may write.",
            path=path,
        ) from exc
