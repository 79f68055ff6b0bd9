# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the files that kubespray leaves on a control-plane host with etcd as a systemd unit.

After its templates etcd.env.j2 and etcd-host.service.j2 (roles/etcd) and its certificate names
(gen_certs_script): /etc/etcd.env, /etc/ssl/etcd/ssl/{ca,member-HOST,admin-HOST,node-HOST}.pem.
"""

from __future__ import annotations

import typing as t

import yaml

from lab import kubeadm, versions
from lab.pki import CLIENT, SERVER, ClusterPki, issue, write
from lab.static_pods import EtcdSettings, Node

SSL = "/etc/ssl/etcd/ssl"

UNIT = """\
[Unit]
Description=etcd
After=network.target

[Service]
Type=notify
User=root
EnvironmentFile=/etc/etcd.env
ExecStart=/usr/local/bin/etcd
NotifyAccess=all
Restart=always
RestartSec=10s
LimitNOFILE=20000

[Install]
WantedBy=multi-user.target
"""


def environment(node: Node, nodes: t.Sequence[Node]) -> str:
    """Return /etc/etcd.env."""
    member = f"{SSL}/member-{node.name}"
    number = [each.name for each in nodes].index(node.name) + 1
    initial = ",".join(f"etcd{at + 1}={each.peer_url}" for at, each in enumerate(nodes))
    corrupt_check = (
        "ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=True"
        if versions.minor(node.etcd_version) in ("3.4", "3.5")
        else "ETCD_FEATURE_GATES=InitialCorruptCheck=true"
    )
    return "\n".join(
        [
            f"# Environment file for etcd {node.etcd_version}",
            "ETCD_DATA_DIR=/var/lib/etcd",
            f"ETCD_ADVERTISE_CLIENT_URLS={node.client_url}",
            f"ETCD_INITIAL_ADVERTISE_PEER_URLS={node.peer_url}",
            "ETCD_INITIAL_CLUSTER_STATE=new",
            "ETCD_METRICS=basic",
            f"ETCD_LISTEN_CLIENT_URLS={node.client_url},https://127.0.0.1:2379",
            "ETCD_ELECTION_TIMEOUT=5000",
            "ETCD_HEARTBEAT_INTERVAL=250",
            "ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd",
            f"ETCD_LISTEN_PEER_URLS={node.peer_url}",
            f"ETCD_NAME=etcd{number}",
            f"ETCD_INITIAL_CLUSTER={initial}",
            "ETCD_AUTO_COMPACTION_RETENTION=8",
            "ETCD_SNAPSHOT_COUNT=10000",
            "",
            "# TLS settings",
            f"ETCD_TRUSTED_CA_FILE={SSL}/ca.pem",
            f"ETCD_CERT_FILE={member}.pem",
            f"ETCD_KEY_FILE={member}-key.pem",
            "ETCD_CLIENT_CERT_AUTH=true",
            "",
            f"ETCD_PEER_TRUSTED_CA_FILE={SSL}/ca.pem",
            f"ETCD_PEER_CERT_FILE={member}.pem",
            f"ETCD_PEER_KEY_FILE={member}-key.pem",
            "ETCD_PEER_CLIENT_CERT_AUTH=True",
            "",
            corrupt_check,
            "",
            "# CLI settings",
            "ETCDCTL_ENDPOINTS=https://127.0.0.1:2379",
            f"ETCDCTL_CACERT={SSL}/ca.pem",
            f"ETCDCTL_KEY={SSL}/admin-{node.name}-key.pem",
            f"ETCDCTL_CERT={SSL}/admin-{node.name}.pem",
            "",
        ]
    )


def write_tree(node: Node, pki: ClusterPki, nodes: t.Sequence[Node], *, endpoint: str) -> None:
    """Write kubeadm's part, then take out its etcd and put kubespray's in."""
    first = node.name == nodes[0].name
    kubeadm.write_tree(node, pki, EtcdSettings(""), first=first, endpoint=endpoint)
    kubernetes = node.root / "etc" / "kubernetes"
    (kubernetes / "manifests" / "etcd.yaml").unlink()
    for path in sorted((kubernetes / "pki" / "etcd").iterdir()):
        path.unlink()
    (kubernetes / "pki" / "etcd").rmdir()
    for suffix in ("crt", "key"):
        (kubernetes / "pki" / f"apiserver-etcd-client.{suffix}").unlink()
    (kubernetes / "pki").rename(kubernetes / "ssl")
    (kubernetes / "pki").symlink_to("/etc/kubernetes/ssl")
    manifest = kubernetes / "manifests" / "kube-apiserver.yaml"
    text = manifest.read_text()
    for old, new in (
        ("/etc/kubernetes/pki/etcd/ca.crt", f"{SSL}/ca.pem"),
        ("/etc/kubernetes/pki/apiserver-etcd-client.crt", f"{SSL}/node-{node.name}.pem"),
        ("/etc/kubernetes/pki/apiserver-etcd-client.key", f"{SSL}/node-{node.name}-key.pem"),
        ("/etc/kubernetes/pki", "/etc/kubernetes/ssl"),
    ):
        text = text.replace(old, new)
    # kubeadm mounts the folder of an external etcd's certificates (getEtcdCertVolumes).
    pod = yaml.safe_load(text)
    pod["spec"]["volumes"].append(
        {"hostPath": {"path": SSL, "type": "DirectoryOrCreate"}, "name": "etcd-certs-0"}
    )
    pod["spec"]["containers"][0]["volumeMounts"].append(
        {"mountPath": SSL, "name": "etcd-certs-0", "readOnly": True}
    )
    write(manifest, yaml.safe_dump(pod, default_flow_style=False, width=10000))
    ssl = node.root / SSL.lstrip("/")
    write(ssl / "ca.pem", pki.etcd_ca.certificate_pem)
    if first:
        write(ssl / "ca-key.pem", pki.etcd_ca.key_pem)
    names = ["localhost", node.name, *(each.address for each in nodes), "127.0.0.1", "::1"]
    for kind in ("member", "admin", "node"):
        usages = (SERVER, CLIENT) if kind == "member" else (CLIENT,)
        common_name = f"etcd-{kind}-{node.name}"
        pair = issue(pki.etcd_ca, common_name, usages=usages, names=names)
        write(ssl / f"{kind}-{node.name}.pem", pair.certificate_pem)
        write(ssl / f"{kind}-{node.name}-key.pem", pair.key_pem)
    write(node.root / "etc" / "etcd.env", environment(node, nodes), 0o640)
    write(node.root / "etc" / "systemd" / "system" / "etcd.service", UNIT, 0o644)
    kubeadm_config = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
    kubeadm_config += f"kubernetesVersion: v{node.kubernetes_version}\n"
    write(kubernetes / "kubeadm-config.yaml", kubeadm_config, 0o640)
