# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Files that a program reads at its start only, and that were written since.

What is served is seen by a handshake; what a program shows to others, and which authority it
trusts, is not. After `kubeadm certs renew` the controller manager and the scheduler go on with the
certificate that they were started with, until it ends.
"""

from __future__ import annotations

import datetime as dt
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._kit.tree import shown
from ansible_collections.controlplane.etcd.plugins.module_utils._node import processes
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import served
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import Finding

from .look import Looked

__all__ = ["not_loaded"]

# Certificates that are served, or shown from files of their own, are read anew: by etcd at each
# handshake (client/pkg/transport/tls.go), by the API server within a minute
# (apiserver pkg/server/dynamiccertificates). These are not: the data inside a kubeconfig (client-go
# tools/clientcmd), etcd's authorities (NewCertPool in the same tls.go), the service accounts' keys.
_FLAGS = {
    "etcd": ("trusted-ca-file", "peer-trusted-ca-file"),
    "kube-apiserver": (
        "etcd-cafile",
        "service-account-key-file",
        "service-account-signing-key-file",
    ),
    "kube-controller-manager": ("kubeconfig", "service-account-private-key-file"),
    "kube-scheduler": ("kubeconfig",),
}


def not_loaded(looked: Looked) -> t.Iterator[Finding]:
    """Return what was written since the programs that read it at their start were started."""
    files = {file.path: file for file in looked.files}
    for path, started in processes.find_started(_FLAGS, files).items():
        file = files[path]
        written = dt.datetime.fromtimestamp(file.content.meta.mtime, dt.timezone.utc)
        for each in {one.pid: one for one in started}.values():
            moment = dt.datetime.fromtimestamp(each.started_at, dt.timezone.utc)
            yield from served.check_started(
                shown(path),
                name=file.names[0] if file.names else None,
                written=written,
                component=each.component,
                pid=each.pid,
                started=moment,
                layout=looked.layout,
            )
