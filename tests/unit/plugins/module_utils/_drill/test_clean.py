# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken off objects, what is left out, and in what order the rest comes."""

from __future__ import annotations

import copy
import typing as t

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._drill.clean import (
    Reason,
    clean,
    left_out,
    rank,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._drill.yaml_text import Writer


def made(kind: str, **fields: t.Any) -> dict[str, t.Any]:
    metadata = {
        "name": "a",
        "namespace": "shop",
        "uid": "11111111-2222-3333-4444-555555555555",
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-23T00:00:00Z",
        "generation": 3,
        "selfLink": "/api/v1/x",
        "managedFields": [{"manager": "kubectl"}],
        **fields.pop("metadata", {}),
    }
    return {"kind": kind, "metadata": metadata, "status": {"phase": "x"}, **fields}


def cleaned(kind: str, api_version: str = "v1", **fields: t.Any) -> dict[str, t.Any]:
    item = made(kind, **fields)
    before = copy.deepcopy(item)
    found = clean(item, kind=kind, api_version=api_version)
    assert item == before, "what was read is not changed"
    assert list(found)[:3] == ["apiVersion", "kind", "metadata"]
    return found


def test_what_a_server_put_there_is_taken_off() -> None:
    assert cleaned("ConfigMap", data={"a": "b"}) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "shop"},
        "data": {"a": "b"},
    }


def test_annotations_and_finalizers_of_controllers_go_and_others_stay() -> None:
    metadata = {
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "deployment.kubernetes.io/revision": "4",
            "team": "shop",
        },
        "finalizers": ["foregroundDeletion", "example.org/keep"],
        "generateName": "a-",
        "ownerReferences": [{"kind": "Thing", "uid": "gone"}],
        "deletionTimestamp": "2026-11-23T00:00:00Z",
    }
    found = cleaned("Deployment", "apps/v1", metadata=metadata)["metadata"]
    assert found == {
        "name": "a",
        "namespace": "shop",
        "annotations": {"team": "shop"},
        "finalizers": ["example.org/keep"],
    }


@pytest.mark.parametrize(
    ("kind", "api_version", "spec", "expected"),
    [
        (
            "Service",
            "v1",
            {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [1]},
            {"ports": [1]},
        ),
        (
            "Service",
            "v1",
            {"clusterIP": "None", "clusterIPs": ["None"]},
            {"clusterIP": "None", "clusterIPs": ["None"]},
        ),
        ("Service", "serving.example.org/v1", {"clusterIP": "kept"}, {"clusterIP": "kept"}),
        ("Pod", "v1", {"nodeName": "worker-1", "containers": []}, {"containers": []}),
        (
            "PersistentVolume",
            "v1",
            {"claimRef": {"name": "a", "uid": "1", "resourceVersion": "2"}},
            {"claimRef": {"name": "a"}},
        ),
        (
            "Job",
            "batch/v1",
            {
                "selector": {"matchLabels": {"controller-uid": "1"}},
                "template": {"metadata": {"labels": {"controller-uid": "1", "app": "a"}}},
            },
            {"template": {"metadata": {"labels": {"app": "a"}}}},
        ),
        (
            "Job",
            "batch/v1",
            {"manualSelector": True, "selector": {"matchLabels": {"app": "a"}}},
            {"manualSelector": True, "selector": {"matchLabels": {"app": "a"}}},
        ),
        (
            "Deployment",
            "apps/v1",
            {"template": {"metadata": {"creationTimestamp": None}, "spec": {"x": None}}},
            {"template": {"metadata": {}, "spec": {"x": None}}},
        ),
    ],
    ids=["service", "headless", "other group", "pod", "volume", "job", "manual job", "nulls"],
)
def test_spec_is_fit_to_be_applied(
    kind: str, api_version: str, spec: dict[str, t.Any], expected: dict[str, t.Any]
) -> None:
    assert cleaned(kind, api_version, spec=spec)["spec"] == expected


def test_namespace_has_neither_spec_nor_the_label_that_it_gets() -> None:
    labels = {"kubernetes.io/metadata.name": "a", "team": "x"}
    found = cleaned("Namespace", spec={"finalizers": ["kubernetes"]}, metadata={"labels": labels})
    assert "spec" not in found
    assert found["metadata"]["labels"] == {"team": "x"}


