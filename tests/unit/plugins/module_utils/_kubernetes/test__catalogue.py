# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import typing as t

import pytest
from unit.fixtures import bolt_writer

from ansible_collections.controlplane.etcd.plugins.module_utils._bbolt.database import Database
from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
    Catalogue,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import read_image
from lab import objects

UNKNOWN_GROUP = b"k8s\0\n\x0f\n\x09future/v1\x12\x02FT\x12\x00"


def _recorded() -> dict[bytes, bytes]:
    """Return what a real API server left in etcd."""
    live: dict[bytes, bytes] = {}
    for change in objects.recording().changes:
        live.pop(change.key, None)
        if change.value is not None:
            live[change.key] = change.value
    return live


def _catalogue(found: dict[bytes, bytes], **options: t.Any) -> Catalogue:
    catalogue = Catalogue(**options)
    for key, value in found.items():
        catalogue.add(key, value)
    return catalogue


def _as_image(found: dict[bytes, bytes]) -> Database:
    rows = [
        (bolt_writer.revision(main), bolt_writer.key_value(key, value, main, main, 1))
        for main, (key, value) in enumerate(found.items(), start=2)
    ]
    return Database(bolt_writer.etcd({b"key": rows}))


def test_catalogue_recorded_cluster_every_group_known() -> None:
    live = _recorded()
    found = _catalogue(live, keep_names=True)
    for resource, directory in (
        ("apps/deployments", b"/registry/deployments/"),
        ("nodes", b"/registry/minions/"),
        ("services", b"/registry/services/specs/"),
        ("networking.k8s.io/ingresses", b"/registry/ingress/"),
        ("certs.example.org/certificates", b"/registry/certs.example.org/certificates/"),
    ):
        assert found.counts[resource] == sum(key.startswith(directory) for key in live) > 0
    assert found.other_key_count == sum(
        key.split(b"/")[2:3][0] in (b"masterleases", b"peerserverleases", b"ranges")
        for key in live
        if key.count(b"/") > 1
    ) + sum(key.count(b"/") < 2 for key in live)
    assert found.object_count == sum(found.counts.values()) == len(live) - found.other_key_count
    assert "kube-system" in found.namespaces
    assert len(found.namespaces) == found.counts["namespaces"]
    uid = found.kube_system_uid
    assert uid is not None
    assert uid.encode() in live[b"/registry/namespaces/kube-system"]
    assert len(uid) == 36
    assert all(each.group is not None for each in found.objects())
    assert len(list(found.objects())) == found.object_count


def test_catalogue_recorded_secrets_by_key() -> None:
    live = _recorded()
    found = _catalogue(live)
    providers = json.loads(objects.encryption_configuration())["resources"][0]["providers"]
    names = {
        f"{provider}/{key['name']}"
        for each in providers
        for provider, settings in each.items()
        for key in settings.get("keys", ())
    }
    assert set(found.secrets) - {"identity"} <= names
    assert len(found.secrets) >= 2
    assert sum(found.secrets.values()) == found.counts["secrets"]
    assert found.secrets["identity"] == sum(
        key.startswith(b"/registry/secrets/") and value.startswith(b"k8s\0")
        for key, value in live.items()
    )
    planted = [each.encode() for each in objects.planted_secrets()]
    shown = repr((found.counts, found.secrets, found.encrypted, found.namespaces)).encode()
    assert not any(each in shown or base64.b64encode(each) in shown for each in planted)


def test_catalogue_by_batches_equals_one_by_one() -> None:
    live = _recorded()
    by_one, by_entry, by_batch = _catalogue(live), Catalogue(), Catalogue(keep_names=True)
    read_image(_as_image(live), visit=by_entry.visit)
    read_image(_as_image(live), visit_batch=by_batch.visit_batch)
    for other in (by_entry, by_batch):
        for name in ("counts", "counts_by_namespace", "secrets", "encrypted", "namespaces", "kube_system_uid", "other_key_count"):  # fmt: skip
            assert getattr(other, name) == getattr(by_one, name), name


def test_catalogue_unknown_resource_group_from_its_value() -> None:
    found = _catalogue(
        {
            b"/registry/futurethings/a/1": b"k8s:enc:kms:v2:vault:xx",
            b"/registry/futurethings/a/2": UNKNOWN_GROUP,
            b"/registry/pastthings/a": b'{"apiVersion":"v1","kind":"P"}',
            b"/registry/sealed/a": b"k8s:enc:kms:v2:vault:xx",
        }
    )
    assert found.counts == {"future/futurethings": 2, "pastthings": 1, "sealed": 1}
    assert found.encrypted == {"kms-v2/vault": 2}
    assert found.secrets == {}


def test_catalogue_encrypted_namespaces_have_no_uid() -> None:
    found = _catalogue({b"/registry/namespaces/kube-system": b"k8s:enc:aescbc:v1:k:xx"})
    assert found.kube_system_uid is None
    assert found.namespaces == ["kube-system"]


def test_catalogue_marker_inside_a_clear_value_is_identity() -> None:
    found = _catalogue({b"/registry/secrets/a/s": b"k8s\0\n k8s:enc:aescbc:v1:k:"})
    assert found.secrets == {"identity": 1}
    image = _as_image({b"/registry/secrets/a/k8s:enc:": b"k8s\0\n k8s:enc:aescbc:v1:k:"})
    batched = Catalogue()
    read_image(image, visit_batch=batched.visit_batch)
    assert batched.secrets == {"identity": 1}


def test_catalogue_prefix_other_keys_are_counted_apart() -> None:
    keys = {b"/registry/pods/a/p": b"", b"/k8s/pods/a/p": b"", b"compact_rev_key": b"5"}
    found = _catalogue(keys, prefix="k8s")
    assert found.counts == {"pods": 1}
    assert found.other_key_count == 2


def test_catalogue_names_not_kept_refused() -> None:
    with pytest.raises(AssertionError, match="did not keep names"):
        list(Catalogue().objects())
