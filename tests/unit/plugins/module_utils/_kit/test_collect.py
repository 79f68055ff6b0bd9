# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken of a host, and what is said of the rest."""

from __future__ import annotations

import os
import shutil
import socket
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import KitError, LayoutError
from ansible_collections.controlplane.etcd.plugins.module_utils._kit import facts, take
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.take import Plan
from lab.pki import write

KUBEADM_TABLE = {
    *(
        f"{pair}.{suffix}"
        for pair in (
            "ca",
            "apiserver",
            "apiserver-kubelet-client",
            "apiserver-etcd-client",
            "front-proxy-ca",
            "front-proxy-client",
            "etcd/ca",
            "etcd/server",
            "etcd/peer",
            "etcd/healthcheck-client",
        )
        for suffix in ("crt", "key")
    ),
    "sa.key",
    "sa.pub",
}


def look(root: Path, **options: t.Any) -> Plan:
    return take.plan(take.Options(host="cp1", root=str(root), **options))


def taken(plan: Plan, part: str | None = None) -> dict[str, t.Any]:
    return {file.path: file for file in plan.collection.files if part is None or file.part == part}


def all_files(root: Path) -> set[str]:
    return {
        f"/{p.relative_to(root)}" for p in root.rglob("*") if p.is_file() and not p.is_symlink()
    }


def edit_flag(root: Path, component: str, *flags: str) -> None:
    """Add flags to a component's manifest."""
    path = root / "etc/kubernetes/manifests" / f"{component}.yaml"
    pod = yaml.safe_load(path.read_text())
    pod["spec"]["containers"][0]["command"] += flags
    path.write_text(yaml.safe_dump(pod))


def mount(root: Path, component: str, host: str, inside: str, kind: str = "Directory") -> None:
    path = root / "etc/kubernetes/manifests" / f"{component}.yaml"
    pod = yaml.safe_load(path.read_text())
    name = f"v{len(pod['spec']['volumes'])}"
    pod["spec"]["volumes"].append({"name": name, "hostPath": {"path": host, "type": kind}})
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": name, "mountPath": inside})
    path.write_text(yaml.safe_dump(pod))


def test_kubeadm_host_is_taken_whole(kubeadm_host: Path) -> None:
    plan = look(kubeadm_host)
    assert plan.layout == "kubeadm"
    assert set(plan.collection.present) >= KUBEADM_TABLE | {
        "admin.conf",
        "super-admin.conf",
        "controller-manager.conf",
        "scheduler.conf",
        "kubelet.conf",
        "kubelet/client-current.pem",
        "kubelet/config.yaml",
        "kubelet/kubeadm-flags.env",
        "manifests/etcd.yaml",
        "manifests/kube-apiserver.yaml",
        "encryption-config",
        "admission-control-config",
        "audit-policy",
    }
    assert plan.collection.missing == ()
    assert plan.warnings == ()
    assert set(taken(plan)) == all_files(kubeadm_host)


def test_encryption_config_lies_in_its_own_part_only(kubeadm_host: Path) -> None:
    copy = kubeadm_host / "etc/kubernetes/pki/encryption.yaml.bak"
    shutil.copy(kubeadm_host / "etc/kubernetes/enc/encryption-config.yaml", copy)
    plan = look(kubeadm_host)
    assert set(taken(plan, "encryption")) == {
        "/etc/kubernetes/enc/encryption-config.yaml",
        "/etc/kubernetes/pki/encryption.yaml.bak",
    }
    assert b"PLANTED-SECRET" not in b"".join(
        file.content.data for file in taken(plan, "pki").values()
    )
    assert plan.encryption == facts.Encryption(
        ("aescbc", "secretbox", "identity"), ("aescbc/key1", "secretbox/key2"), ()
    )


