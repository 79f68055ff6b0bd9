# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An encryption configuration out of a kit, without KMS; and words that show no key."""

from __future__ import annotations

import io
import json
import typing as t

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._drill import encryption
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import KitError

SECRET = "UExBTlRFRC1TRUNSRVQtZW5jcnlwdGlvbi1rZXk="
KMS = {"kms": {"apiVersion": "v2", "name": "vault", "endpoint": "unix:///run/kms.sock"}}
AES = {"aescbc": {"keys": [{"name": "key1", "secret": SECRET}]}}


def config(*resources: list[dict[str, t.Any]], kind: str = "EncryptionConfiguration") -> bytes:
    listed = [{"resources": ["secrets"], "providers": each} for each in resources]
    version = "apiserver.config.k8s.io/v1"
    return json.dumps({"apiVersion": version, "kind": kind, "resources": listed}).encode()


def test_keys_are_named_and_kms_is_taken_out() -> None:
    found = encryption.parse(config([KMS, AES, {"identity": {}}]), "/enc.yaml")
    assert found.keys == {"aescbc/key1"}
    assert found.kms == ("kms-v2/vault",)
    written = yaml.safe_load(found.text)
    assert written["resources"][0]["providers"] == [AES, {"identity": {}}]


def test_resource_with_nothing_but_kms_is_read_as_it_lies() -> None:
    old = {"kms": {"name": "vault", "endpoint": "unix:///run/kms.sock"}}
    found = encryption.parse(config([old], [AES]), "/enc.yaml")
    assert found.kms == ("kms-v1/vault",)
    written = yaml.safe_load(found.text)
    assert written["resources"][0]["providers"] == [{"identity": {}}]


def test_name_of_before_1_13_is_read() -> None:
    assert encryption.parse(config([AES], kind="EncryptionConfig"), "/enc.yaml").text


def test_keys_are_in_no_words() -> None:
    found = encryption.parse(config([AES]), "/enc.yaml")
    assert SECRET not in repr(found)
    assert found.scrub(f"invalid key {SECRET}!") == "invalid key (a key)!"


def test_error_shows_no_key() -> None:
    with pytest.raises(KitError) as caught:
        encryption.parse(config([AES]).replace(b'"kind"', b'"Kind"'), "/enc.yaml")
    assert SECRET not in str(caught.value)
    assert "/enc.yaml" in caught.value.message


def test_something_that_is_no_kit_is_refused() -> None:
    with pytest.raises(KitError, match="kit"):
        encryption.read(io.BytesIO(b"no tar at all" * 100))


@pytest.mark.parametrize(
    "text", [b"a: !!int ''", b"a: !!bool PLANTED", b"a: &x [*x]", b"kind: [PLANTED]", b"\xff: a"]
)
def test_text_that_is_no_value_is_refused_in_words(text: bytes) -> None:
    with pytest.raises(KitError, match="/enc.yaml") as caught:
        encryption.parse(text, "/enc.yaml")
    assert "PLANTED" not in str(caught.value)
