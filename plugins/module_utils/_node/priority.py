# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Stand back behind etcd for the processor and the disk."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform

__all__ = ["stand_back"]

# ioprio_set(2): linux/ioprio.h; its number from each architecture's unistd table.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13


def stand_back() -> None:
    """Give this process the lowest processor and disk priority; what the kernel refuses is left."""
    with contextlib.suppress(OSError):
        os.nice(19)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None, use_errno=True).syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)
