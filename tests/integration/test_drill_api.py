# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill's API server is real: what it reads of etcd is held against what the image holds."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._drill import (
    apiserver,
    encryption,
    served,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._drill.api_client import (
    ApiServerSlow,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    ApiServerFailed,
    KitError,
    ToolUnusable,
)
from lab import drilled_api, objects
from lab.loopback import Cluster
from lab.objects import workloads

if t.TYPE_CHECKING:
    from conftest import Reliability

ORPHAN = "/registry/gone.example.org/widgets/shop/left-behind"
REMOVED = "/registry/podsecuritypolicy/restricted"
KMS = "/registry/secrets/shop/by-kms"
DAMAGED = "/registry/configmaps/shop/cart-config"
POLICY = {
    "apiVersion": "policy/v1beta1",
    "kind": "PodSecurityPolicy",
    "metadata": {"name": "restricted", "uid": "1"},
}
WIDGET = {
    "apiVersion": "gone.example.org/v1",
    "kind": "Widget",
    "metadata": {"name": "left-behind", "namespace": "shop", "uid": "2"},
}


@pytest.fixture(scope="module")
def cluster() -> t.Iterator[Cluster]:
    with Cluster("drillapi", size=1) as made:
        objects.fill(made, copies=3, name="drillapi")
        yield made


@pytest.fixture(scope="module")
def config() -> encryption.EncryptionConfig:
    return encryption.parse(objects.encryption_configuration().encode(), "/etc/kubernetes/enc.yaml")


def changed(change: t.Callable[[list[t.Any]], t.Any]) -> encryption.EncryptionConfig:
    """Return the recorded configuration with its list of providers changed."""
    document = json.loads(objects.encryption_configuration())
    providers = document["resources"][0]["providers"]
    document["resources"][0]["providers"] = change(providers)
    return encryption.parse(json.dumps(document).encode(), "/etc/kubernetes/enc.yaml")


def compared(
    cluster: Cluster, folder: Path, config: encryption.EncryptionConfig
) -> tuple[dict[str, served.Comparison], dict[str, str]]:
    """Return comparisons and what was not checked, by name."""
    held = drilled_api.held(cluster, folder)
    with drilled_api.serving(cluster, folder, config=config) as (api, _process):
        found = served.compare(api, held, config)
    text = repr(found)
    assert not [each for each in objects.planted_forms() if each in text]
    return (
        {each.name: each for each in found.comparisons},
        {each.name: each.why for each in found.not_checked},
    )


@pytest.fixture
def put(cluster: Cluster) -> t.Iterator[t.Callable[[str, bytes], None]]:
    """Write raw values into etcd, and put back what was there when the test ends."""
    before: dict[str, bytes | None] = {}

    def write(key: str, value: bytes) -> None:
        if key not in before:
            kvs = cluster.etcdctl("get", key).get("kvs")
            before[key] = base64.b64decode(kvs[0]["value"]) if kvs else None
        cluster.etcdctl("put", key, stdin=value)

    yield write
    for key, value in before.items():
        if value is None:
            cluster.etcdctl("del", key)
        else:
            cluster.etcdctl("put", key, stdin=value)


def test_every_resource_is_counted_and_each_key_reads_a_secret(
    cluster: Cluster, config: encryption.EncryptionConfig, tmp_path: Path
) -> None:
    held = drilled_api.held(cluster, tmp_path)
    custom = {f"{workloads.GROUP}/certificates"}
    with drilled_api.serving(cluster, tmp_path, config=config) as (api, process):
        # What the server wrote since is of later revisions.
        found = served.compare(api, held, config)
        said = process.last_words()
    comparisons = {each.name: each for each in found.comparisons}
    assert {each.result for each in found.comparisons} == {"passed"}, found
    total = sum(held.counts.values())
    of_custom = sum(held.counts[name] for name in custom)
    assert comparisons["api_objects"].found == total - of_custom
    assert comparisons["api_custom_objects"].found == of_custom == 12 * 3
    assert set(held.by_key) == {"aescbc/key1", "secretbox/key2"}
    assert comparisons["api_secrets"].found == 2
    assert found.not_checked == ()
    assert found.resource_count >= 55
    assert not [each for each in objects.planted_forms() if each in repr(found) + said]


def test_missing_key_fails_and_is_named(
    cluster: Cluster, tmp_path: Path, reliability: Reliability
) -> None:
    config = changed(lambda providers: [each for each in providers if "secretbox" not in each])
    comparisons, _skipped = compared(cluster, tmp_path, config)
    failed = comparisons["api_secrets"]
    assert (failed.result, failed.expected, failed.found) == ("failed", 2, 1)
    assert "secretbox/key2: not in the archive's encryption configuration" in failed.detail
    listed = comparisons["api_objects"]
    assert listed.result == "failed"
    assert re.match(r"secrets: \d+ of \d+ objects read, then status 500: ", listed.detail)
    reliability(
        "The archive's encryption configuration lacks a key that Secrets were encrypted with",
        "failed: the provider and key name are told",
        area="drill",
        message=failed.detail,
    )


