# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A sealed file in a folder of the host, as the manifest will list it."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import (
    SCHEME,
    Sealed,
    seal,
)

__all__ = ["SealedFile", "sealed_file", "sealed_part", "write_sealed"]


@dataclasses.dataclass(frozen=True)
class SealedFile:
    """A file under its name in the archive, and where it lies now."""

    name: str
    path: str
    part: str
    size_bytes: int
    sha256: str
    compression: str
    encryption: t.Mapping[str, t.Any]


def sealed_part(dest_dir: str, *, name: str) -> t.ContextManager[t.BinaryIO]:
    """Give the file to seal `name` into, in `dest_dir` whole or not at all; it gets that folder's
    owner. A `/` of `name` is a `-` in the folder.
    """
    return _files.part_file(_path(dest_dir, name), owner=os.stat(dest_dir))


def sealed_file(
    sealed: Sealed, dest_dir: str, *, name: str, part: str, recipients: t.Sequence[str]
) -> SealedFile:
    """Return what lies in `dest_dir` now."""
    return SealedFile(
        name=name,
        path=_path(dest_dir, name),
        part=part,
        size_bytes=sealed.size_bytes,
        sha256=sealed.sha256,
        compression="zstd",
        encryption={
            "scheme": SCHEME if recipients else "none",
            "recipients": list(recipients),
        },
    )


def write_sealed(
    source: t.Any, dest_dir: str, *, name: str, part: str, recipients: t.Sequence[str]
) -> SealedFile:
    """Seal all of `source` into `dest_dir`, as `sealed_part` does.

    Errors of source and file system come as they were raised.
    """
    with sealed_part(dest_dir, name=name) as target:
        sealed = seal(source, target, recipients)
    return sealed_file(sealed, dest_dir, name=name, part=part, recipients=recipients)


def _path(dest_dir: str, name: str) -> str:
    return os.path.join(dest_dir, name.replace("/", "-"))