def test_references_are_followed_through_files_and_mounts(kubeadm_host: Path) -> None:
    root = kubeadm_host
    write(
        root / "opt/company/admission/control.yaml",
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
        "- name: ImagePolicyWebhook\n  path: deeper/policy.yaml\n",
    )
    write(
        root / "opt/company/admission/deeper/policy.yaml",
        "imagePolicy:\n  kubeConfigFile: /inside/deeper/hook.conf\n",
    )
    write(
        root / "opt/company/admission/deeper/hook.conf",
        "kind: Config\nclusters:\n- cluster: {certificate-authority: hook-ca.crt}\n"
        "users:\n- user: {client-certificate: /inside/c.crt, client-key: ../c.key}\n",
    )
    for name in ("deeper/hook-ca.crt", "c.crt", "c.key"):
        write(root / "opt/company/admission" / name, f"content of {name}")
    write(
        root / "opt/company/authz.yaml",
        (
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n"
            "- type: Webhook\n  webhook:\n    connectionInfo:\n      type: KubeConfigFile\n"
            "      kubeConfigFile: /inside/deeper/hook.conf\n"
        ),
    )
    write(root / "opt/company/oidc.pem", (root / "etc/kubernetes/pki/ca.crt").read_bytes())
    write(root / "opt/company/sni.crt", "sni")
    write(root / "opt/company/sni.key", "sni key")
    mount(root, "kube-apiserver", "/opt/company/admission", "/inside")
    mount(root, "kube-apiserver", "/opt/company", "/outer")
    edit_flag(
        root,
        "kube-apiserver",
        "--admission-control-config-file",
        "/inside/control.yaml",
        "--authorization-config=/outer/authz.yaml",
        "--oidc-ca-file=/outer/oidc.pem",
        "--tls-sni-cert-key=/outer/sni.crt,/outer/sni.key:*.example.test",
    )
    plan = look(root)
    assert plan.warnings == ()
    assert {path for path in taken(plan) if path.startswith("/opt")} == {
        path for path in all_files(root) if path.startswith("/opt")
    }
    assert {"authorization-config", "oidc-ca.crt", "apiserver-sni"} <= set(plan.collection.present)
    hook = taken(plan)["/opt/company/admission/deeper/hook.conf"]
    assert hook.names == ()
    assert set(hook.why) == {"policy.yaml kubeConfigFile", "authz.yaml kubeConfigFile"}


def test_missing_reference_is_named_and_no_failure(kubeadm_host: Path) -> None:
    (kubeadm_host / "etc/kubernetes/audit/policy.yaml").unlink()
    (kubeadm_host / "etc/kubernetes/pki/sa.key").unlink()
    edit_flag(kubeadm_host, "kube-apiserver", "--oidc-ca-file=/nowhere/oidc.pem")
    plan = look(kubeadm_host)
    assert plan.collection.missing == ("audit-policy", "oidc-ca.crt", "sa.key")
    text = "\n".join(plan.warnings)
    assert (
        "kube-apiserver.yaml --audit-policy-file references /etc/kubernetes/audit/policy.yaml, "
        "which is not in the kit: there is no such file." in text
    )
    assert "/nowhere/oidc.pem, which is not in the kit: no volume of the host" in text


def test_control_plane_without_etcd_has_a_kit(kubeadm_host: Path) -> None:
    (kubeadm_host / "etc/kubernetes/manifests/etcd.yaml").unlink()
    shutil.rmtree(kubeadm_host / "etc/kubernetes/pki/etcd")
    write(kubeadm_host / "etc/kubernetes/pki/etcd/ca.crt", "external etcd's authority")
    plan = look(kubeadm_host)
    assert plan.layout == "kubeadm"
    assert plan.collection.missing == ()
    assert "etcd/ca.crt" in plan.collection.present


def test_broken_manifest_leaves_the_rest(kubeadm_host: Path) -> None:
    (kubeadm_host / "etc/kubernetes/manifests/kube-apiserver.yaml").write_text("kind: [Pod\n")
    plan = look(kubeadm_host)
    assert {"sa.key", "ca.key", "etcd/server.key"} <= set(plan.collection.present)
    assert any("kube-apiserver.yaml" in warning for warning in plan.warnings)


def test_refused_layout_stays_refused(kubeadm_host: Path) -> None:
    shutil.rmtree(kubeadm_host / "etc/kubernetes/manifests")
    (kubeadm_host / "var/lib/k0s").mkdir(parents=True)
    with pytest.raises(LayoutError, match="k0s"):
        look(kubeadm_host)


def test_empty_host_fails(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="No etcd member found"):
        look(tmp_path)
    (tmp_path / "var/lib/rancher/k3s/server/db/etcd").mkdir(parents=True)


def test_nothing_at_all_fails(kubeadm_host: Path) -> None:
    with pytest.raises(KitError, match="Nothing of a control plane was found"):
        look(kubeadm_host, exclude=("*",))


