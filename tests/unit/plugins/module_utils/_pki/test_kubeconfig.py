# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kubeconfig embeds, which files it points to, and what of it is damaged."""

from __future__ import annotations

import base64
import typing as t

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._pki import kubeconfig
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.kubeconfig import Reference
from ansible_collections.controlplane.etcd.plugins.module_utils._pki.model import Carrier
from lab.certificates import Made, authority, make

PATH = "/etc/kubernetes/admin.conf"


@pytest.fixture(scope="module")
def ca() -> Made:
    return authority("kubernetes")


@pytest.fixture(scope="module")
def admin(ca: Made) -> Made:
    return make("kubernetes-admin", by=ca, usages=["client"])


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def document(
    user: t.Mapping[str, t.Any], cluster: t.Mapping[str, t.Any], **more: t.Any
) -> dict[str, t.Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubernetes", "cluster": {"server": "https://x:6443", **cluster}}],
        "users": [{"name": "kubernetes-admin", "user": dict(user)}],
        "contexts": [
            {"name": "c", "context": {"cluster": "kubernetes", "user": "kubernetes-admin"}}
        ],
        **more,
    }


def parse(content: object) -> kubeconfig.Entries:
    return kubeconfig.parse(
        PATH, yaml.safe_dump(content).encode(), name="admin.conf", mode=0o640, uid=7, gid=8
    )


def test_parse_embedded_pair(admin: Made, ca: Made) -> None:
    found = parse(
        document(
            {"client-certificate-data": b64(admin.pem), "client-key-data": b64(admin.key_pem)},
            {"certificate-authority-data": b64(ca.pem)},
        )
    )
    assert found.problem is None and found.references == () and len(found.embedded) == 3
    (pair,) = found.pairs
    assert isinstance(pair.certificate, Carrier) and isinstance(pair.key, Carrier)
    assert pair.user == "kubernetes-admin"
    assert pair.certificate.field == "users[kubernetes-admin].client-certificate-data"
    assert pair.certificate.where == f"{PATH} {pair.certificate.field}"
    certificate = pair.certificate.contents.certificates[0]
    assert certificate.subject == "CN=kubernetes-admin"
    assert pair.key.contents.keys[0].public_key == certificate.public_key
    for carrier in found.embedded:
        assert (carrier.path, carrier.name) == (PATH, "admin.conf")
        assert (carrier.mode, carrier.uid, carrier.gid) == (0o640, 7, 8)
    (authority_carrier,) = pair.authorities
    assert isinstance(authority_carrier, Carrier)
    assert authority_carrier.contents.certificates[0].is_ca


def test_parse_files_relative_ones_joined_to_its_folder() -> None:
    found = parse(
        document(
            {"client-certificate": "/var/lib/kubelet/pki/a.pem", "client-key": "../keys/b.key"},
            {"certificate-authority": "pki/ca.crt"},
        )
    )
    assert found.embedded == ()
    (pair,) = found.pairs
    assert pair.certificate == Reference(
        "users[kubernetes-admin].client-certificate", "/var/lib/kubelet/pki/a.pem", "certificate"
    )
    assert isinstance(pair.key, Reference) and pair.key.path == "/etc/keys/b.key"
    assert [(each.path, each.kind) for each in found.references] == [
        ("/etc/kubernetes/pki/ca.crt", "authority"),
        ("/var/lib/kubelet/pki/a.pem", "certificate"),
        ("/etc/keys/b.key", "key"),
    ]


def test_parse_data_wins_over_a_file(admin: Made) -> None:
    user = {"client-certificate": "/x.crt", "client-certificate-data": b64(admin.pem)}
    found = parse(document(user, {}))
    assert found.references == () and len(found.embedded) == 1
    assert found.pairs[0].key is None


def test_parse_wrapped_base64_is_read(admin: Made) -> None:
    wrapped = base64.encodebytes(admin.pem).decode()
    found = parse(document({"client-certificate-data": wrapped}, {}))
    assert found.embedded[0].contents.certificates[0].der == admin.der


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("not base64!", "base64 is damaged"),
        ("QUJ", "base64 is damaged"),
        ("QUJD", "neither PEM nor DER"),
        (12345, "not a text"),
        (["QUJD"], "not a text"),
        (b"\x00\x01", "not a text"),
        ("   ", "empty"),
    ],
    ids=["no-base64", "short", "no-pem", "number", "list", "binary", "blank"],
)
def test_parse_damaged_data_is_a_carrier_with_a_problem(data: object, problem: str) -> None:
    (carrier,) = parse(document({"client-certificate-data": data}, {})).embedded
    assert carrier.contents.certificates == ()
    assert problem in carrier.contents.problems[0]


def test_parse_pairs_take_the_authorities_of_their_contexts(admin: Made, ca: Made) -> None:
    other = authority("other")
    content = document({"client-certificate-data": b64(admin.pem)}, {})
    content["clusters"] = [
        {"name": "one", "cluster": {"certificate-authority-data": b64(ca.pem)}},
        {"name": "two", "cluster": {"certificate-authority-data": b64(other.pem)}},
    ]
    content["contexts"] = [{"name": "c", "context": {"cluster": "two", "user": "kubernetes-admin"}}]
    (pair,) = parse(content).pairs
    assert [each.field for each in pair.authorities if isinstance(each, Carrier)] == [
        "clusters[two].certificate-authority-data"
    ]
    content["contexts"] = []
    assert len(parse(content).pairs[0].authorities) == 2


def test_parse_user_with_a_token_has_no_pair() -> None:
    assert parse(document({"token": "abc"}, {})).pairs == ()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b"a: [b: c", "no YAML"),
        (b"- a\n- b\n", "not a mapping"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"just words", "not a mapping"),
        (b"[" * 3000, "nested too deeply"),
        (b"a: 2026-99-99 00:00:00", "impossible"),
        (b'users: !!int ""', "impossible"),
        (b"users: !!bool x", "impossible"),
        (b"users: !!timestamp x", "impossible"),
        (b"a: !!python/object:os.system x", "no YAML"),
        (b"a: 1\n---\nb: 2\n", "no YAML"),
    ],
)
def test_parse_what_is_no_kubeconfig_is_a_problem(data: bytes, problem: str) -> None:
    found = kubeconfig.parse(PATH, data)
    assert problem in (found.problem or "") and found.embedded == ()


def test_parse_problem_quotes_nothing() -> None:
    assert "hunter2" not in (kubeconfig.parse(PATH, b"password: hunter2: x").problem or "hunter2")


@pytest.mark.parametrize(
    "content",
    [
        {"users": None, "clusters": 3, "contexts": "x"},
        {"users": [None, 3, {"name": 5, "user": {"client-certificate": 7}}]},
        {"users": [{"user": {"client-certificate": "a\0b", "client-key": ""}}]},
        {"users": [{"name": "u", "user": [1]}], "clusters": [{"name": "c", "cluster": None}]},
        {"contexts": [{"context": {"user": ["u"], "cluster": {}}}]},
    ],
)
def test_entries_of_odd_documents_are_none(content: dict[str, t.Any]) -> None:
    found = kubeconfig.entries(PATH, content)
    assert (found.embedded, found.references, found.pairs) == ((), (), ())
