# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The collection's version, as manifests name it; a test holds it equal to galaxy.yml's."""

from __future__ import annotations

__all__ = ["COLLECTION_VERSION"]

COLLECTION_VERSION = "0.1.0"