def test_without_ca_keys_none_is_in_it(kubeadm_host: Path) -> None:
    # A CA key under a name that nobody knows, and one inside a bundle.
    pki = kubeadm_host / "etc/kubernetes/pki"
    shutil.copy(pki / "ca.key", pki / "old-copy.pem")
    (pki / "both.pem").write_bytes(
        (pki / "etcd/ca.crt").read_bytes() + (pki / "etcd/ca.key").read_bytes()
    )
    plan = look(kubeadm_host, include_ca_keys=False)
    assert plan.collection.excluded == ("ca.key", "etcd/ca.key", "front-proxy-ca.key")
    assert plan.collection.missing == ()
    assert {"sa.key", "apiserver.key", "ca.crt"} <= set(plan.collection.present)
    keys = [(pki / name).read_bytes() for name in ("ca.key", "etcd/ca.key", "front-proxy-ca.key")]
    data = b"\n".join(file.content.data for file in taken(plan).values())
    assert not any(key.strip() in data for key in keys)
    assert not any(b"old-copy" in path.encode() for path in taken(plan))


def test_kubespray_host_is_taken_whole(kubespray_host: Path) -> None:
    plan = look(kubespray_host)
    assert plan.layout == "systemd"
    assert plan.collection.missing == ()
    assert plan.warnings == ()
    assert set(taken(plan)) == all_files(kubespray_host)
    assert {
        "etcd/ca.crt",
        "etcd/ca.key",
        "etcd/server.crt",
        "etcd/server.key",
        "etcd/peer.crt",
        "etcd/peer.key",
        "etcd/environment",
        "etcd/etcd.service",
        "apiserver-etcd-client.crt",
        "kubeadm-config",
        "sa.key",
    } <= set(plan.collection.present)
    links = {link.path: link.target for link in plan.collection.links}
    assert links["/etc/kubernetes/pki"] == "/etc/kubernetes/ssl"
    member = taken(plan)["/etc/ssl/etcd/ssl/member-cp1.pem"]
    assert member.names == ("etcd/server.crt", "etcd/peer.crt")


@pytest.mark.parametrize("name", ["k3s", "rke2"])
def test_recorded_tree_is_taken_whole(name: str, recorded: t.Callable[[str], Path]) -> None:
    root = recorded(name)
    plan = look(root)
    assert plan.layout == name
    assert plan.collection.missing == ()
    assert plan.warnings == ()
    data = f"/var/lib/rancher/{name}/server/db/etcd/member/snap/db"
    assert all_files(root) - set(taken(plan)) == {data}
    assert {
        "admission-control-config",
        "audit-policy",
        "ca.crt",
        "ca.key",
        "client-ca.key",
        "encryption-config",
        "etcd/ca.key",
        "etcd/peer-ca.key",
        "etcd/server.key",
        "sa.key",
        "token",
        "node-password",
    } <= set(plan.collection.present)
    assert set(taken(plan, "encryption")) == {
        f"/var/lib/rancher/{name}/server/cred/encryption-config.json",
        f"/var/lib/rancher/{name}/server/cred/encryption-state.json",
    }
    assert plan.encryption.key_names == ("aescbc/aescbckey",)
    assert f"/var/lib/rancher/{name}/server/node-token" in {
        link.path for link in plan.collection.links
    }
    without = look(root, include_ca_keys=False)
    assert not any("-ca.key" in path for path in taken(without))
    assert f"/var/lib/rancher/{name}/server/tls/service.key" in taken(without)


def test_link_out_of_the_tree_is_kept_but_not_followed(kubeadm_host: Path) -> None:
    write(kubeadm_host / "etc/shadow", "PLANTED root:$6$secret")
    write(kubeadm_host / "srv/keys/more.crt", "far away")
    pki = kubeadm_host / "etc/kubernetes/pki"
    (pki / "innocent.crt").symlink_to("/etc/shadow")
    (pki / "climbing.crt").symlink_to("../../../etc/shadow")
    (pki / "folder").symlink_to("/srv/keys")
    plan = look(kubeadm_host)
    assert "/etc/shadow" not in taken(plan)
    assert "/srv/keys/more.crt" not in taken(plan)
    links = {link.path for link in plan.collection.links}
    assert {
        f"/etc/kubernetes/pki/{name}" for name in ("innocent.crt", "climbing.crt", "folder")
    } <= links
    text = "\n".join(plan.warnings)
    assert "/etc/kubernetes/pki/innocent.crt is a link to /etc/shadow, outside" in text
    more = look(kubeadm_host, extra_paths=("/srv/keys",))
    assert "/srv/keys/more.crt" in taken(more)


