# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests: read for ever, written as their schema says, never with more than a reader knows."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._archive import (
    manifest,
    schemas,
    version,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import ManifestInvalid

ROOT = Path(__file__).resolve().parents[5]
FIXTURES = Path(__file__).parent / "fixtures"
FORMATS = {
    "manifest-v1.json": schemas.MANIFEST_V1,
    "identity-v1.json": schemas.IDENTITY_V1,
    "proof-v1.json": schemas.PROOF_V1,
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_in_docs_are_the_schemas_in_use(name: str) -> None:
    # To write them anew: .venv/bin/python tests/unit/plugins/module_utils/_archive/formats.py
    assert json.loads((ROOT / "docs/formats" / name).read_text()) == FORMATS[name]


def test_version_is_the_collections() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    assert galaxy["version"] == version.COLLECTION_VERSION


def test_from_json_golden_reads_and_writes_the_same() -> None:
    data = (FIXTURES / "manifest-v1.json").read_bytes()
    found = manifest.from_json(data, "golden")
    assert found.to_json() == data
    assert found.cluster.members[0].layout == manifest.MemberLayout(
        kind="kubeadm", data_dir="/var/lib/etcd", data_dir_is_mount=False
    )
    assert found.kit[0].encryption == manifest.KitEncryption(
        providers=("aescbc", "identity"), key_names=("aescbc/key1",)
    )
    assert found.checks_passed
    assert found.sealed


def test_from_json_first_manifest_is_read_for_ever() -> None:
    # As version 0.1.0 wrote it at first: fields that came later are not known, which is no value.
    found = manifest.from_json((FIXTURES / "manifest-v1-first.json").read_bytes(), "first")
    assert found.kubernetes.encrypted is None
    assert [(kit.layout, kit.encryption, kit.excluded) for kit in found.kit] == [(None, None, ())]
    again = manifest.from_json(found.to_json(), "again")
    assert again == found


@pytest.fixture
def document() -> dict[str, t.Any]:
    """The golden manifest, to be changed."""
    return t.cast("dict[str, t.Any]", json.loads((FIXTURES / "manifest-v1.json").read_bytes()))


def _read(document: dict[str, t.Any]) -> manifest.Manifest:
    return manifest.from_json(json.dumps(document).encode(), "/srv/archive/x/manifest.json")


def test_from_json_unknown_fields_are_ignored(document: dict[str, t.Any]) -> None:
    plain = _read(document)
    document["later"] = {"a": 1}
    document["cluster"]["later"] = [1]
    document["files"][0]["later"] = None
    document["snapshot"]["source_member"]["later"] = "x"
    assert _read(document) == plain


def test_from_json_optional_fields_may_be_missing(document: dict[str, t.Any]) -> None:
    for name in ("tools", "wheelhouse", "kit", "certificates", "timing", "warnings"):
        del document[name]
    del document["must_understand"], document["kubernetes"]["version"]
    assert _read(document).tools == ()


def test_from_json_must_understand_is_refused(document: dict[str, t.Any]) -> None:
    document["must_understand"] = ["split-files"]
    with pytest.raises(ManifestInvalid, match="split-files"):
        _read(document)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(schema="controlplane.etcd/manifest/v2"), "manifest/v2"),
        (lambda d: d.pop("snapshot"), "'snapshot' is a required property"),
        (lambda d: d["snapshot"].update(revision="18274"), "snapshot.revision"),
        (lambda d: d["cluster"].update(cluster_id=14841639068965180466), "cluster.cluster_id"),
        (lambda d: d["cluster"].update(cluster_id="CDF8"), "cluster.cluster_id"),
        (lambda d: d.update(created_at="2026-11-23 14:50:00"), "created_at"),
        (lambda d: d["files"][0].update(name="../x"), "files.0.name"),
        (lambda d: d["files"][0].update(name="/x"), "files.0.name"),
        (lambda d: d["files"][0].update(name="pki/../../x"), "files.0.name"),
        (lambda d: d["files"][0].update(size_bytes=-1), "files.0.size_bytes"),
        (lambda d: d.update(mode="odd"), "mode"),
    ],
)
def test_from_json_broken_names_the_place(
    document: dict[str, t.Any], change: t.Callable[[t.Any], None], says: str
) -> None:
    change(document)
    with pytest.raises(ManifestInvalid, match=says) as caught:
        _read(document)
    assert "/srv/archive/x/manifest.json" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"x"'])
def test_from_json_not_a_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestInvalid, match="here"):
        manifest.from_json(data, "here")
