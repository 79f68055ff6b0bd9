# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Kubeconfigs that trust another authority than the one that issued this host's API server's certificate."""

from __future__ import annotations

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import (
    LayoutKind,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import chain, table
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Carrier,
    Finding,
    Kind,
    Severity,
)

from .look import Looked, User

__all__ = ["mistrust"]


def mistrust(looked: Looked) -> t.Iterator[Finding]:
    """Find what cannot speak to the API server since its CA was replaced, say.

    Only the control plane's own kubeconfigs; each of them speaks to this cluster's API server.
    """
    served = next((each for each in looked.carriers if each.name == "apiserver.crt"), None)
    if served is None or not served.contents.certificates:
        return
    leaf = served.contents.certificates[0]
    for user in looked.users:
        places = _authorities(user, looked)
        trusted = [each for place in places for each in place.contents.certificates]
        if not trusted or table.role_of(user.name) is None:
            continue
        # Intermediate authorities come with what is served.
        if any(
            chain.signed_by(each, ca) for each in served.contents.certificates for ca in trusted
        ):
            continue
        yield Finding(
            kind=Kind.CHAIN,
            severity=Severity.CRITICAL,
            subject=trusted[0].subject,
            where=places[0].where,
            message=f"It trusts {chain.short(trusted[0])}, which did not issue the API server's "
            f"certificate {served.path}: that is of {leaf.issuer}. Whoever uses it refuses to speak "
            "to the API server.",
            action=_action(user, looked),
            name=user.name,
        )


def _authorities(user: User, looked: Looked) -> list[Carrier]:
    found = map(looked.carried, user.pair.authorities)
    return [each for each in found if each is not None]


def _action(user: User, looked: Looked) -> str:
    restart = table.restart(user.name, layout=looked.layout)
    if looked.layout in (LayoutKind.K3S.value, LayoutKind.RKE2.value):
        return restart
    return (
        "If ca.crt and apiserver.crt were replaced by others, put the right ones back from a backup. "
        "Otherwise: put the cluster's CA into its certificate-authority-data, or make it anew (move "
        f"it away, then kubeadm init phase kubeconfig). {restart}"
    ).strip()