def test_another_key_of_the_same_name_fails(
    cluster: Cluster, tmp_path: Path, reliability: Reliability
) -> None:
    def other(providers: list[t.Any]) -> list[t.Any]:
        for provider in providers:
            for key in provider.get("aescbc", {}).get("keys", []):
                key["secret"] = base64.b64encode(bytes(range(32))).decode()
        return providers

    comparisons, _skipped = compared(cluster, tmp_path, changed(other))
    failed = comparisons["api_secrets"]
    assert failed.result == "failed"
    assert failed.detail.startswith("aescbc/key1: secrets it encrypted cannot be read, status 500")
    reliability(
        "An encryption key of the right name, and wrong bytes",
        "failed: the key that reads nothing is named",
        area="drill",
        message=failed.detail,
    )


def test_no_encryption_configuration_fails(
    cluster: Cluster, tmp_path: Path, reliability: Reliability
) -> None:
    comparisons, _skipped = compared(cluster, tmp_path, encryption.NO_ENCRYPTION)
    failed = comparisons["api_secrets"]
    assert (failed.result, failed.found) == ("failed", 0)
    assert "aescbc/key1" in failed.detail
    assert "secretbox/key2" in failed.detail
    reliability(
        "Secrets are encrypted, and the archive has no encryption configuration",
        "failed: every key is told that is missing",
        area="drill",
        message=failed.detail,
    )


@pytest.mark.parametrize(
    "value",
    [b"k8s\x00\x0a\x0f garbage", b"{broken", b"\x00" * 64],
    ids=["protobuf", "json", "zeros"],
)
def test_object_that_cannot_be_decoded_fails_and_its_resource_is_named(
    cluster: Cluster,
    config: encryption.EncryptionConfig,
    tmp_path: Path,
    put: t.Callable[[str, bytes], None],
    reliability: Reliability,
    value: bytes,
    request: pytest.FixtureRequest,
) -> None:
    put(DAMAGED, value)
    comparisons, _skipped = compared(cluster, tmp_path, config)
    failed = comparisons["api_objects"]
    assert failed.result == "failed"
    assert failed.detail.startswith("configmaps: ")
    assert "cart-config" not in failed.detail, "proofs lie in clear: they name no object"
    assert comparisons["api_custom_objects"].result == "passed"
    reliability(
        f"An object in etcd that no API server can decode ({request.node.callspec.id})",
        "failed: its resource is named",
        area="drill",
        message=failed.detail,
    )


def test_what_cannot_be_checked_is_said(
    cluster: Cluster,
    tmp_path: Path,
    put: t.Callable[[str, bytes], None],
    reliability: Reliability,
) -> None:
    put(KMS, b"k8s:enc:kms:v2:vault:\x01\x02\x03")
    put(ORPHAN, json.dumps(WIDGET).encode())
    put(REMOVED, json.dumps(POLICY).encode())
    plugin = {"kms": {"apiVersion": "v2", "name": "vault", "endpoint": "unix:///nowhere.sock"}}
    config = changed(lambda providers: [plugin, *providers])
    assert config.kms == ("kms-v2/vault",)
    comparisons, skipped = compared(cluster, tmp_path, config)
    assert {each.result for each in comparisons.values()} == {"passed"}, comparisons
    assert "none of its" in skipped["secrets"]
    assert "1 are encrypted by KMS" in skipped["secrets"]
    assert "objects of kms-v2/vault" in skipped
    assert "no CustomResourceDefinition" in skipped["gone.example.org/widgets"]
    assert "removed" in skipped["policy/podsecuritypolicies"]
    assert comparisons["api_secrets"].found == 2, "the other keys' Secrets are read all the same"
    for fault, name in (
        ("Secrets encrypted by a KMS plugin", "secrets"),
        ("Objects whose CustomResourceDefinition is gone", "gone.example.org/widgets"),
        ("Objects of an API that Kubernetes removed", "policy/podsecuritypolicies"),
    ):
        reliability(
            fault,
            "passed, and told as not checked",
            area="drill",
            message=f"{name}: {skipped[name]}",
        )