def test_token_of_an_account_is_left_to_its_controller() -> None:
    found = cleaned(
        "Secret",
        type="kubernetes.io/service-account-token",
        data={"token": "x"},
        metadata={
            "annotations": {
                "kubernetes.io/service-account.name": "default",
                "kubernetes.io/service-account.uid": "1",
            }
        },
    )
    assert "data" not in found
    assert found["metadata"]["annotations"] == {"kubernetes.io/service-account.name": "default"}


OWNED = {"ownerReferences": [{"kind": "ReplicaSet", "controller": True}]}
USED = {"ownerReferences": [{"kind": "Thing"}]}
DONE = {"conditions": [{"type": "Complete", "status": "True"}]}


@pytest.mark.parametrize(
    ("item", "asked", "reason"),
    [
        (made("Pod", metadata=OWNED), True, Reason.OWNED),
        (made("Pod", metadata=USED), False, None),
        (
            made("Pod", metadata={"annotations": {"kubernetes.io/config.mirror": "x"}}),
            True,
            Reason.OWNED,
        ),
        (
            made("Endpoints", metadata={"labels": {"endpoints.kubernetes.io/managed-by": "x"}}),
            True,
            Reason.OWNED,
        ),
        (made("Endpoints"), False, None),
        (made("ConfigMap", metadata={"name": "kube-root-ca.crt"}), True, Reason.DEFAULT),
        (made("ServiceAccount", metadata={"name": "default"}), True, Reason.DEFAULT),
        (
            made("ServiceAccount", metadata={"name": "default"}, imagePullSecrets=[{"name": "r"}]),
            False,
            None,
        ),
        (
            made(
                "ClusterRole", metadata={"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}
            ),
            True,
            Reason.DEFAULT,
        ),
        (made("PriorityClass", metadata={"name": "system-node-critical"}), True, Reason.DEFAULT),
        (made("Event"), False, Reason.PASSING),
        (made("Event"), True, None),
        (made("Job", status=DONE), False, Reason.FINISHED),
        (made("Job", status=DONE), True, None),
        (made("Job", status={}), False, None),
        (made("Pod", status={"phase": "Succeeded"}), False, Reason.FINISHED),
        (made("Deployment"), False, None),
    ],
)
def test_what_comes_back_by_itself_is_left_out(
    item: dict[str, t.Any], asked: bool, reason: Reason | None
) -> None:
    assert left_out(item, asked=asked) is reason


def test_what_others_need_comes_first() -> None:
    order = [
        ("", "Namespace"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("", "ServiceAccount"),
        ("", "Secret"),
        ("", "ConfigMap"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
        ("", "Service"),
        ("apps", "Deployment"),
        ("networking.k8s.io", "Ingress"),
        ("resource.k8s.io", "ResourceClaim"),
        ("cert-manager.io", "Certificate"),
        ("serving.example.org", "Service"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ]
    ranked = sorted(order, key=lambda each: rank(*each))
    assert ranked == order


@pytest.mark.parametrize(
    "text",
    ["yes", "on", "y", "N", "null", "~", "1e3", "0o17", "0x1f", "1_000", "12:30:45", ".5", "-1"]
    + ["2026-11-23", "", " a ", "a: b", "# a", "a\nb\n", "a\n---\nb", "tab\there", "é", "\x07"]
    + ["- a", "{a}", "*a", "&a", "!a", "%a", "@a", "`a", "line \nend ", "+.inf"],
)
def test_text_stays_text(text: str) -> None:
    written = Writer().document({"a": text, text: "b"})
    assert written.startswith(b"---\n")
    (found,) = [each for each in yaml.safe_load_all(written) if each is not None]
    assert found == {"a": text, text: "b"}
    plain = written.decode().split("\n", 2)[1].removeprefix("a: ")
    if text[:1] in "0123456789+-." or text.lower() in ("y", "n", "yes", "no", "on", "off", "~"):
        assert plain[:1] in "\"'", "Go's YAML reads some of these as numbers or truths"
