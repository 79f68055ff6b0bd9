# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is there and brings nothing back is said by name; what merely looks odd is not."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.controlplane.etcd.plugins.module_utils._kit import take
from lab import certificates
from lab.pki import authority, new_key, private_pem, write

PKI = "etc/kubernetes/pki"
ENCRYPTION = "etc/kubernetes/enc/encryption-config.yaml"
SECRET = "UExBTlRFRC1TRUNSRVQtYWVzY2JjLWtleTEtMzJieXQ="


def look(root: Path, **options: t.Any) -> take.Plan:
    return take.plan(take.Options(host="cp1", root=str(root), **options))


def cut(path: Path, size: int) -> None:
    write(path, path.read_bytes()[:size])


def put(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    write(path, text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "harm", "damaged", "words"),
    [
        ("sa.key", lambda path: write(path, b""), ["sa.key"], "it is empty"),
        ("sa.key", lambda path: write(path, private_pem(new_key())), ["sa.key"], "another key's"),
        ("sa.pub", lambda path: write(path, b"no key"), ["sa.pub"], "neither PEM nor DER"),
        ("ca.key", lambda path: cut(path, 100), ["ca.key"], "cut off"),
        (
            "ca.key",
            lambda path: write(path, private_pem(new_key())),
            ["ca.key"],
            "does not belong to ca.crt",
        ),
        (
            "ca.crt",
            lambda path: write(path, (path.parent / "etcd/ca.crt").read_bytes()),
            ["ca.crt"],
            "another authority's",
        ),
        (
            "apiserver.key",
            lambda path: write(path, private_pem(new_key())),
            ["apiserver.key"],
            "apiserver.crt",
        ),
        ("etcd/peer.crt", lambda path: cut(path, 200), ["etcd/peer.crt"], "cut off"),
    ],
)
def test_damaged_pki_is_named_and_taken_as_it_is(
    kubeadm_host: Path,
    name: str,
    harm: t.Callable[[Path], None],
    damaged: list[str],
    words: str,
) -> None:
    path = kubeadm_host / PKI / name
    harm(path)
    plan = look(kubeadm_host)
    assert list(plan.damaged) == damaged
    assert name in plan.collection.present
    [warning] = plan.warnings
    assert f"{name} (/{PKI}/{name}) is DAMAGED" in warning and words in warning
    kept = {file.path: file.content.data for file in plan.collection.files}
    assert kept[f"/{PKI}/{name}"] == path.read_bytes()
    record = take.record(plan, (), {"pki": (), "encryption": ()})
    assert record["kit"]["damaged"] == damaged


@pytest.mark.parametrize(
    ("name", "text", "standard"),
    [
        ("etc/kubernetes/admin.conf", "", "admin.conf"),
        ("etc/kubernetes/scheduler.conf", "kind: Config\n", "scheduler.conf"),
        ("etc/kubernetes/manifests/kube-scheduler.yaml", "a: b\n", "manifests/kube-scheduler.yaml"),
        ("var/lib/kubelet/config.yaml", "\n", "kubelet/config.yaml"),
        (ENCRYPTION, "kind: EncryptionConfiguration\n", "encryption-config"),
        (ENCRYPTION, "", "encryption-config"),
    ],
)
def test_damaged_configuration(kubeadm_host: Path, name: str, text: str, standard: str) -> None:
    write(kubeadm_host / name, text)
    assert look(kubeadm_host).damaged == (standard,)


def test_kubeconfig_with_broken_base64(kubeadm_host: Path) -> None:
    put(
        kubeadm_host / "etc/kubernetes/admin.conf",
        "client-key-data: ",
        "client-key-data: '!' #",
    )
    assert look(kubeadm_host).damaged == ("admin.conf",)


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("PLANTED not base64!", "is no base64"),
        (SECRET.rstrip("="), "is no base64"),
        (base64.b64encode(b"PLANTED").decode(), "has 7 bytes, which is none of 16, 24, 32"),
    ],
)
def test_key_that_no_api_server_takes_does_not_count(
    kubeadm_host: Path, secret: str, words: str
) -> None:
    put(kubeadm_host / ENCRYPTION, SECRET, secret)
    plan = look(kubeadm_host)
    assert plan.damaged == ("encryption-config",)
    assert plan.encryption.key_names == ("secretbox/key2",)
    [warning] = plan.warnings
    assert f"the secret of key aescbc/key1 {words}" in warning
    assert secret not in warning and "PLANTED" not in warning


def test_good_kits_are_silent(
    kubeadm_host: Path, kubespray_host: Path, recorded: t.Callable[[str], Path]
) -> None:
    for root in (kubeadm_host, kubespray_host, recorded("k3s"), recorded("rke2")):
        for ca_keys in (True, False):
            plan = look(root, include_ca_keys=ca_keys)
            assert (plan.damaged, plan.warnings) == ((), ())


def test_bundle_of_two_authorities_is_whole(kubeadm_host: Path) -> None:
    for path in (kubeadm_host / PKI / "ca.crt", kubeadm_host / PKI / "etcd/ca.crt"):
        write(path, authority("next").certificate_pem + path.read_bytes())
    assert look(kubeadm_host).damaged == ()


def test_external_authority_is_whole_and_a_foreign_one_is_not(kubeadm_host: Path) -> None:
    (kubeadm_host / PKI / "ca.key").unlink()
    (kubeadm_host / PKI / "front-proxy-ca.key").unlink()
    assert look(kubeadm_host).damaged == ()
    write(kubeadm_host / PKI / "ca.crt", authority("kubernetes").certificate_pem)
    assert look(kubeadm_host).damaged == ("ca.crt",)


def test_encrypted_key_is_said_and_not_damaged(kubeadm_host: Path) -> None:
    path = kubeadm_host / PKI / "ca.key"
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    write(path, certificates.key_bytes(t.cast("t.Any", key), password=b"PLANTED"))
    plan = look(kubeadm_host)
    assert plan.damaged == ()
    assert ["its password is in no kit" in warning for warning in plan.warnings] == [True]


def test_expired_certificate_is_not_damaged(kubeadm_host: Path) -> None:
    # The pair belongs together, whatever its dates.
    made = certificates.make("kube-apiserver", ends=certificates.NOW - certificates.DAY)
    write(kubeadm_host / PKI / "apiserver.crt", made.pem)
    write(kubeadm_host / PKI / "apiserver.key", made.key_pem)
    assert look(kubeadm_host).damaged == ()
