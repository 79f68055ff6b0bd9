# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions that are built are the versions that are named."""

from __future__ import annotations

import re

import pytest

from lab import binaries, versions


@pytest.mark.parametrize("minor", sorted(versions.ETCD))
def test_pinned_go_modules_are_of_the_version_named(minor: str) -> None:
    text = (binaries.GO_MODULES / f"etcd-{minor}" / "go.mod").read_text()
    found = re.findall(r"go\.etcd\.io/etcd/(?:server|etcdctl|etcdutl)/v3 v(\S+)", text)
    assert len(found) == 3 and set(found) == {versions.ETCD[minor]}
