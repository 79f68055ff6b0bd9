# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The bbolt file format, read from a buffer; knows no etcd.

Facts from bbolt v1.5: internal/common/{page,meta,inode,bucket}.go, tx_check.go, db.go.
Whatever a file holds, reading it ends in a value or in DatabaseInvalid.
"""

from __future__ import annotations

from .check import Proof, check
from .database import Bucket, Database
from .page import Leaf

__all__ = ["Bucket", "Database", "Leaf", "Proof", "check"]
