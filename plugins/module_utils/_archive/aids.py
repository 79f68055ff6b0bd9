# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What helps a restore, and can be had elsewhere; pure."""

from __future__ import annotations

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive.lacks import Lack, Severity
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.restore_text import (
    restoring_tool,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        Manifest,
    )

__all__ = ["lacks"]


def lacks(manifest: Manifest) -> t.Iterator[Lack]:
    """Yield what helps, and can be had elsewhere."""
    version = manifest.etcd.server_version.lstrip("v")
    tool = restoring_tool(version)
    if not any(
        each.name == tool and each.version.lstrip("v") == version for each in manifest.tools
    ):
        yield Lack(
            "no_tools",
            tool,
            f"{tool} {version}, which restores the snapshot, is not in the archive: it has to "
            "be had from elsewhere on the day.",
            Severity.INFO,
        )
    if not manifest.wheelhouse:
        yield Lack(
            "no_wheelhouse",
            "wheelhouse",
            "The hosts' Python environment is not in the archive: this collection needs a "
            "package index to restore; RESTORE.txt does without.",
            Severity.INFO,
        )
    if not manifest.sealed:
        yield Lack(
            "not_sealed",
            "seal",
            "Files of the entry are not encrypted: whoever reads them has the cluster.",
            Severity.INFO,
        )
