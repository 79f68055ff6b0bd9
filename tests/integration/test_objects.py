# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorded objects are what they are said to be, once they lie in a real etcd."""

from __future__ import annotations

import base64
import collections
import json
import typing as t

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from lab import objects
from lab.loopback import Cluster

LIVE = 528
LIVE_IN_NAMESPACES = 336
"""What recorded.json.gz holds; a further copy has what lies in namespaces."""
AESCBC = b"k8s:enc:aescbc:v1:key1:"


@pytest.fixture(scope="module")
def cluster() -> t.Iterator[Cluster]:
    with Cluster("objects", size=1) as made:
        yield made


@pytest.fixture(scope="module")
def filled(cluster: Cluster) -> objects.Filled:
    return objects.fill(cluster, copies=3, name="objects", rewrites=40, deletions=7)


@pytest.fixture(scope="module")
def stored(cluster: Cluster, filled: objects.Filled) -> dict[bytes, bytes]:
    assert filled.change_count
    answer = cluster.etcdctl("get", "", "--prefix")
    return {base64.b64decode(kv["key"]): base64.b64decode(kv["value"]) for kv in answer["kvs"]}


def test_fill_in_three_copies_leaves_the_keys_that_it_counted(
    cluster: Cluster, filled: objects.Filled, stored: dict[bytes, bytes]
) -> None:
    assert len(stored) == filled.key_count == LIVE + 2 * LIVE_IN_NAMESPACES - 7
    assert cluster.status("objects-cp1")["header"]["revision"] == filled.revision


def test_fill_gives_the_kube_system_namespace_the_uid_of_its_name(
    filled: objects.Filled, stored: dict[bytes, bytes]
) -> None:
    assert filled.kube_system_uid.encode() in stored[b"/registry/namespaces/kube-system"]
    assert b"/registry/namespaces/shop-0001" in stored
    assert b"/registry/pods/kube-system-0002/etcd-cp-1" in stored


def test_recording_has_secrets_of_each_provider(stored: dict[bytes, bytes]) -> None:
    original = [
        value.split(b":")[2] if value.startswith(b"k8s:enc:") else value[:4]
        for key, value in stored.items()
        if key.startswith(b"/registry/secrets/") and b"-0001" not in key and b"-0002" not in key
    ]
    counts = collections.Counter(original)
    assert set(counts) == {b"aescbc", b"secretbox", b"k8s\0"}
    assert counts[b"k8s\0"] == 1


def test_recording_shows_only_the_secret_that_was_stored_in_clear(
    stored: dict[bytes, bytes],
) -> None:
    everything = b"\n".join(stored.values())
    seen = {value for value in objects.planted_forms() if value.encode() in everything}
    assert len(objects.planted_secrets()) > 20
    assert [value for value in seen if "clear-password" not in value] == []
    assert len(seen) == 1


def test_recorded_secret_is_readable_by_the_recorded_encryption_configuration(
    stored: dict[bytes, bytes],
) -> None:
    config = json.loads(objects.encryption_configuration())
    first = config["resources"][0]["providers"][0]["aescbc"]["keys"][0]
    sealed = stored[b"/registry/secrets/payments/psp-token"]
    assert first["name"] == "key1"
    assert sealed.startswith(AESCBC)
    text = sealed[len(AESCBC) :]
    key = algorithms.AES(base64.b64decode(first["secret"]))
    reader = Cipher(key, modes.CBC(text[:16])).decryptor()
    clear = reader.update(text[16:]) + reader.finalize()
    assert b"PLANTED-SECRET-psp-token-" in clear
