# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""How much memory a host has to spare."""

from __future__ import annotations

import re

__all__ = ["available_bytes"]

_AVAILABLE = re.compile(r"^MemAvailable:\s+([0-9]+) kB$", re.MULTILINE)


def available_bytes() -> int:
    """Return what can be had without swapping, page cache that can go included (proc(5), meminfo)."""
    with open("/proc/meminfo", encoding="ascii") as source:
        found = _AVAILABLE.search(source.read())
    return int(found[1]) * 1024 if found else 0
