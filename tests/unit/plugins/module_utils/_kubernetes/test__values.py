# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random

import pytest
from unit.fixtures.bolt_writer import varint

from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.values import (
    encryption_prefix,
    object_uid,
    type_meta,
)


def _field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def protobuf(version: str, kind: str, uid: str = "", padding: int = 0) -> bytes:
    """Return an object as kube-apiserver stores it."""
    meta = _field(1, b"name") + _field(3, b"ns" * padding) + _field(5, uid.encode())
    type_of = _field(1, version.encode()) + _field(2, kind.encode())
    return b"k8s\0" + _field(1, type_of) + _field(2, _field(1, meta) + _field(2, b"spec"))


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (b"k8s:enc:aescbc:v1:key1:\x00\x01", ("aescbc", "key1")),
        (b"k8s:enc:aesgcm:v1:k:", ("aesgcm", "k")),
        (b"k8s:enc:secretbox:v1:2026-11:xx", ("secretbox", "2026-11")),
        (b"k8s:enc:kms:v1:vault:xx", ("kms-v1", "vault")),
        (b"k8s:enc:kms:v2:vault:xx", ("kms-v2", "vault")),
        (b"k8s:enc:other", ("unknown", "")),
        (b"k8s\x00\n", None),
        (b"", None),
        (b"x k8s:enc:aescbc:v1:key1:", None),
    ],
)
def test_encryption_prefix(value: bytes, want: tuple[str, str] | None) -> None:
    assert encryption_prefix(value) == want


def test_type_meta_of_protobuf_and_json() -> None:
    assert type_meta(protobuf("apps/v1", "Deployment")) == ("apps/v1", "Deployment")
    # The head of a large object is enough.
    assert type_meta(protobuf("apps/v1", "Deployment", padding=9000)[:512]) == (
        "apps/v1",
        "Deployment",
    )
    assert type_meta(b'{"kind":"K","apiVersion":"g/v1"}') == ("g/v1", "K")
    for other in (b"", b"plain", b"[1]", b'{"kind":1}', b"{" * 100_000, b"k8s\0", b"k8s\0\xff\xff"):
        assert type_meta(other) is None


def test_object_uid_of_protobuf_and_json() -> None:
    assert object_uid(protobuf("v1", "Namespace", "8f8b97b3")) == "8f8b97b3"
    assert object_uid(b'{"metadata":{"uid":"8f8b97b3"}}') == "8f8b97b3"
    for other in (
        b"",
        b"k8s:enc:aescbc:v1:k:x",
        b"{}",
        b'{"metadata":[]}',
        b'{"metadata":{"uid":3}}',
    ):
        assert object_uid(other) is None


def test_values_of_noise_never_raise() -> None:
    for seed in range(300):
        random_ = random.Random(seed)
        noisy = bytearray(protobuf("apps/v1", "Deployment", "8f8b97b3"))
        for _turn in range(random_.randint(1, 6)):
            noisy[random_.randrange(4, len(noisy))] = random_.randrange(256)
        for value in (bytes(noisy), random_.randbytes(60), bytes(noisy[: random_.randrange(60)])):
            type_meta(value)
            object_uid(value)
            encryption_prefix(value)
