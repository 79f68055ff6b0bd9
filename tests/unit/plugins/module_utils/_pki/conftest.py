# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One etcd CA for a whole run, and pairs made around certificates."""

from __future__ import annotations

import ssl
import typing as t

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._pki import reading
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Carrier,
    Contents,
    Limits,
    Pair,
)
from lab.certificates import NOW, Made, authority

PKI = "/etc/kubernetes/pki"


class Bench:
    """Makes carriers and pairs as _cert_check does of a host's files."""

    def __init__(self) -> None:
        self.ca = authority("etcd-ca")
        self.limits = Limits(NOW)

    def carrier(
        self, data: bytes | Contents, name: str = "etcd/server.crt", **more: t.Any
    ) -> Carrier:
        contents = data if isinstance(data, Contents) else reading.read(data)
        return Carrier(f"{PKI}/{name}", name, contents, **more)

    def pair(
        self,
        made: Made | bytes,
        *,
        role: str | None = "etcd/server",
        key: Carrier | None = None,
        keyless: bool = False,
        by: t.Sequence[Made] | None = None,
    ) -> Pair:
        """Return a certificate of the role with its own key, beside the etcd CA."""
        name = role or "made-up"
        data = made if isinstance(made, bytes) else made.pem
        if data.startswith(b"\x30"):  # as control planes need it
            data = ssl.DER_cert_to_PEM_cert(data).encode()
        if key is None and not keyless and isinstance(made, Made):
            key = self.carrier(made.key_pem, f"{name}.key")
        beside = [self.ca] if by is None else by
        return Pair(
            self.carrier(data, f"{name}.crt"),
            key,
            tuple(each for ca in beside for each in reading.read(ca.pem).certificates),
            role,
        )


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()
