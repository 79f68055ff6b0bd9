# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at on a host, and what becomes of what can't be."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import typing as t
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding
from unit.fixtures.trees.build import build

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    LayoutError,
    OptionInvalid,
)
from lab import kubespray
from lab.certified import Host, look_at
from lab.pki import (
    CLIENT,
    SERVER,
    YEAR,
    ClusterPki,
    authority,
    issue,
    new_key,
    now,
    private_pem,
    public_pem,
    write,
)
from lab.static_pods import Node

PKI = "/etc/kubernetes/pki"


def test_check_of_a_good_host_finds_all_and_says_nothing(host: Host) -> None:
    result = host.check()
    assert result["findings"] == []
    assert result["counts"] == {"critical": 0, "warning": 0, "info": 0, "certificates": 16}
    assert sorted(each["name"] for each in result["certificates"]) == [
        "admin.conf",
        "apiserver-etcd-client.crt",
        "apiserver-kubelet-client.crt",
        "apiserver.crt",
        "ca.crt",
        "controller-manager.conf",
        "etcd/ca.crt",
        "etcd/healthcheck-client.crt",
        "etcd/peer.crt",
        "etcd/server.crt",
        "front-proxy-ca.crt",
        "front-proxy-client.crt",
        "kubelet/client-current.pem",
        "kubelet/pki/kubelet.crt",
        "scheduler.conf",
        "super-admin.conf",
    ]
    assert all(each["role"] and each["used"] for each in result["certificates"])
    assert result["days_left"] == result["soonest"]["days_left"]
    assert result["days_left"] in (364, 365)
    absent = {name for name, value in result["shared"].items() if value is None}
    assert absent == {"client-ca", "etcd/peer-ca"}, "k3s and rke2 have them"


def test_check_without_etcd_looks_at_the_rest(host: Host) -> None:
    (host.kubernetes / "manifests/etcd.yaml").unlink()
    shutil.rmtree(host.folder / "etcd")
    manifest = host.kubernetes / "manifests/kube-apiserver.yaml"
    for name in ("ca.crt", "apiserver-etcd-client.crt", "apiserver-etcd-client.key"):
        (host.folder / name).replace(host.folder / name)
    document = yaml.safe_load(manifest.read_text())
    command = document["spec"]["containers"][0]["command"]
    command[:] = [word for word in command if not word.startswith("--etcd-cafile")]
    manifest.write_text(yaml.safe_dump(document))
    result = host.check()
    assert result["counts"]["certificates"] == 12
    # Nobody knows here who issued it.
    assert {(each["kind"], each["name"]) for each in result["findings"]} <= {
        ("chain", "apiserver-etcd-client.crt"),
        ("not_looked_at", "apiserver-etcd-client.crt"),
    }


def test_check_host_without_kubernetes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="No etcd member found on this host"):
        look_at(tmp_path)


def test_check_host_without_a_single_certificate_is_an_error(host: Host) -> None:
    shutil.rmtree(host.folder)
    shutil.rmtree(host.root / "var/lib/kubelet")
    for path in host.kubernetes.glob("*.conf"):
        path.unlink()
    with pytest.raises(LayoutError, match="Not one certificate was found on this host"):
        host.check()


def test_check_tells_what_manifests_reference_and_is_not_there(host: Host) -> None:
    (host.folder / "apiserver.crt").unlink()
    (host.kubernetes / "scheduler.conf").unlink()
    found = {each["where"]: each for each in host.check()["findings"]}
    lacking = found[f"{PKI}/apiserver.crt"]
    assert lacking["kind"] == "missing"
    assert "kube-apiserver.yaml --tls-cert-file" in lacking["message"]
    assert "kubeadm" in lacking["action"]
    assert found["/etc/kubernetes/scheduler.conf"]["kind"] == "missing"
    assert len(found) == 2


def test_check_current_kubelet_certificate_lost_is_missing(host: Host) -> None:
    (host.root / "var/lib/kubelet/pki/kubelet-client-2026-11-01-00-00-00.pem").unlink()
    found = host.check()["findings"]
    assert [(each["kind"], each["where"]) for each in found] == [
        ("missing", "/var/lib/kubelet/pki/kubelet-client-current.pem")
    ]
    assert "dangling" in found[0]["message"]


