# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Where a member's files lie on a host: the only place that knows."""

from __future__ import annotations

from .find import find
from .model import Layout, LayoutKind, StaticPod

__all__ = ["Layout", "LayoutKind", "StaticPod", "find"]
