# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PKI that the real kubeadm made: silent as it is, and each check fires on what is made for it."""

from __future__ import annotations

import base64
import datetime as dt
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ansible_collections.controlplane.etcd.plugins.module_utils._cert_check import merge
from lab.certified import NOW, look_at
from lab.kubeadm_pki import ADDRESS, ENDPOINT, NAME, KubeadmTree
from lab.module import run_module
from lab.pki import CLIENT, SERVER, Pair, authority, issue, new_key, private_pem, write
from lab.planted import secrets_of

DAY = dt.timedelta(days=1)
SERVICE = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1")
API_NAMES = (NAME, *SERVICE, ADDRESS, ENDPOINT)
LOCAL = (NAME, "localhost", ADDRESS, "127.0.0.1", "::1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> KubeadmTree:
    return KubeadmTree(tmp_path_factory.mktemp("kubeadm") / NAME).make()


@pytest.fixture
def tree(made: KubeadmTree, tmp_path: Path) -> KubeadmTree:
    """A tree to spoil."""
    shutil.copytree(made.root, tmp_path / NAME, symlinks=True)
    return KubeadmTree(tmp_path / NAME)


def ca_of(tree: KubeadmTree, name: str) -> Pair:
    """Return one of kubeadm's own authorities, to issue with."""
    certificate = x509.load_pem_x509_certificate((tree.pki / f"{name}.crt").read_bytes())
    key = serialization.load_pem_private_key((tree.pki / f"{name}.key").read_bytes(), None)
    return Pair(certificate, t.cast(ec.EllipticCurvePrivateKey, key))


def replace(tree: KubeadmTree, name: str, ca: str, *, days: float = 365, **options: t.Any) -> None:
    """Put a certificate and its key of the tree's own CA in a file's place."""
    common_name = {"apiserver": "kube-apiserver", "etcd/server": NAME}.get(name, name)
    pair = issue(ca_of(tree, ca), common_name, not_after=NOW + days * DAY, **options)
    pair.write(tree.pki / name)


def replace_api(tree: KubeadmTree, **options: t.Any) -> None:
    replace(tree, "apiserver", "ca", **{"usages": (SERVER,), "names": API_NAMES, **options})


def embed(tree: KubeadmTree, name: str, pair: Pair) -> None:
    """Put a certificate and its key into a kubeconfig."""
    path = tree.kubernetes / name
    document = yaml.safe_load(path.read_text())
    user = document["users"][0]["user"]
    user["client-certificate-data"] = base64.b64encode(pair.certificate_pem).decode()
    user["client-key-data"] = base64.b64encode(pair.key_pem).decode()
    path.write_text(yaml.safe_dump(document))


def sign(tree: KubeadmTree, name: str, ca: str, key: t.Any, algorithm: t.Any) -> None:
    """Put a certificate of any key, signed with any hash, in a client certificate's place."""
    authority_pair = ca_of(tree, ca)
    usage = x509.ExtendedKeyUsage([CLIENT])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(authority_pair.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + 300 * DAY)
        .add_extension(usage, critical=False)
        .sign(authority_pair.key, algorithm)
    )
    pem = serialization.Encoding.PEM
    (tree.pki / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
    (tree.pki / f"{name}.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def sign_by_sha1(tree: KubeadmTree, name: str, ca: str) -> None:
    """Have openssl do what cryptography refuses."""
    base, issuer = tree.pki / name, tree.pki / ca
    request = tree.root / "request.pem"
    for words in (
        f"req -new -key {base}.key -subj /CN={name} -out {request}",
        f"x509 -req -sha1 -days 300 -in {request} -CA {issuer}.crt -CAkey {issuer}.key "
        f"-CAcreateserial -CAserial {tree.root}/serial -out {base}.crt",
    ):
        subprocess.run(["openssl", *words.split()], check=True, capture_output=True)


def shorten_ca(tree: KubeadmTree, name: str) -> None:
    """Sign a CA anew, with its own key, so that it ends before what it issued."""
    old = ca_of(tree, name)
    builder = x509.CertificateBuilder(
        old.certificate.issuer,
        old.certificate.subject,
        old.certificate.public_key(),
        x509.random_serial_number(),
        NOW - DAY,
        NOW + 100 * DAY,
        list(old.certificate.extensions),
    )
    certificate = builder.sign(old.key, hashes.SHA256())
    (tree.pki / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def trust(tree: KubeadmTree, name: str, ca: Pair) -> None:
    """Have a kubeconfig trust another authority."""
    path = tree.kubernetes / name
    document = yaml.safe_load(path.read_text())
    data = base64.b64encode(ca.certificate_pem).decode()
    document["clusters"][0]["cluster"]["certificate-authority-data"] = data
    path.write_text(yaml.safe_dump(document))


def encrypt_key(tree: KubeadmTree, name: str) -> None:
    key = serialization.load_pem_private_key((tree.pki / f"{name}.key").read_bytes(), None)
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"PLANTED"),
    )
    (tree.pki / f"{name}.key").write_bytes(data)


Spoil = t.Callable[[KubeadmTree], object]
PKI = "/etc/kubernetes/pki"
ETCD_LEAVES = [
    f"{PKI}/apiserver-etcd-client.crt",
    f"{PKI}/etcd/healthcheck-client.crt",
    f"{PKI}/etcd/peer.crt",
    f"{PKI}/etcd/server.crt",
]
ADMIN = "/etc/kubernetes/admin.conf users[kubernetes-admin].client-certificate-data"
# What is done to the tree, and all that is then found: severity, kind, places.
CASES: dict[str, tuple[Spoil, list[tuple[str, str, str]]]] = {
    "expired": (
        lambda tree: replace_api(tree, days=-1),
        [("critical", "expired", f"{PKI}/apiserver.crt")],
    ),
    "expired in a kubeconfig": (
        lambda tree: embed(
            tree,
            "admin.conf",
            issue(ca_of(tree, "ca"), "kubernetes-admin", not_after=NOW - DAY),
        ),
        [("critical", "expired", ADMIN)],
    ),
    "not yet valid": (
        lambda tree: replace_api(tree, not_before=NOW + DAY),
        [("critical", "not_yet_valid", f"{PKI}/apiserver.crt")],
    ),
    "ends within fail_days": (
        lambda tree: replace_api(tree, days=6),
        [("critical", "expires_soon", f"{PKI}/apiserver.crt")],
    ),
    "ends within warn_days": (
        lambda tree: replace_api(tree, days=29),
        [("warning", "expires_soon", f"{PKI}/apiserver.crt")],
    ),
    "ends after them": (lambda tree: replace_api(tree, days=32), []),
    "CA ends before its leaves": (
        lambda tree: shorten_ca(tree, "etcd/ca"),
        [("warning", "ca_ends_first", where) for where in ETCD_LEAVES],
    ),
    "of another CA of the host": (
        lambda tree: replace(tree, "apiserver-etcd-client", "ca"),
        [("critical", "chain", f"{PKI}/apiserver-etcd-client.crt")],
    ),
    "of a CA of the same name": (
        lambda tree: issue(authority("front-proxy-ca"), "front-proxy-client").write(
            tree.pki / "front-proxy-client"
        ),
        [("critical", "chain", f"{PKI}/front-proxy-client.crt")],
    ),
    "kubeconfig that trusts another CA of the same name": (
        lambda tree: trust(tree, "scheduler.conf", authority("kubernetes")),
        [
            (
                "critical",
                "chain",
                "/etc/kubernetes/scheduler.conf clusters[kubernetes].certificate-authority-data",
            )
        ],
    ),
    "kubeconfig that is another's": (
        lambda tree: shutil.copyfile(
            tree.kubernetes / "controller-manager.conf", tree.kubernetes / "scheduler.conf"
        ),
        [("critical", "kubeconfig", "/etc/kubernetes/scheduler.conf")],
    ),
    "key as DER": (
        lambda tree: (tree.pki / "sa.key").write_bytes(
            serialization.load_pem_private_key(
                (tree.pki / "sa.key").read_bytes(), None
            ).private_bytes(
                serialization.Encoding.DER,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        ),
        [("critical", "unreadable", f"{PKI}/sa.key")],
    ),
    "key of another certificate": (
        lambda tree: write(tree.pki / "apiserver.key", private_pem(new_key())),
        [("critical", "key_mismatch", f"{PKI}/apiserver.crt")],
    ),
    "key lost": (
        lambda tree: (tree.pki / "etcd/healthcheck-client.key").unlink(),
        [("critical", "key_missing", f"{PKI}/etcd/healthcheck-client.crt")],
    ),
    "key readable by all": (
        lambda tree: (tree.pki / "etcd/server.key").chmod(0o644),
        [("warning", "key_readable", f"{PKI}/etcd/server.key")],
    ),
    "key encrypted": (
        lambda tree: encrypt_key(tree, "apiserver"),
        [("critical", "key_encrypted", f"{PKI}/apiserver.key")],
    ),
    "address missing": (
        lambda tree: replace(
            tree,
            "etcd/server",
            "etcd/ca",
            usages=(SERVER, CLIENT),
            names=[each for each in LOCAL if each != ADDRESS],
        ),
        [("critical", "names_missing", f"{PKI}/etcd/server.crt")],
    ),
    "control-plane endpoint missing": (
        lambda tree: replace_api(tree, names=[each for each in API_NAMES if each != ENDPOINT]),
        [("critical", "names_missing", f"{PKI}/apiserver.crt")],
    ),
    "usage wrong": (
        lambda tree: replace(tree, "apiserver-kubelet-client", "ca", usages=(SERVER,)),
        [("critical", "usage", f"{PKI}/apiserver-kubelet-client.crt")],
    ),
    "weak key": (
        lambda tree: sign(
            tree,
            "front-proxy-client",
            "front-proxy-ca",
            rsa.generate_private_key(65537, 1024),
            hashes.SHA256(),
        ),
        [("warning", "weak_key", f"{PKI}/front-proxy-client.crt")],
    ),
    "weak signature": (
        lambda tree: sign_by_sha1(tree, "front-proxy-client", "front-proxy-ca"),
        [("warning", "weak_signature", f"{PKI}/front-proxy-client.crt")],
    ),
    "Ed25519": (
        lambda tree: sign(
            tree,
            "front-proxy-client",
            "front-proxy-ca",
            ed25519.Ed25519PrivateKey.generate(),
            hashes.SHA256(),
        ),
        [],
    ),
    "certificate lost": (
        lambda tree: (tree.pki / "apiserver-kubelet-client.crt").unlink(),
        [("critical", "missing", f"{PKI}/apiserver-kubelet-client.crt")],
    ),
    "certificate cut off": (
        lambda tree: (tree.pki / "etcd/peer.crt").write_bytes(
            (tree.pki / "etcd/peer.crt").read_bytes()[:500]
        ),
        [("critical", "unreadable", f"{PKI}/etcd/peer.crt")],
    ),
}


def test_good_tree_is_silent(made: KubeadmTree) -> None:
    result = look_at(made.root)
    assert result["findings"] == []
    assert result["counts"]["certificates"] == 15
    assert all(each["role"] for each in result["certificates"])
    assert result["shared"]["encryption-config"] is None


@pytest.mark.parametrize("name", CASES)
def test_check_fires_on_what_is_made_for_it(tree: KubeadmTree, name: str) -> None:
    spoil, wanted = CASES[name]
    spoil(tree)
    found = look_at(tree.root)["findings"]
    assert [(each["severity"], each["kind"], each["where"]) for each in found] == wanted
    for each in found:
        assert each["message"] and each["action"] and each["subject"]


def test_ca_keys_where_they_are_forbidden(made: KubeadmTree) -> None:
    found = look_at(made.root, ca_key_forbidden=True)["findings"]
    assert {(each["kind"], each["where"]) for each in found} == {
        ("ca_key_on_host", f"{PKI}/{name}.key") for name in ("ca", "etcd/ca", "front-proxy-ca")
    }


def agrees(tree: KubeadmTree) -> dict[str, dict[str, t.Any]]:
    """Compare with kubeadm, certificate by certificate; return what kubeadm says."""
    theirs = tree.expirations()
    ours = {each["role"].replace("/", "-"): each for each in look_at(tree.root)["certificates"]}
    del ours["kubelet.conf"]  # kubeadm leaves it to the kubelet
    present = {name: each for name, each in theirs.items() if not each["missing"]}
    assert set(ours) == set(present)
    for name, each in present.items():
        assert ours[name]["not_after"] == each["expirationDate"], name
        # kubeadm's clock goes on while the tests run.
        left = ours[name]["days_left"] * 86400
        assert left <= each["residualTime"] + 600 and each["residualTime"] < left + 86400 + 600
    return theirs


def test_agrees_with_kubeadm_on_every_certificate(tree: KubeadmTree) -> None:
    before = agrees(tree)
    assert len(before) == 14
    replace_api(tree, days=3)
    replace(tree, "front-proxy-client", "front-proxy-ca", days=-40)
    scheduler = issue(ca_of(tree, "ca"), "system:kube-scheduler", not_after=NOW + 20 * DAY)
    embed(tree, "scheduler.conf", scheduler)
    spoilt = agrees(tree)
    assert spoilt["front-proxy-client"]["residualTime"] < 0
    # What our findings say to do works, and mends it.
    for finding in look_at(tree.root)["findings"]:
        command = finding["action"].partition("kubeadm ")[2].partition(".  ")[0]
        words = command.split(". ")[0].rstrip(".").split()
        assert words[:2] == ["certs", "renew"], finding
        tree(*words, "--config", "/kubeadm.yaml")
    renewed = agrees(tree)
    assert all(each["residualTime"] > 364 * 86400 for each in renewed.values())
    assert look_at(tree.root)["findings"] == []
    (tree.pki / "apiserver-kubelet-client.crt").unlink()
    (tree.pki / "apiserver-kubelet-client.key").unlink()
    assert agrees(tree)["apiserver-kubelet-client"]["missing"] is True


def test_hosts_of_two_clusters_differ_in_all_that_hosts_share(
    made: KubeadmTree, tmp_path: Path
) -> None:
    other = KubeadmTree(tmp_path / "cp2").make()
    reports = {"cp1": look_at(made.root), "cp2": look_at(other.root)}
    options: dict[str, t.Any] = {"max_clock_skew": 30.0, "fail_on": "critical"}
    answer = merge.together(reports, clusters={}, **options)
    assert {each["name"] for each in answer.result["findings"]} == {
        "ca",
        "etcd/ca",
        "front-proxy-ca",
        "sa",
    }
    assert answer.failed is not None
    apart = merge.together(reports, clusters={"cp1": "a", "cp2": "b"}, **options)
    assert apart.result["findings"] == []


def test_module_on_the_tree_as_paths_tells_no_secret(made: KubeadmTree) -> None:
    result = run_module("etcd_cert_check", {"paths": [str(made.kubernetes)], "served": False})
    assert result["changed"] is False
    assert result["counts"]["certificates"] >= 15
    assert {each["role"] for each in result["certificates"]} >= {"apiserver", "etcd/server", "ca"}
    planted = secrets_of(made.root)
    assert len(planted) > 10
    assert not [secret for secret in planted if secret in str(result)]
