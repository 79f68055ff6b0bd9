# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the API server keeps in etcd: keys under its prefix, encryption at rest, counts."""

from __future__ import annotations

from .catalogue import Catalogue
from .keys import ObjectKey, parse_key
from .values import encryption_prefix, object_uid, type_meta

__all__ = [
    "Catalogue",
    "ObjectKey",
    "encryption_prefix",
    "object_uid",
    "parse_key",
    "type_meta",
]
