# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.keys import (
    normalize_prefix,
    parse_key,
)

CASES = [
    ("/registry/pods/default/web-0", ("", "pods", "default", "web-0")),
    ("/registry/minions/cp-1", ("", "nodes", None, "cp-1")),
    ("/registry/controllers/a/rc", ("", "replicationcontrollers", "a", "rc")),
    ("/registry/services/specs/a/svc", ("", "services", "a", "svc")),
    ("/registry/services/endpoints/a/svc", ("", "endpoints", "a", "svc")),
    ("/registry/namespaces/kube-system", ("", "namespaces", None, "kube-system")),
    ("/registry/events/a/e.17", ("", "events", "a", "e.17")),
    ("/registry/deployments/a/d", ("apps", "deployments", "a", "d")),
    ("/registry/leases/kube-system/l", ("coordination.k8s.io", "leases", "kube-system", "l")),
    ("/registry/ingress/a/i", ("networking.k8s.io", "ingresses", "a", "i")),
    ("/registry/roles/a/system::x", ("rbac.authorization.k8s.io", "roles", "a", "system::x")),
    ("/registry/podsecuritypolicy/p", ("policy", "podsecuritypolicies", None, "p")),
    ("/registry/futurethings/a/f", (None, "futurethings", "a", "f")),
    (
        "/registry/apiregistration.k8s.io/apiservices/v1.",
        ("apiregistration.k8s.io", "apiservices", None, "v1."),
    ),
    ("/registry/example.org/crons/a/c", ("example.org", "crons", "a", "c")),
    ("/registry/example.org/crons/c", ("example.org", "crons", None, "c")),
]
NOT_OBJECTS = [
    "compact_rev_key",
    "/registry/health",
    "/registry/compact_rev_key",
    "/registry/masterleases/10.0.0.1",
    "/registry/peerserverleases/apiserver-x",
    "/registry/ranges/serviceips",
    "/registry",
    "/registry/",
    "/registry/pods",
    "/registry/pods/",
    "/registry/pods//x",
    "/registry/pods/a/b/c",
    "/registry/services/other/a/b",
    "/registry/services/specs/a",
    "/registry/example.org/c",
    "/registry/example.org/crons/a/b/c",
    "/registry2/pods/a/b",
    "registry/pods/a/b",
    "/calico/resources/v3/x",
    "",
]


@pytest.mark.parametrize(("key", "want"), CASES, ids=[key for key, _want in CASES])
def test_parse_key_object(key: str, want: tuple[str | None, str, str | None, str]) -> None:
    assert parse_key(key.encode()) == want


@pytest.mark.parametrize("key", NOT_OBJECTS)
def test_parse_key_no_object_is_none(key: str) -> None:
    assert parse_key(key.encode()) is None


@pytest.mark.parametrize("prefix", ["/cluster/a", "cluster/a", "/cluster/a/", "//cluster//a"])
def test_parse_key_other_prefix(prefix: str) -> None:
    found = parse_key(b"/cluster/a/secrets/ns/s", normalize_prefix(prefix))
    assert found is not None
    assert (found.group_resource, found.namespace, found.name) == ("secrets", "ns", "s")
    assert parse_key(b"/registry/secrets/ns/s", normalize_prefix(prefix)) is None


def test_parse_key_no_text_is_shown_escaped() -> None:
    found = parse_key(b"/registry/pods/a/\xff\xfe")
    assert found is not None
    assert found.name == "\\xff\\xfe"


def test_group_resource_names_the_group() -> None:
    names = [parse_key(key.encode()) for key, _want in CASES]
    assert [each.group_resource for each in names[7:9] if each] == [
        "apps/deployments",
        "coordination.k8s.io/leases",
    ]