def test_check_passes_by_what_a_kubelet_rotated_away(host: Host) -> None:
    folder = host.root / "var/lib/kubelet/pki"
    old = issue(host.pki.ca, "system:node:cp1", not_after=now() - YEAR)
    write(folder / "kubelet-client-2025-11-01-00-00-00.pem", old.certificate_pem + old.key_pem)
    assert host.findings() == []


def test_check_expired_file_that_nothing_reads_is_a_warning(host: Host) -> None:
    issue(host.pki.ca, "old", not_after=now() - YEAR).write(host.folder / "old/apiserver-old")
    result = host.check()
    assert [(each["severity"], each["kind"]) for each in result["findings"]] == [
        ("warning", "expired")
    ]
    assert "Nothing that was found on this host reads this file" in result["findings"][0]["message"]
    entry = result["certificates"][0]
    assert (entry["state"], entry["used"], entry["role"]) == ("expired", False, None)
    assert result["days_left"] in (364, 365), "a file that nothing reads ends nothing"


def test_check_links_within_the_folders_are_followed(host: Host) -> None:
    real = host.root / "etc/kubernetes/elsewhere"
    (host.folder / "apiserver.crt").rename(host.kubernetes / "moved.crt")
    (host.folder / "apiserver.crt").symlink_to("/etc/kubernetes/moved.crt")
    host.folder.rename(real)
    host.folder.symlink_to("/etc/kubernetes/elsewhere")
    result = host.check()
    assert result["findings"] == []
    moved = next(each for each in result["certificates"] if each["name"] == "apiserver.crt")
    assert moved["path"] == "/etc/kubernetes/moved.crt"


def test_check_link_out_of_the_folders_is_told(host: Host) -> None:
    away = host.root / "opt/elsewhere.crt"
    write(away, issue(host.pki.ca, "away").certificate_pem)
    (host.folder / "extra.crt").symlink_to("/opt/elsewhere.crt")
    found = host.check()["findings"]
    assert [(each["kind"], each["where"]) for each in found] == [
        ("not_looked_at", f"{PKI}/extra.crt")
    ]
    assert "/opt/elsewhere.crt" in found[0]["message"]


def test_check_loops_folders_and_fifos_for_files_are_told(host: Host) -> None:
    for name in ("apiserver.crt", "front-proxy-client.crt", "etcd/peer.crt"):
        (host.folder / name).unlink()
    (host.folder / "etcd/peer.crt").mkdir()
    (host.folder / "apiserver.crt").symlink_to(f"{PKI}/apiserver.crt")
    os.mkfifo(host.folder / "front-proxy-client.crt")
    found = {where: kind for _severity, kind, where in host.findings()}
    assert found[f"{PKI}/front-proxy-client.crt"] in ("missing", "not_looked_at")
    assert found[f"{PKI}/apiserver.crt"] in ("missing", "not_looked_at")
    assert found[f"{PKI}/etcd/peer.crt"] == "missing"


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", b"-----BEGIN CERTIFICATE-----\nMIIB", b"\0" * 9]
)
def test_check_broken_certificate_is_critical(host: Host, content: bytes) -> None:
    (host.folder / "apiserver.crt").write_bytes(content)
    assert ("critical", "unreadable", f"{PKI}/apiserver.crt") in host.findings()


def test_check_broken_kubeconfigs_are_told_without_their_words(host: Host) -> None:
    admin = host.kubernetes / "admin.conf"
    document = yaml.safe_load(admin.read_text())
    document["users"][0]["user"]["client-key-data"] = "*PLANTED*"
    admin.write_text(yaml.safe_dump(document))
    (host.kubernetes / "scheduler.conf").write_text("clusters: [PLANTED: {]\ncurrent-context: x\n")
    (host.kubernetes / "controller-manager.conf").write_text("")
    result = host.check()
    where = {each["where"]: each["kind"] for each in result["findings"]}
    key = "/etc/kubernetes/admin.conf users[kubernetes-admin].client-key-data"
    assert where[key] == "unreadable"
    assert where["/etc/kubernetes/scheduler.conf"] == "unreadable"
    assert where["/etc/kubernetes/controller-manager.conf"] == "unreadable"
    assert "PLANTED" not in str(result)


