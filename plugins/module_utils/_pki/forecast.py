# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Until when archived certificates can be put back as they are; pure, the day is an argument."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t

__all__ = ["AUTHORITIES", "STARTING", "Dated", "ca_end", "expired_by", "restorable_until"]

# What a control plane does not start without: admin.conf and the health check's certificate are
# somebody's access, the kubelet's serving certificate is made by itself.
STARTING = frozenset(
    {
        "apiserver.crt",
        "apiserver-etcd-client.crt",
        "apiserver-kubelet-client.crt",
        "controller-manager.conf",
        "etcd/peer.crt",
        "etcd/server.crt",
        "front-proxy-client.crt",
        "kubelet.conf",
        "kubelet/client-current.pem",
        "scheduler.conf",
    }
)
AUTHORITIES = frozenset(
    {"ca.crt", "client-ca.crt", "etcd/ca.crt", "etcd/peer-ca.crt", "front-proxy-ca.crt"}
)


@dataclasses.dataclass(frozen=True)
class Dated:
    """A certificate by its host and standard name, with its end."""

    host: str
    name: str
    not_after: dt.datetime


def expired_by(certificates: t.Iterable[Dated], *, at: dt.datetime) -> tuple[Dated, ...]:
    """Return those that are no longer valid at a time, the first to end first.

    RFC 5280, section 4.1.2.5: a certificate is valid through notAfter.
    """
    return tuple(sorted((each for each in certificates if each.not_after < at), key=_order))


def restorable_until(
    certificates: t.Iterable[Dated], *, renewed_at_start: t.Collection[str] = ()
) -> Dated | None:
    """Return the first to end of what a restored control plane starts with, authorities included.

    After that day something has to be renewed first. `renewed_at_start` are hosts whose programs
    renew their own leaves when they start (k3s, rke2). None: there is none of them.
    """
    found = list(certificates)
    leaves = [each for each in found if each.name in STARTING and each.host not in renewed_at_start]
    authority = ca_end(found)
    return min([*leaves, *([authority] if authority else [])], key=_order, default=None)


def ca_end(certificates: t.Iterable[Dated]) -> Dated | None:
    """Return the authority that ends first: renewing leaves with it helps until then, not after.

    Of several certificates in one file the last to end counts: a change of authorities leaves the
    old one beside the new.
    """
    last: dict[tuple[str, str], Dated] = {}
    for each in certificates:
        if each.name in AUTHORITIES:
            place = (each.host, each.name)
            known = last.get(place)
            if known is None or known.not_after < each.not_after:
                last[place] = each
    return min(last.values(), key=_order, default=None)


def _order(certificate: Dated) -> tuple[dt.datetime, str, str]:
    return certificate.not_after, certificate.host, certificate.name
