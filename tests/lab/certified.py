# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at the certificates of a host tree, without Ansible."""

from __future__ import annotations

import datetime as dt
import typing as t
from pathlib import Path

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._cert_check import check
from lab.pki import ClusterPki

NOW = dt.datetime.now(dt.timezone.utc)
"""To issue certificates by; what is looked at is judged by the time it is looked at."""


def look_at(root: Path | str, **options: t.Any) -> dict[str, t.Any]:
    """Return what is found in a tree; nothing is asked for what it serves."""
    asked = check.Options(**{"root": str(root), "served": False, **options})
    return dict(check.check(asked, now=_time.now()).result)


class Host:
    """A kubeadm host's tree below a folder, its files speaking of `/`."""

    def __init__(self, root: Path, pki: ClusterPki) -> None:
        self.root = root
        self.pki = pki
        self.kubernetes = root / "etc/kubernetes"
        self.folder = self.kubernetes / "pki"

    def check(self, **options: t.Any) -> dict[str, t.Any]:
        """Return what is found in it."""
        return look_at(self.root, **options)

    def findings(self, **options: t.Any) -> list[tuple[str, str, str]]:
        """Return severity, kind and place of what is found."""
        found = self.check(**options)["findings"]
        return [(each["severity"], each["kind"], each["where"]) for each in found]
