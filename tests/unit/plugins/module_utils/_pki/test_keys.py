# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with keys: who reads them, what can't be opened, what must not lie there."""

from __future__ import annotations

import typing as t

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.controlplane.etcd.plugins.module_utils._pki import checks, reading
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import (
    Finding,
    Kind,
    Limits,
    Severity,
)
from lab.certificates import NOW, authority, key_bytes, new_key

FORBID = Limits(NOW, ca_key_forbidden=True)


def check(
    bench: t.Any,
    data: bytes,
    name: str = "apiserver.key",
    limits: Limits | None = None,
    **more: t.Any,
) -> list[Finding]:
    known = more.pop("ca_public_keys", ())
    carrier = bench.carrier(data, name, **more)
    return checks.check_key_file(
        carrier, limits=limits or bench.limits, layout="kubeadm", ca_public_keys=known
    )


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, [(each.kind.value, each.message) for each in found]
    assert found[0].action
    return found[0]


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "who"),
    [
        (0o600, 0, 0, None),
        (0o400, 0, 0, None),
        (0o640, 0, 0, None),
        (0o660, 0, 0, None),
        (0o640, 997, 997, None),
        (0o700, 997, 996, None),
        (0o711, 0, 0, None),
        (0o640, 0, 996, "Group 996 can read"),
        (0o660, 997, 996, "Group 996 can read"),
        (0o620, 0, 996, "Group 996 can write"),
        (0o644, 0, 0, "Everybody on this host can read"),
        (0o604, 0, 0, "Everybody on this host can read"),
        (0o602, 0, 0, "Everybody on this host can write"),
        (0o777, 0, 996, "Everybody on this host can read"),
    ],
)
def test_key_readable_by_others_is_told(
    bench: t.Any, mode: int, uid: int, gid: int, who: str | None
) -> None:
    found = check(bench, key_bytes(new_key()), mode=mode, uid=uid, gid=gid)
    if who is None:
        assert found == []
        return
    finding = only(found)
    assert (finding.kind, finding.severity) == (Kind.KEY_READABLE, Severity.WARNING)
    assert who in finding.message and f"{mode:04o}" in finding.message
    assert f"owner {uid}:{gid}" in finding.message
    assert "chmod 600 /etc/kubernetes/pki/apiserver.key" in finding.action


def test_certificate_readable_by_all_is_silent(bench: t.Any) -> None:
    assert check(bench, bench.ca.pem, "apiserver.crt", mode=0o644) == []


def test_kubeconfigs_key_has_its_files_mode(bench: t.Any) -> None:
    field = "users[a].client-key-data"
    finding = only(check(bench, key_bytes(new_key()), "admin.conf", mode=0o644, field=field))
    assert finding.where.endswith(f"admin.conf {field}") and finding.name == "admin.conf"


@pytest.mark.parametrize(
    ("name", "severity"),
    [("apiserver.key", "critical"), ("ca.key", "warning"), ("made-up.key", "warning")],
)
def test_key_that_is_encrypted_is_said(bench: t.Any, name: str, severity: str) -> None:
    finding = only(check(bench, key_bytes(new_key(), password=b"secret"), name))
    assert (finding.kind, finding.severity.value) == (Kind.KEY_ENCRYPTED, severity)
    assert "can't open it" in finding.message


def test_key_that_is_encrypted_and_readable_is_both(bench: t.Any) -> None:
    found = check(bench, key_bytes(new_key(), password=b"secret"), mode=0o644)
    assert [each.kind for each in found] == [Kind.KEY_READABLE, Kind.KEY_ENCRYPTED]
    assert "it is encrypted" in found[0].message


@pytest.mark.parametrize(
    "name", ["ca.key", "etcd/ca.key", "etcd/peer-ca.key", "client-ca.key", "front-proxy-ca.key"]
)
def test_ca_key_where_it_is_forbidden_is_told(bench: t.Any, name: str) -> None:
    data = key_bytes(new_key())
    finding = only(check(bench, data, name, FORBID))
    assert (finding.kind, finding.severity) == (Kind.CA_KEY_ON_HOST, Severity.WARNING)
    assert f"shred -u /etc/kubernetes/pki/{name}" in finding.action
    assert check(bench, data, name) == []


def test_ca_key_of_any_name_is_known_by_its_certificate(bench: t.Any) -> None:
    public = [each.public_key for each in reading.read(bench.ca.pem).certificates]
    found = check(bench, bench.ca.key_pem, "backup.pem", FORBID, ca_public_keys=public)
    assert only(found).kind == Kind.CA_KEY_ON_HOST
    assert check(bench, key_bytes(new_key()), "backup.pem", FORBID, ca_public_keys=public) == []
    assert check(bench, key_bytes(new_key()), "sa.key", FORBID, ca_public_keys=public) == []


def test_ca_key_file_that_holds_no_key_is_not_one(bench: t.Any) -> None:
    assert check(bench, authority().pem, "ca.key", FORBID) == []


def test_sa_key_that_is_weak_is_told(bench: t.Any) -> None:
    finding = only(check(bench, key_bytes(rsa.generate_private_key(65537, 1024)), "sa.key"))
    assert finding.kind == Kind.WEAK_KEY and "RSA of 1024 bits" in finding.message
    assert "--service-account-key-file" in finding.action
    assert check(bench, key_bytes(new_key()), "sa.key") == []


def test_key_file_that_is_damaged_is_told(bench: t.Any) -> None:
    finding = only(check(bench, key_bytes(new_key())[:-30]))
    assert (finding.kind, finding.severity) == (Kind.UNREADABLE, Severity.CRITICAL)
    assert "cut off" in finding.message
