# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Which of an entry's certificates will have expired by the day that it might be restored."""

from __future__ import annotations

import datetime as dt
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.parts import RANCHER
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.summary import FIRST
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.forecast import (
    Dated,
    ca_end,
    expired_by,
    restorable_until,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        Manifest,
    )

__all__ = ["forecast", "time_of"]


def time_of(text: str | None, *, now: dt.datetime) -> dt.datetime:
    """Read option `at`: an RFC 3339 time, or a duration from now.

    :raises OptionInvalid: it is neither.
    """
    if text is None:
        return now
    try:
        return now + dt.timedelta(seconds=_time.parse_duration(text))
    except (ValueError, OverflowError):
        pass
    try:
        return _time.parse_rfc3339(text)
    except ValueError as exc:
        raise OptionInvalid(
            f"Option at is neither a time nor a duration: {text!r}.",
            hint="Write 2027-06-01T00:00:00Z, or 90d for so long from now.",
        ) from exc


def forecast(manifest: Manifest | None, *, at: dt.datetime) -> dict[str, t.Any] | None:
    """Return as JSON what will have expired; None where no certificate is told of."""
    if manifest is None or not manifest.certificates:
        return None
    certificates = [
        Dated(each.host, each.name, _time.parse_rfc3339(each.not_after))
        for each in manifest.certificates
    ]
    expired = expired_by(certificates, at=at)
    first = restorable_until(certificates, renewed_at_start=_renewed_at_start(manifest))
    authority = ca_end(certificates)
    return {
        "at": _time.rfc3339(at),
        "certificate_count": len(certificates),
        "expired_count": len(expired),
        "expired": [_told(each) for each in expired[:FIRST]],
        "restorable_until": _end(first),
        "restorable_until_of": _named(first),
        "ca_ends_at": _end(authority),
        "ca_ends_of": _named(authority),
        "meaning": _meaning(manifest, first, authority, at),
    }


def _renewed_at_start(manifest: Manifest) -> frozenset[str]:
    layouts = {
        member.host: member.layout.kind for member in manifest.cluster.members if member.layout
    }
    layouts.update({kit.host: kit.layout for kit in manifest.kit if kit.layout})
    return frozenset(host for host, kind in layouts.items() if host and kind in RANCHER)


def _told(certificate: Dated) -> dict[str, str]:
    return {
        "host": certificate.host,
        "name": certificate.name,
        "not_after": _time.rfc3339(certificate.not_after),
    }


def _end(certificate: Dated | None) -> str | None:
    return _time.rfc3339(certificate.not_after) if certificate else None


def _named(certificate: Dated | None) -> dict[str, str] | None:
    return {"host": certificate.host, "name": certificate.name} if certificate else None


def _meaning(
    manifest: Manifest, first: Dated | None, authority: Dated | None, at: dt.datetime
) -> str:
    if first is None:
        return (
            "No certificate that a control plane starts with is told of: until when is not known."
        )
    past = first.not_after < at
    words = [
        f"Restorable without renewing until {_end(first)}, when {first.name} of {first.host} ends"
        + (f": by {_time.rfc3339(at)} that is past." if past else ".")
    ]
    if authority is None:
        words.append("After it certificates have to be renewed; no CA's end is told of.")
    elif authority == first:
        words.append("That is a CA: after it everything has to be signed by a new one.")
    else:
        words.append(
            "After it certificates have to be renewed with the kit's CA, which helps until "
            f"{_end(authority)}, when {authority.name} ends."
        )
        if not any("ca.key" in kit.present for kit in manifest.kit):
            words.append("No kit has its key: whoever holds that has to sign.")
        if authority.not_after < at:
            words.append(f"By {_time.rfc3339(at)} that is past, too: a new CA is needed.")
    return " ".join(words)
