# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What etcd keeps in its bbolt database: revisions, live keys, HashKV, members, leases, versions."""

from __future__ import annotations

from .crc import status_hash
from .facts import Alarm, Member
from .hashing import Batch
from .image import ImageSummary, read_image
from .keyvalue import KeyValue

__all__ = ["Alarm", "Batch", "ImageSummary", "KeyValue", "Member", "read_image", "status_hash"]
