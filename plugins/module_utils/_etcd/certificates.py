# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a diagnosis needs to know of one X.509 certificate."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps, _files, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import DependencyMissing

__all__ = ["Certificate"]

_COMMON_NAME = "2.5.4.3"
_CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Names, validity and purpose of a certificate."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: dt.datetime
    not_after: dt.datetime
    for_clients: bool

    @classmethod
    def from_file(cls, path: str) -> Certificate | None:
        """Read the first certificate of a PEM file; None where that is not possible."""
        try:
            with _files.open_regular(path) as source:
                pem = source.read()
            x509 = _deps.load("cryptography.x509")
            return cls._read(x509.load_pem_x509_certificate(pem))
        except (OSError, ValueError, DependencyMissing):
            return None

    @classmethod
    def from_der(cls, der: bytes) -> Certificate | None:
        """Read a certificate as TLS shows it; None where that is not possible."""
        try:
            return cls._read(_deps.load("cryptography.x509").load_der_x509_certificate(der))
        except (ValueError, DependencyMissing):
            return None

    @classmethod
    def _read(cls, found: t.Any) -> Certificate:
        x509 = _deps.load("cryptography.x509")
        names: list[str] = []
        usages: list[str] | None = None
        for extension in found.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                names = [str(name.value) for name in extension.value]
            elif isinstance(extension.value, x509.ExtendedKeyUsage):
                usages = [usage.dotted_string for usage in extension.value]
        return cls(
            subject=_show(found.subject),
            issuer=_show(found.issuer),
            names=tuple(names),
            not_before=_utc(found, "not_valid_before"),
            not_after=_utc(found, "not_valid_after"),
            for_clients=usages is None or _CLIENT_AUTH in usages,
        )

    def describe(self) -> str:
        """Name it in a message: subject, issuer and end."""
        return (
            f"certificate {self.subject!r} (issued by {self.issuer!r}, valid until "
            f"{_time.rfc3339(self.not_after)})"
        )


def _show(name: t.Any) -> str:
    for attribute in name:
        if attribute.oid.dotted_string == _COMMON_NAME:
            return str(attribute.value)
    return str(name.rfc4514_string())


def _utc(found: t.Any, field: str) -> dt.datetime:
    # cryptography 42 added the fields that name their time zone, and deprecated the others.
    aware = getattr(found, f"{field}_utc", None)
    if aware is not None:
        return t.cast(dt.datetime, aware)
    return t.cast(dt.datetime, getattr(found, field)).replace(tzinfo=dt.timezone.utc)