def test_referenced_link_out_of_the_tree_is_followed_and_said(kubeadm_host: Path) -> None:
    policy = kubeadm_host / "etc/kubernetes/audit/policy.yaml"
    write(kubeadm_host / "srv/shared/policy.yaml", policy.read_bytes())
    policy.unlink()
    policy.symlink_to("/srv/shared/policy.yaml")
    plan = look(kubeadm_host)
    assert taken(plan)["/srv/shared/policy.yaml"].names == ("audit-policy",)
    assert any(
        "/etc/kubernetes/audit/policy.yaml is a link to /srv/shared/policy.yaml" in warning
        and "--audit-policy-file references it" in warning
        for warning in plan.warnings
    )


def test_loops_specials_and_giants_do_not_stop_it(kubeadm_host: Path) -> None:
    pki = kubeadm_host / "etc/kubernetes/pki"
    (pki / "loop-a").symlink_to("loop-b")
    (pki / "loop-b").symlink_to("loop-a")
    (pki / "self").symlink_to(".")
    (pki / "dangling.crt").symlink_to("gone.crt")
    os.mkfifo(pki / "fifo.key")
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(pki)  # a socket's path is short
    try:
        listener.bind("socket.crt")
    finally:
        os.chdir(here)
    with (pki / "giant.pem").open("wb") as giant:
        giant.truncate((16 << 20) + 1)
    plan = look(kubeadm_host)
    listener.close()
    assert plan.collection.missing == ()
    assert set(plan.collection.present) >= KUBEADM_TABLE
    text = "\n".join(plan.warnings)
    for piece in (
        "loop-a runs through",
        "fifo.key is no plain file: a FIFO",
        "socket.crt",
        "giant.pem has 16777217",
    ):
        assert piece in text


def test_name_that_is_no_utf8_is_taken(kubeadm_host: Path) -> None:
    odd = os.fsencode(kubeadm_host / "etc/kubernetes/pki") + b"/caf\xe9\n.crt"
    Path(os.fsdecode(odd)).write_text("odd")
    plan = look(kubeadm_host)
    assert [path for path in taken(plan) if "caf" in path] == [
        "/etc/kubernetes/pki/caf\udce9\n.crt"
    ]
    shown = [each["path"] for each in take.contents(plan) if "caf" in each["path"]]
    assert shown == ["/etc/kubernetes/pki/caf\\xe9\\x0a.crt"]


def test_yaml_bomb_and_deep_nesting_are_survived(kubeadm_host: Path) -> None:
    levels = "\n".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]" for n in range(20)
    )
    write(kubeadm_host / "etc/kubernetes/bomb.yaml", f"a: &a [x]\n{levels}\n")
    write(kubeadm_host / "etc/kubernetes/deep.yaml", "a: " + "[" * 20000)
    write(kubeadm_host / "etc/kubernetes/cycle.yaml", "a: &a\n  b: *a\n")
    plan = look(kubeadm_host)
    assert {f"/etc/kubernetes/{n}.yaml" for n in ("bomb", "deep", "cycle")} <= set(taken(plan))
    assert any("deep.yaml was taken, but" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    "text",
    [
        "kind: Pod\nspec: []\n",
        "kind: Pod\nspec: {containers: [1, {command: {a: b}, volumeMounts: [x]}], volumes: [null, {hostPath: 1}]}\n",
        "kind: Pod\nspec: {containers: [{command: [[1], {}, null], env: [1, {name: 1}]}]}\n",
        "- just\n- a list\n",
    ],
)
def test_odd_manifest_of_another_pod_is_survived(kubeadm_host: Path, text: str) -> None:
    write(kubeadm_host / "etc/kubernetes/manifests/odd.yaml", text)
    assert "/etc/kubernetes/manifests/odd.yaml" in taken(look(kubeadm_host))


