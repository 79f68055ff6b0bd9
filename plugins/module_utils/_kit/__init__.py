# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What etcd does not hold: found by following what a host's manifests reference; sealed in parts."""

from __future__ import annotations

from .bundle import Kit, open_kit, read_index
from .take import Options, Plan, contents, plan, recipients, record, write

__all__ = [
    "Kit",
    "Options",
    "Plan",
    "contents",
    "open_kit",
    "plan",
    "read_index",
    "recipients",
    "record",
    "write",
]