def test_conversion_webhook_and_aggregated_api_are_said(
    cluster: Cluster,
    config: encryption.EncryptionConfig,
    tmp_path: Path,
    put: t.Callable[[str, bytes], None],
    reliability: Reliability,
) -> None:
    put("/registry/apiextensions.k8s.io/customresourcedefinitions/gadgets.example.org", hooked())
    put("/registry/example.org/gadgets/shop/old", gadget("old", "v1"))
    put("/registry/example.org/gadgets/shop/new", gadget("new", "v2"))
    put("/registry/apiregistration.k8s.io/apiservices/v1beta1.metrics.k8s.io", aggregated())
    comparisons, skipped = compared(cluster, tmp_path, config)
    assert {each.result for each in comparisons.values()} == {"passed"}, comparisons
    assert "conversion webhook" in skipped["example.org/gadgets"]
    assert "aggregated" in skipped["API metrics.k8s.io/v1beta1"]
    reliability(
        "Custom resources stored at a version that only a conversion webhook reads",
        "passed, and told as not checked",
        area="drill",
        message=f"example.org/gadgets: {skipped['example.org/gadgets']}",
    )


def test_server_that_ends_at_its_start_tells_its_last_words_without_keys(
    cluster: Cluster, tmp_path: Path, reliability: Reliability
) -> None:
    secret = base64.b64encode(b"PLANTED-SECRET-seven").decode()

    def short(providers: list[t.Any]) -> list[t.Any]:
        return [{"aescbc": {"keys": [{"name": "key1", "secret": secret}]}}, *providers[1:]]

    config = changed(short)
    with (
        pytest.raises(ApiServerFailed) as caught,
        drilled_api.serving(cluster, tmp_path, config=config),
    ):
        pass
    assert "ended with status" in caught.value.message
    assert "aescbc" in caught.value.message
    assert secret not in caught.value.message
    reliability(
        "An encryption configuration that kube-apiserver refuses",
        "failed: its own last words, without the key",
        area="drill",
        message=caught.value.message[:160],
    )


def test_server_that_never_serves_is_told_by_the_deadline(
    tmp_path: Path, config: encryption.EncryptionConfig, reliability: Reliability
) -> None:
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(Cluster("silent", size=1))
        started = drilled_api.serving(silent, tmp_path, config=config, ready=False)
        api, process = stack.enter_context(started)
        stack.enter_context(silent.paused("silent-cp1"))
        start = time.monotonic()
        with pytest.raises(ApiServerSlow) as caught:
            apiserver.wait_until_ready(api, process, deadline=start + 3, config=config)
        assert time.monotonic() - start < 20
    assert "was not ready in time" in caught.value.message
    reliability(
        "kube-apiserver hangs at its start (its etcd answers nothing)",
        "refused at the deadline, with its last words: nothing is proven",
        area="drill",
        message=caught.value.message[:120],
    )


def test_program_that_is_no_apiserver_is_refused(tmp_path: Path) -> None:
    impostor = tmp_path / "kube-apiserver"
    impostor.write_text("#!/bin/sh\necho Kubernetes unknown\n")
    impostor.chmod(0o755)
    with pytest.raises(ToolUnusable, match=re.escape(str(impostor))):
        apiserver.probe(str(impostor))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"kind: [", "no YAML"),
        (b"kind: Secret\n", "kind is not EncryptionConfiguration"),
        (b"kind: EncryptionConfiguration\n", "lists no resources"),
        (b"kind: EncryptionConfiguration\nresources: [{}]\n", "no providers"),
    ],
)
def test_encryption_configuration_that_is_none_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(KitError, match=why) as caught:
        encryption.parse(text, "/etc/kubernetes/enc.yaml")
    assert "/etc/kubernetes/enc.yaml" in caught.value.message


def hooked() -> bytes:
    """Return a definition with two versions and a webhook between them that is nowhere."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [
        {"name": name, "served": True, "storage": name == "v2", "schema": schema}
        for name in ("v1", "v2")
    ]
    client = {"url": "https://127.0.0.1:1/convert"}
    names = {
        "plural": "gadgets",
        "singular": "gadget",
        "kind": "Gadget",
        "listKind": "GadgetList",
    }
    conditions = [
        {"type": name, "status": "True", "lastTransitionTime": "2026-11-23T00:00:00Z"}
        for name in ("NamesAccepted", "Established")
    ]
    return json.dumps(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "gadgets.example.org", "uid": "3"},
            "spec": {
                "group": "example.org",
                "names": names,
                "scope": "Namespaced",
                "versions": versions,
                "conversion": {
                    "strategy": "Webhook",
                    "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]},
                },
            },
            "status": {
                "acceptedNames": names,
                "conditions": conditions,
                "storedVersions": ["v1", "v2"],
            },
        }
    ).encode()


def gadget(name: str, version: str) -> bytes:
    """Return an object of that definition as etcd holds it."""
    metadata = {"name": name, "namespace": "shop", "uid": name}
    made = {"apiVersion": f"example.org/{version}", "kind": "Gadget", "metadata": metadata}
    return json.dumps(made).encode()


def aggregated() -> bytes:
    """Return the APIService of a metrics server."""
    service = {"name": "metrics-server", "namespace": "kube-system", "port": 443}
    return json.dumps(
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io", "uid": "4"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "service": service,
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        }
    ).encode()