def test_check_kubeconfig_cut_off_where_it_is_still_yaml(host: Host) -> None:
    path = host.kubernetes / "scheduler.conf"
    path.write_text(path.read_text().partition("users:")[0])
    found = host.check()["findings"]
    assert [(each["severity"], each["kind"], each["where"]) for each in found] == [
        ("critical", "unreadable", "/etc/kubernetes/scheduler.conf")
    ]
    user = yaml.safe_load(path.read_text())["contexts"][0]["context"]["user"]
    path.write_text(f"{path.read_text()}users: [{{name: '{user}', user: {{token: PLANTED}}}}]\n")
    result = host.check()
    assert result["findings"] == []
    assert "PLANTED" not in str(result)


def test_check_manifest_that_is_no_yaml_is_told(host: Host) -> None:
    (host.kubernetes / "manifests/kube-apiserver.yaml").write_text("a: [PLANTED")
    result = host.check()
    assert any(each["kind"] == "not_looked_at" for each in result["findings"])
    assert result["counts"]["certificates"] > 10


def test_check_by_somebody_who_may_not_read_keys_says_so_and_no_more(made: Host) -> None:
    made.check()  # whatever is imported late is there by now
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        shutil.copytree(made.root, Path(name) / "cp1", symlinks=True)
        host = Host(Path(name) / "cp1", made.pki)
        for path in host.kubernetes.glob("manifests/*"):
            path.chmod(0o644)
        with nobody():
            result = host.check()
    assert result["counts"]["certificates"] == 11
    assert {(each["severity"], each["kind"]) for each in result["findings"]} == {
        ("critical", "not_looked_at"),
        ("warning", "not_looked_at"),
    }
    assert {each["action"] for each in result["findings"]} == {
        "Run it with become, and check again."
    }
    assert {each["name"] for each in result["findings"] if each["severity"] == "warning"} == {None}
    where = {each["where"]: each["message"] for each in result["findings"]}
    assert "Run the task with become" in where[f"{PKI}/apiserver.key"]
    assert "/etc/kubernetes/scheduler.conf" in where
    assert "/var/lib/kubelet/pki/kubelet-client-current.pem" in where