def test_other_static_pods_bring_their_files(kubeadm_host: Path) -> None:
    pod = {
        "kind": "Pod",
        "spec": {
            "containers": [
                {
                    "command": ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"],
                    "volumeMounts": [
                        {"name": "c", "mountPath": "/usr/local/etc/haproxy/haproxy.cfg"},
                        {"name": "z", "mountPath": "/etc/localtime"},
                    ],
                }
            ],
            "volumes": [
                {"name": "c", "hostPath": {"path": "/etc/haproxy/haproxy.cfg", "type": "File"}},
                {"name": "z", "hostPath": {"path": "/etc/localtime"}},
            ],
        },
    }
    write(kubeadm_host / "etc/kubernetes/manifests/haproxy.yaml", yaml.safe_dump(pod))
    write(kubeadm_host / "etc/haproxy/haproxy.cfg", "frontend apiserver\n")
    write(kubeadm_host / "etc/localtime", "TZif")
    plan = look(kubeadm_host)
    assert "/etc/haproxy/haproxy.cfg" in taken(plan)
    assert "/etc/localtime" not in taken(plan)


def test_kubelet_unit_brings_its_files(kubeadm_host: Path) -> None:
    dropin = kubeadm_host / "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf"
    write(
        dropin,
        '[Service]\nEnvironment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig='
        '/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/srv/kubelet/kubelet.conf"\n'
        "EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\nExecStart=\n"
        "ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS\n",
    )
    write(
        kubeadm_host / "usr/lib/systemd/system/kubelet.service",
        "[Service]\nExecStart=/usr/bin/kubelet\n",
    )
    write(kubeadm_host / "usr/bin/kubelet", "a program")
    kubelet_conf = kubeadm_host / "etc/kubernetes/kubelet.conf"
    write(kubeadm_host / "srv/kubelet/kubelet.conf", kubelet_conf.read_bytes())
    (kubeadm_host / "lib").symlink_to("usr/lib")
    plan = look(kubeadm_host)
    assert {"kubelet/kubelet.service", "kubelet/kubelet.service.d"} <= set(plan.collection.present)
    assert taken(plan)["/srv/kubelet/kubelet.conf"].names == ("kubelet.conf",)
    assert "/usr/bin/kubelet" not in taken(plan)
    assert "/lib" not in {link.path for link in plan.collection.links}
    assert not plan.warnings, "bootstrap-kubelet.conf is gone once a kubelet has joined"


def test_kms_is_noted_and_its_socket_left(kubeadm_host: Path) -> None:
    write(
        kubeadm_host / "etc/kubernetes/enc/encryption-config.yaml",
        "kind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n"
        "  - kms: {apiVersion: v2, name: vault, endpoint: 'unix:///run/kms/kms.sock'}\n"
        "  - aesgcm: {keys: [{name: k1, secret: UExBTlRFRC1TRUNSRVQtMQ==}]}\n",
    )
    plan = look(kubeadm_host)
    record = take.record(plan, (), {"pki": (), "encryption": ()})
    assert record["kms_needed"] is True
    assert record["encryption"] == {
        "providers": ["kms-v2", "aesgcm"],
        "key_names": ["kms-v2/vault", "aesgcm/k1"],
    }
    assert any("KMS plugin(s) vault" in warning for warning in plan.warnings)
    assert "UExBTlRFRA" not in repr(record)


def test_certificates_are_told_by_standard_names(kubeadm_host: Path) -> None:
    write(
        kubeadm_host / "etc/kubernetes/pki/acme-corp.crt",
        (kubeadm_host / "etc/kubernetes/pki/ca.crt").read_bytes(),
    )
    found = {each.name for each in look(kubeadm_host).certificates}
    assert {"apiserver.crt", "etcd/ca.crt", "admin.conf", "kubelet/client-current.pem"} <= found
    assert not any("acme" in name for name in found)


def test_everything_is_below_a_loopback_hosts_folder(tmp_path: Path, pki: t.Any) -> None:
    from lab import kubeadm
    from lab.static_pods import EtcdSettings, Node

    root = tmp_path / "cp1"
    node = Node("cp1", "127.0.0.1", "3.6.16", root, str(root), 2379, 2380, 2381, 6443)
    kubeadm.write_tree(node, pki, EtcdSettings("cp1=https://127.0.0.1:2380"), first=True)
    plan = take.plan(take.Options(host="cp1", static_pod_path=f"{root}/etc/kubernetes/manifests"))
    assert {file.path for file in plan.collection.files} == {
        str(path) for path in root.rglob("*") if path.is_file() and not path.is_symlink()
    }
    assert plan.collection.missing == ()
