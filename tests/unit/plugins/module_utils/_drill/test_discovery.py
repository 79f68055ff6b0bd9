# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Discovery documents of real API servers (tests/unit/fixtures/discovery), read."""

from __future__ import annotations

import gzip
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._drill import discovery
from ansible_collections.controlplane.etcd.plugins.module_utils._drill.api_client import (
    Answer,
    Api,
)

RECORDED = Path(__file__).resolve().parents[3] / "fixtures" / "discovery"
FILES = sorted(RECORDED.glob("*.json.gz"))
GROUP = "certs.example.org"
# See record.py: of the old server, nothing but discovery could be recorded.
OLD = "1.21.14"


class Recorded:
    """Answers as the recorded server did."""

    def __init__(self, path: Path) -> None:
        self._documents: dict[str, t.Any] = json.loads(gzip.decompress(path.read_bytes()))

    def get(self, path: str, query: t.Any = None) -> Answer:
        found = self._documents.get(path)
        return Answer(200 if found else 404, json.dumps(found).encode())

    def document(self, path: str) -> dict[str, t.Any]:
        return self.get(path).document


@pytest.fixture(params=FILES, ids=[path.name.split(".json", maxsplit=1)[0] for path in FILES])
def api(request: pytest.FixtureRequest) -> Api:
    """The answers of each recorded server."""
    return t.cast(Api, Recorded(request.param))


@pytest.fixture
def filled() -> Api:
    """The answers of a server with custom resources."""
    return t.cast(Api, Recorded(next(path for path in FILES if OLD not in path.name)))


def test_old_and_new_servers_were_recorded() -> None:
    assert len(FILES) >= 2
    assert (RECORDED / f"{OLD}.json.gz") in FILES


def test_definition_of_a_real_server_is_read(filled: Api) -> None:
    (found,) = discovery.definitions(filled)
    assert found.group_resource == f"{GROUP}/certificates"
    assert (found.storage_version, found.served_versions, found.stored_versions) == (
        "v1",
        ("v1",),
        ("v1",),
    )
    assert found.established
    assert not found.by_webhook


def test_resources_of_a_real_server_are_each_listed_once_where_they_are_stored(api: Api) -> None:
    found = discovery.discover(api, discovery.definitions(api))
    assert found.silent == ()
    names = found.resources
    assert len(names) > 40
    for name, path in {
        "pods": "/api/v1/pods",
        "events": "/api/v1/events",
        "apps/deployments": "/apis/apps/v1/deployments",
        "networking.k8s.io/ingresses": "/apis/networking.k8s.io/v1/ingresses",
    }.items():
        assert names[name].path() == path
    assert "events.k8s.io/events" not in names, "a second view of the same events"
    assert "extensions/ingresses" not in names
    assert "componentstatuses" not in names, "not stored in etcd"
    assert not [name for name in names if "review" in name], "those can only be created"
    assert not [each for each in names.values() if "/" in each.name], "subresources"
    assert names["pods"].short_names == ("po",)
    assert names["pods"].namespaced
    assert not names["nodes"].namespaced


def test_resource_that_a_catalogue_knows_without_its_group_is_found(filled: Api) -> None:
    found = discovery.discover(filled)
    certificates = found.find("certificates")
    assert certificates is not None
    assert certificates.path() == f"/apis/{GROUP}/v1/certificates"
    assert found.find("nothing") is None
    assert found.find("secrets") is found.resources["secrets"]


def test_path_of_an_object_has_its_namespace() -> None:
    core = discovery.Resource("", "v1", "secrets", "Secret", True)
    assert core.path("shop", "tls") == "/api/v1/namespaces/shop/secrets/tls"
    assert core.api_version == "v1"


def test_custom_resource_is_listed_at_the_version_it_is_stored_in() -> None:
    documents: dict[str, t.Any] = {
        "/api": {"versions": ["v1"]},
        "/api/v1": {"resources": []},
        "/apis": {
            "groups": [
                {
                    "name": "a.example.org",
                    "versions": [{"version": "v2"}, {"version": "v1"}],
                    "preferredVersion": {"version": "v2"},
                }
            ]
        },
    }
    for version in ("v1", "v2"):
        resource = {"name": "things", "kind": "Thing", "namespaced": True, "verbs": ["list"]}
        documents[f"/apis/a.example.org/{version}"] = {"resources": [resource]}
    api = Recorded.__new__(Recorded)
    api._documents = documents
    stored = discovery.Definition(
        "a.example.org", "things", "v1", ("v1", "v2"), ("v1",), False, True
    )
    found = discovery.discover(t.cast(Api, api), [stored])
    assert found.resources["a.example.org/things"].version == "v1"
    assert discovery.discover(t.cast(Api, api)).resources["a.example.org/things"].version == "v2"


def test_group_version_that_nobody_answers_for_is_told() -> None:
    api = Recorded.__new__(Recorded)
    group = {"name": "metrics.k8s.io", "versions": [{"version": "v1beta1"}]}
    api._documents = {"/api": {"versions": []}, "/apis": {"groups": [group]}}
    assert discovery.discover(t.cast(Api, api)).silent == ("metrics.k8s.io/v1beta1",)


def test_definition_of_apiextensions_v1beta1_is_read() -> None:
    item = {
        "spec": {"group": "a.example.org", "version": "v1alpha1", "names": {"plural": "things"}},
        "status": {"conditions": [{"type": "Established", "status": "False"}]},
    }
    found = discovery.parse_definition(item)
    assert found is not None
    assert (found.storage_version, found.established) == ("v1alpha1", False)


@pytest.mark.parametrize(
    "document",
    [{}, {"groups": None}, {"groups": ["x", {"name": 3}, {"versions": "v1"}]}, {"resources": [1]}],
)
def test_odd_documents_hold_nothing(document: dict[str, t.Any]) -> None:
    assert discovery.parse_groups(document) == []
    assert discovery.parse_resources(document, group="a", version="v1") == []
    assert discovery.parse_definition(document) is None
