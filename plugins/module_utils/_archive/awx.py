# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Know an archive that AWX throws away with the job's container."""

from __future__ import annotations

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._node.space import file_system

__all__ = ["awx_warning"]

_VARIABLE = "AWX_PRIVATE_DATA_DIR"


def awx_warning(location: str, environment: t.Mapping[str, str]) -> str:
    """Say if `location` lies in the container of an AWX job and not on a mount; empty if not.

    Each job of AWX and Automation Controller has a fresh container and private data folder.
    """
    private = environment.get(_VARIABLE)
    if not private:
        return ""
    mount_point = file_system(location).mount_point
    if mount_point not in ("/", file_system(private).mount_point):
        return ""
    return (
        f"Archive {location} goes with this AWX job: it lies on the job's own file system "
        f"({mount_point}), not on a mount. Have it on a path that AWX exposes to its jobs "
        "(Settings, Jobs: AWX_ISOLATION_SHOW_PATHS)."
    )
