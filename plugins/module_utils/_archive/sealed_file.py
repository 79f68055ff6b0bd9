# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A sealed file in a folder of the host, as the manifest will list it."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import SCHEME, seal

__all__ = ["SealedFile", "write_sealed"]


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


def write_sealed(
    source: t.Any, dest_dir: str, *, name: str, part: str, recipients: t.Sequence[str]
) -> SealedFile:
    """Seal all of `source` into `dest_dir`, whole or not at all; it gets that folder's owner.

    A `/` of `name` is a `-` in the folder. Errors of source and file system come as they were
    raised.
    """
    path = os.path.join(dest_dir, name.replace("/", "-"))
    owner = os.stat(dest_dir)
    with _files.part_file(path) as target:
        sealed = seal(source, target, recipients)
        if os.geteuid() == 0:
            os.fchown(target.fileno(), owner.st_uid, owner.st_gid)
    return SealedFile(
        name=name,
        path=path,
        part=part,
        size_bytes=sealed.size_bytes,
        sha256=sealed.sha256,
        compression="zstd",
        encryption={
            "scheme": SCHEME if recipients else "none",
            "recipients": list(recipients),
        },
    )