@contextlib.contextmanager
def nobody() -> t.Iterator[None]:
    """Be somebody without rights."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_check_key_of_flags_wins_over_the_one_beside(host: Host) -> None:
    write(host.folder / "other.key", private_pem(new_key()))
    manifest = host.kubernetes / "manifests/kube-apiserver.yaml"
    text = manifest.read_text().replace(f"{PKI}/apiserver.key", f"{PKI}/other.key")
    manifest.write_text(text)
    found = [each for each in host.check()["findings"] if each["kind"] == "key_mismatch"]
    assert [each["where"] for each in found] == [f"{PKI}/apiserver.crt"]
    assert f"{PKI}/other.key" in found[0]["message"]


def test_check_sa_pub_of_another_key(host: Host) -> None:
    write(host.folder / "sa.pub", public_pem(new_key()))
    found = host.check()["findings"]
    assert [(each["severity"], each["kind"], each["where"]) for each in found] == [
        ("critical", "key_mismatch", f"{PKI}/sa.pub")
    ]


def test_check_paths_only_these(host: Host) -> None:
    result = host.check(paths=("/etc/kubernetes/pki/etcd", "/etc/kubernetes/kubelet.conf"))
    names = {each["name"] for each in result["certificates"]}
    paths = {each["path"] for each in result["certificates"]}
    assert result["layout"] == ""
    assert f"{PKI}/etcd/server.crt" in paths
    assert any(path.endswith("kubelet-client-2026-11-01-00-00-00.pem") for path in paths)
    assert f"{PKI}/apiserver.crt" not in paths
    assert names


def test_check_paths_folder_of_kubeadm_knows_its_names(host: Host) -> None:
    result = host.check(paths=(PKI,))
    assert result["findings"] == []
    assert {each["role"] for each in result["certificates"]} >= {"apiserver", "etcd/server", "ca"}


def test_check_paths_bundle_der_and_text_around_it(tmp_path: Path) -> None:
    ca = authority("somebody")
    leaf = issue(ca, "leaf", usages=(SERVER, CLIENT), names=["a.example"])
    write(
        tmp_path / "bundle.pem",
        b"Subject: x\n" + leaf.certificate_pem + b"\n# CA\n" + ca.certificate_pem,
    )
    write(tmp_path / "leaf.der", leaf.certificate.public_bytes(Encoding.DER))
    result = look_at("/", paths=(str(tmp_path),))
    assert [each["subject"] for each in result["certificates"]] == [
        "CN=leaf",
        "CN=leaf",
        "CN=somebody",
    ]
    assert [each for each in result["findings"] if each["severity"] != "info"] == []


def test_check_paths_are_absolute(host: Host) -> None:
    with pytest.raises(OptionInvalid, match="etc/kubernetes is not an absolute path"):
        host.check(paths=("etc/kubernetes",))


@pytest.mark.parametrize("kind", ["nothing", "folder", "text"])
def test_check_paths_that_hold_nothing_are_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("hello")
    with pytest.raises(OptionInvalid, match=str(path)):
        look_at("/", paths=(str(path),))


def test_check_paths_one_that_is_not_there_is_told(host: Host) -> None:
    found = host.findings(paths=(PKI, "/etc/kubernetes/nowhere.crt"))
    assert [(kind, where) for _severity, kind, where in found] == [
        ("missing", "/etc/kubernetes/nowhere.crt")
    ]


def test_check_kubespray(tmp_path: Path) -> None:
    node = Node("node1", "10.0.0.11", "3.6.16", tmp_path, "", 2379, 2380, 2381, 6443)
    kubespray.write_tree(node, ClusterPki(), [node], endpoint="lb.example.com")
    result = look_at(tmp_path)
    assert result["layout"] == "systemd"
    assert result["findings"] == []
    roles = {each["path"]: each["role"] for each in result["certificates"]}
    assert roles["/etc/ssl/etcd/ssl/member-node1.pem"] == "etcd/server"
    assert roles["/etc/ssl/etcd/ssl/node-node1.pem"] == "apiserver-etcd-client"
    # One certificate serves clients and peers: it needs the names of both.
    env = tmp_path / "etc/etcd.env"
    env.write_text(
        env.read_text().replace(
            "ETCD_INITIAL_ADVERTISE_PEER_URLS=https://10.0.0.11",
            "ETCD_INITIAL_ADVERTISE_PEER_URLS=https://10.9.9.9",
        )
    )
    found = look_at(tmp_path)["findings"]
    assert [(each["kind"], each["where"]) for each in found] == [
        ("names_missing", "/etc/ssl/etcd/ssl/member-node1.pem")
    ]
    assert "10.9.9.9" in found[0]["message"]


@pytest.mark.parametrize("kind", ["k3s", "rke2"])
def test_check_rancher(tmp_path: Path, kind: str) -> None:
    build(kind, tmp_path)
    result = look_at(tmp_path)
    assert result["layout"] == kind
    server = f"/var/lib/rancher/{kind}/server"
    roles = {each["path"]: each["role"] for each in result["certificates"]}
    assert roles[f"{server}/tls/etcd/server-client.crt"] == "etcd/server"
    assert roles[f"{server}/tls/client-controller.crt"] == "controller-manager.conf"
    assert roles[f"/var/lib/rancher/{kind}/agent/client-ca.crt"] == "client-ca"
    # The recorded tree's leaves are all made for clients, and have no names.
    assert {each["kind"] for each in result["findings"]} == {"names_missing", "usage"}
    assert all(each["used"] for each in result["certificates"])
