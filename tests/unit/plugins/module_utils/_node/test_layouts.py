# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts found in host trees: as kubeadm, kubespray, Debian, k3s, rke2 and hands leave them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import LayoutError
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import files, find
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import (
    LayoutKind,
)

TREES = Path(__file__).parents[3] / "fixtures" / "trees"

KUBESPRAY_UNIT = """\
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
LimitNOFILE=40000

[Install]
WantedBy=multi-user.target
"""
KUBESPRAY_DOCKER_UNIT = """\
[Service]
User=root
PermissionsStartOnly=true
EnvironmentFile=-/etc/etcd.env
ExecStart=/usr/bin/docker run --restart=on-failure:5 --env-file=/etc/etcd.env \\
  --net=host -v /etc/ssl/etcd/ssl:/etc/ssl/etcd/ssl:ro --name=etcd1 \\
  quay.io/coreos/etcd:v3.5.16 /usr/local/bin/etcd
"""
KUBESPRAY_ENV = """\
# Environment file for etcd 3.5.16
ETCD_DATA_DIR=/var/lib/etcd
ETCD_ADVERTISE_CLIENT_URLS=https://10.0.0.11:2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=https://10.0.0.11:2380
ETCD_INITIAL_CLUSTER_STATE=existing
ETCD_METRICS=basic
ETCD_LISTEN_CLIENT_URLS=https://10.0.0.11:2379,https://127.0.0.1:2379
ETCD_ELECTION_TIMEOUT=5000
ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd
ETCD_LISTEN_PEER_URLS=https://10.0.0.11:2380
ETCD_NAME=etcd1
ETCD_PROXY=off
ETCD_INITIAL_CLUSTER=etcd1=https://10.0.0.11:2380,etcd2=https://10.0.0.12:2380
ETCD_QUOTA_BACKEND_BYTES="8589934592"
# TLS settings
ETCD_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem
ETCD_CERT_FILE=/etc/ssl/etcd/ssl/member-node1.pem
ETCD_KEY_FILE=/etc/ssl/etcd/ssl/member-node1-key.pem
ETCD_CLIENT_CERT_AUTH=true
# CLI settings
ETCDCTL_ENDPOINTS=https://127.0.0.1:2379
ETCDCTL_CACERT=/etc/ssl/etcd/ssl/ca.pem
ETCDCTL_KEY=/etc/ssl/etcd/ssl/admin-node1-key.pem
ETCDCTL_CERT=/etc/ssl/etcd/ssl/admin-node1.pem
"""
DEBIAN_UNIT = """\
[Service]
Environment=ETCD_DATA_DIR=/var/lib/etcd/default
EnvironmentFile=-/etc/default/%p
Type=notify
User=etcd
ExecStart=/usr/bin/etcd $DAEMON_ARGS
"""
CENTOS_UNIT = """\
[Service]
WorkingDirectory=/var/lib/etcd/
EnvironmentFile=-/etc/etcd/etcd.conf
ExecStart=/bin/bash -c "GOMAXPROCS=$(nproc) /usr/bin/etcd --name=\\"${ETCD_NAME}\\" --data-dir=\\"${ETCD_DATA_DIR}\\""
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def put(root: Path, path: str, text: str = "") -> Path:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def pod(
    component: str = "etcd",
    *,
    command: list[str],
    args: list[str] | None = None,
    mounts: dict[str, str] | None = None,
    env: list[dict[str, t.Any]] | None = None,
    image: str = "registry.k8s.io/etcd:3.6.5-0",
) -> str:
    """Return a manifest; `mounts` is container path -> host path."""
    given = mounts or {}
    container = {
        "name": component,
        "image": image,
        "command": command,
        "args": args or [],
        "env": env or [],
        "volumeMounts": [{"name": f"v{n}", "mountPath": path} for n, path in enumerate(given)],
    }
    volumes = [
        {"name": f"v{n}", "hostPath": {"path": path}} for n, path in enumerate(given.values())
    ]
    spec = {"containers": [container], "volumes": volumes}
    return yaml.safe_dump({"kind": "Pod", "metadata": {"name": component}, "spec": spec})


KUBEADM_FLAGS = {
    "name": "cp1",
    "data-dir": "/var/lib/etcd",
    "listen-client-urls": "https://10.0.0.11:2379,https://127.0.0.1:2379",
    "initial-advertise-peer-urls": "https://10.0.0.11:2380",
    "trusted-ca-file": "/etc/kubernetes/pki/etcd/ca.crt",
    "cert-file": "/etc/kubernetes/pki/etcd/server.crt",
    "key-file": "/etc/kubernetes/pki/etcd/server.key",
}
KUBEADM_MOUNTS = {
    "/var/lib/etcd": "/var/lib/etcd",
    "/etc/kubernetes/pki/etcd": "/etc/kubernetes/pki/etcd",
}
MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"


def equals(flags: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def apart(flags: dict[str, str]) -> list[str]:
    return [word for name, value in flags.items() for word in (f"--{name}", value)]


@pytest.mark.parametrize(
    "manifest",
    [
        pod(command=["etcd", *equals(KUBEADM_FLAGS)], mounts=KUBEADM_MOUNTS),
        pod(command=["etcd", *apart(KUBEADM_FLAGS)], mounts=KUBEADM_MOUNTS),
        pod(command=["etcd"], args=equals(KUBEADM_FLAGS), mounts=KUBEADM_MOUNTS),
        pod(
            command=[
                "/bin/sh",
                "-ec",
                "exec /usr/local/bin/etcd " + " ".join(equals(KUBEADM_FLAGS)),
            ],
            mounts=KUBEADM_MOUNTS,
        ),
        pod(
            command=["etcd"],
            env=[
                {"name": "ETCD_" + name.upper().replace("-", "_"), "value": value}
                for name, value in KUBEADM_FLAGS.items()
            ],
            mounts=KUBEADM_MOUNTS,
        ),
        pod(
            command=["etcd", "--name=$(NODE)", *equals(KUBEADM_FLAGS)[1:]],
            env=[{"name": "NODE", "value": "cp1"}],
            mounts=KUBEADM_MOUNTS,
        ),
        pod(command=["etcd", *equals(KUBEADM_FLAGS)], mounts=KUBEADM_MOUNTS) + "---\nkind: Other\n",
    ],
    ids=["equals", "apart", "args", "shell", "environment", "expanded", "two-documents"],
)
def test_find_kubeadm_however_it_is_written(root: Path, manifest: str) -> None:
    put(root, MANIFEST, manifest)
    found = find.find(root=str(root))
    assert found.kind is LayoutKind.KUBEADM
    assert found.name == "cp1"
    assert found.data_dir == f"{root}/var/lib/etcd"
    assert found.endpoints == ("https://127.0.0.1:2379", "https://10.0.0.11:2379")
    assert found.peer_urls == ("https://10.0.0.11:2380",)
    assert found.cacert == f"{root}/etc/kubernetes/pki/etcd/ca.crt"
    assert found.cert == f"{root}/etc/kubernetes/pki/etcd/server.crt"
    assert found.key == f"{root}/etc/kubernetes/pki/etcd/server.key"
    assert found.certificates_dir == f"{root}/etc/kubernetes/pki"
    assert found.manifest == str(root) + MANIFEST
    assert found.etcd_version == "3.6.5"
    assert found.quota_bytes == 2 * 1024**3
    assert found.wal_dir is None


def test_find_kubeadm_maps_container_paths_to_the_host(root: Path) -> None:
    flags = {
        **KUBEADM_FLAGS,
        "data-dir": "/data/member0",
        "wal-dir": "/wal",
        "trusted-ca-file": "/certs/etcd/ca.crt",
        "quota-backend-bytes": "8589934592",
    }
    mounts = {"/data": "/srv/etcd", "/certs": "/opt/pki", "/wal": "/fast/wal"}
    put(root, MANIFEST, pod(command=["etcd", *equals(flags)], mounts=mounts))
    found = find.find(root=str(root))
    assert found.data_dir == f"{root}/srv/etcd/member0"
    assert found.wal_dir == f"{root}/fast/wal"
    assert found.cacert == f"{root}/opt/pki/etcd/ca.crt"
    assert found.certificates_dir == f"{root}/opt/pki"
    assert found.quota_bytes == 8589934592


def test_find_kubeadm_with_its_own_options(root: Path) -> None:
    put(root, "/elsewhere/pods/etcd.yaml", pod(command=["etcd", *equals(KUBEADM_FLAGS)]))
    found = find.find(
        "auto",
        certificates_dir="/my/pki",
        static_pod_path=f"{root}/elsewhere/pods",
        data_dir="/my/data",
        root=str(root),
    )
    assert (found.cacert, found.cert, found.key) == (
        "/my/pki/etcd/ca.crt",
        "/my/pki/etcd/server.crt",
        "/my/pki/etcd/server.key",
    )
    assert found.data_dir == "/my/data"


def test_find_kubeadm_of_plain_http_has_no_certificates(root: Path) -> None:
    flags = {"name": "cp1", "listen-client-urls": "http://0.0.0.0:2379"}
    put(root, MANIFEST, pod(command=["etcd", *equals(flags)]))
    found = find.find(root=str(root))
    assert found.endpoints == ("http://127.0.0.1:2379",)
    assert (found.cacert, found.cert, found.key) == (None, None, None)


def test_find_kubeadm_reads_the_api_server(root: Path) -> None:
    put(root, MANIFEST, pod(command=["etcd", *equals(KUBEADM_FLAGS)], mounts=KUBEADM_MOUNTS))
    put(
        root,
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
        pod(
            "kube-apiserver",
            command=[
                "kube-apiserver",
                "--etcd-prefix=/custom",
                "--encryption-provider-config=/enc/config.yaml",
                "--service-account-key-file=/pki/sa.pub",
                "--service-account-key-file=/pki/old-sa.pub",
            ],
            mounts={"/enc": "/etc/kubernetes/enc", "/pki": "/etc/kubernetes/pki"},
            image="registry.k8s.io/kube-apiserver:v1.34.4",
        ),
    )
    found = find.find(root=str(root))
    assert found.kubernetes_version == "1.34.4"
    assert found.etcd_prefix == "/custom"
    server = found.api_server
    assert server
    assert server.host_file("encryption-provider-config") == (
        f"{root}/etc/kubernetes/enc/config.yaml"
    )
    assert server.host_file("audit-policy-file") is None
    assert server.flags.get_all("service-account-key-file") == ("/pki/sa.pub", "/pki/old-sa.pub")
    assert server.host_path("/not/mounted") is None
    assert server.host_path("/pki2/x") is None, "a prefix of the name is no parent folder"


def test_find_kubeadm_takes_etcd_yaml_of_several(root: Path) -> None:
    events = {**KUBEADM_FLAGS, "data-dir": "/var/lib/etcd-events"}
    put(root, "/etc/kubernetes/manifests/etcd-events.yaml", pod(command=["etcd", *equals(events)]))
    put(root, MANIFEST, pod(command=["etcd", *equals(KUBEADM_FLAGS)]))
    assert find.find(root=str(root)).data_dir == f"{root}/var/lib/etcd"
    chosen = find.find(root=str(root), data_dir=f"{root}/var/lib/etcd-events")
    assert chosen.manifest == f"{root}/etc/kubernetes/manifests/etcd-events.yaml"


def test_find_kubeadm_with_several_of_other_names_asks(root: Path) -> None:
    for name in ("etcd-main", "etcd-events"):
        flags = {**KUBEADM_FLAGS, "data-dir": f"/var/lib/{name}"}
        put(root, f"/etc/kubernetes/manifests/{name}.yaml", pod(command=["etcd", *equals(flags)]))
    with pytest.raises(LayoutError, match=r"etcd-main\.yaml.*Set data_dir"):
        find.find(root=str(root))


def test_find_kubeadm_skips_what_is_not_its_own(root: Path) -> None:
    put(root, "/etc/kubernetes/manifests/kube-vip.yaml", "kind: [Pod\n")
    put(root, "/etc/kubernetes/manifests/.etcd.yaml.swp", "\0")
    put(root, "/etc/kubernetes/manifests/etcd.yaml.bak", "kind: [Pod\n")
    put(root, MANIFEST, pod(command=["etcd", *equals(KUBEADM_FLAGS)]))
    assert find.find(root=str(root)).name == "cp1"


def test_find_kubeadm_with_a_broken_manifest_names_file_and_line(root: Path) -> None:
    path = put(root, MANIFEST, "kind: Pod\nspec: [\n")
    with pytest.raises(LayoutError, match="line") as caught:
        find.find(root=str(root))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("unit", [KUBESPRAY_UNIT, KUBESPRAY_DOCKER_UNIT], ids=["host", "docker"])
def test_find_kubespray(root: Path, unit: str) -> None:
    put(root, "/etc/systemd/system/etcd.service", unit)
    put(root, "/etc/etcd.env", KUBESPRAY_ENV)
    found = find.find(root=str(root))
    assert found.kind is LayoutKind.SYSTEMD
    assert found.name == "etcd1"
    assert found.data_dir == f"{root}/var/lib/etcd"
    assert found.endpoints == ("https://127.0.0.1:2379", "https://10.0.0.11:2379")
    assert found.peer_urls == ("https://10.0.0.11:2380",)
    assert found.cert == f"{root}/etc/ssl/etcd/ssl/admin-node1.pem"
    assert found.key == f"{root}/etc/ssl/etcd/ssl/admin-node1-key.pem"
    assert found.cacert == f"{root}/etc/ssl/etcd/ssl/ca.pem"
    assert found.unit == f"{root}/etc/systemd/system/etcd.service"
    assert found.environment_file == f"{root}/etc/etcd.env"
    assert found.quota_bytes == 8589934592


def test_find_kubespray_beside_the_api_servers_manifest(root: Path) -> None:
    put(root, "/etc/systemd/system/etcd.service", KUBESPRAY_UNIT)
    put(root, "/etc/etcd.env", KUBESPRAY_ENV)
    put(
        root,
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
        pod(
            "kube-apiserver",
            command=["kube-apiserver", "--client-ca-file=/etc/kubernetes/ssl/ca.crt"],
            mounts={"/etc/kubernetes/ssl": "/etc/kubernetes/ssl"},
            image="registry.k8s.io/kube-apiserver:v1.33.2",
        ),
    )
    found = find.find(root=str(root))
    assert found.kind is LayoutKind.SYSTEMD
    assert found.kubernetes_version == "1.33.2"
    assert found.certificates_dir == f"{root}/etc/kubernetes/ssl"
    assert found.static_pod_path == f"{root}/etc/kubernetes/manifests"


def test_find_debian_package_with_its_defaults(root: Path) -> None:
    put(root, "/lib/systemd/system/etcd.service", DEBIAN_UNIT)
    put(root, "/etc/default/etcd", 'DAEMON_ARGS="--name deb --wal-dir /wal"\n#ETCD_NAME=no\n')
    found = find.find(root=str(root))
    assert found.name == "deb"
    assert found.data_dir == f"{root}/var/lib/etcd/default"
    assert found.wal_dir == f"{root}/wal"
    assert found.endpoints == ("http://localhost:2379",)
    assert found.cert is None


def test_find_centos_shell_wrapper(root: Path) -> None:
    put(root, "/usr/lib/systemd/system/etcd.service", CENTOS_UNIT)
    env = "ETCD_NAME=one\nETCD_DATA_DIR=/var/lib/etcd/one.etcd\n"
    put(root, "/etc/etcd/etcd.conf", env)
    found = find.find("systemd", root=str(root))
    assert (found.name, found.data_dir) == ("one", f"{root}/var/lib/etcd/one.etcd")


def test_find_unit_with_drop_in_and_relative_data_folder(root: Path) -> None:
    unit = "[Service]\nExecStart=/opt/etcd/etcd --name old\nWorkingDirectory=/srv\n"
    put(root, "/usr/lib/systemd/system/etcd.service", unit)
    put(
        root,
        "/etc/systemd/system/etcd.service.d/10-mine.conf",
        "[Service]\nExecStart=\nExecStart=/opt/etcd/etcd \\\n  --name new\n",
    )
    found = find.find(root=str(root))
    assert (found.name, found.data_dir) == ("new", f"{root}/srv/new.etcd")


def test_find_unit_with_config_file_that_overrides_all(root: Path) -> None:
    put(
        root,
        "/etc/systemd/system/etcd.service",
        "[Service]\nEnvironment=ETCD_NAME=ignored\n"
        "ExecStart=/usr/bin/etcd --config-file /etc/etcd/etcd.yml\n",
    )
    config = {
        "name": "from-file",
        "data-dir": "/var/lib/etcd",
        "listen-client-urls": "https://127.0.0.1:2379",
        "client-transport-security": {
            "cert-file": "/c.crt",
            "key-file": "/c.key",
            "trusted-ca-file": "/ca.crt",
            "client-cert-auth": True,
        },
        "peer-transport-security": {"cert-file": "/p.crt"},
    }
    put(root, "/etc/etcd/etcd.yml", yaml.safe_dump(config))
    found = find.find(root=str(root))
    assert (found.name, found.cert) == ("from-file", f"{root}/c.crt")
    assert found.flags.get("peer-cert-file") == "/p.crt"
    assert found.config_file == f"{root}/etc/etcd/etcd.yml"


@pytest.mark.parametrize(
    "command",
    [
        "/usr/local/bin/etcd-backup.sh",
        "/usr/bin/etcdctl snapshot save",
        "/usr/bin/tar c /var/lib/etcd",
    ],
)
def test_find_leaves_units_that_start_something_else(root: Path, command: str) -> None:
    put(root, "/etc/systemd/system/etcd-backup.service", f"[Service]\nExecStart={command}\n")
    with pytest.raises(LayoutError, match="no systemd unit that starts etcd"):
        find.find(root=str(root))


def test_find_leaves_masked_units(root: Path) -> None:
    folder = root / "etc/systemd/system"
    folder.mkdir(parents=True)
    (folder / "etcd.service").symlink_to("/dev/null")
    put(root, "/usr/lib/systemd/system/etcd.service", KUBESPRAY_UNIT)
    with pytest.raises(LayoutError):
        find.find(root=str(root))


@pytest.mark.parametrize("kind", ["k3s", "rke2"])
@pytest.mark.parametrize("asked", ["auto", "named"])
def test_find_rancher_recorded_tree(kind: str, asked: str) -> None:
    root = TREES / kind / "rootfs"
    found = find.find("auto" if asked == "auto" else kind, root=str(root))
    server = f"{root}/var/lib/rancher/{kind}/server"
    assert found.kind == kind
    assert found.data_dir == f"{server}/db/etcd"
    assert found.endpoints == ("https://127.0.0.1:2379", "https://10.0.0.11:2379")
    assert found.peer_urls == ("https://10.0.0.11:2380",)
    assert found.cacert == f"{server}/tls/etcd/server-ca.crt"
    assert found.cert == f"{server}/tls/etcd/client.crt"
    assert found.key == f"{server}/tls/etcd/client.key"
    assert found.config_file == f"{server}/db/etcd/config"
    assert (found.kubernetes_version is not None) == (kind == "rke2")


def test_find_k3s_in_a_data_folder_of_its_own(root: Path) -> None:
    put(root, "/etc/rancher/k3s/config.yaml", "data-dir: /srv/k3s\n")
    put(root, "/srv/k3s/server/db/etcd/config", "name: x\n")
    found = find.find(root=str(root))
    assert found.data_dir == f"{root}/srv/k3s/server/db/etcd"
    assert found.cert == f"{root}/srv/k3s/server/tls/etcd/client.crt"


@pytest.mark.parametrize(
    ("path", "text", "name", "instead"),
    [
        (
            "/etc/kubernetes/static-pod-resources/etcd-pod-7/etcd-pod.yaml",
            "",
            "OpenShift",
            "cluster-backup.sh",
        ),
        ("/etc/kubernetes/manifests/etcd-pod.yaml", "kind: ConfigMap\n", "OpenShift", "operators"),
        ("/var/lib/k0s/etcd/member/snap/db", "", "k0s", "k0s backup"),
        ("/var/snap/microk8s/current/args/k8s-dqlite", "", "MicroK8s", "dqlite"),
        ("/var/lib/rancher/k3s/server/db/state.db", "", "k3s with SQLite (kine)", "--cluster-init"),
        (
            "/etc/rancher/k3s/config.yaml",
            "datastore-endpoint: postgres://x\n",
            "external datastore (kine)",
            "its own tools",
        ),
        ("/var/lib/rancher/rke2/server/kine.sock", "", "kine", "database behind it"),
    ],
)
def test_find_refuses_by_name(root: Path, path: str, text: str, name: str, instead: str) -> None:
    put(root, path, text)
    with pytest.raises(LayoutError) as caught:
        find.find(root=str(root))
    for words in (name, instead, "does not serve", "Leave this host out"):
        assert words in str(caught.value)
    assert str(root) in str(caught.value), "it says by which file it knows"


def test_find_refuses_openshift_though_its_pod_runs_etcd(root: Path) -> None:
    put(
        root,
        "/etc/kubernetes/manifests/etcd-pod.yaml",
        pod(command=["etcd", "--data-dir=/var/lib/etcd"], image="quay.io/openshift-release-dev/x"),
    )
    with pytest.raises(LayoutError, match="OpenShift"):
        find.find(root=str(root))


def test_find_nothing_says_where_it_looked(root: Path) -> None:
    with pytest.raises(LayoutError) as caught:
        find.find(root=str(root))
    for words in (f"{root}/etc/kubernetes/manifests", "systemd", "k3s", "rke2", "static_pod_path"):
        assert words in str(caught.value)
    assert caught.value.path is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: b\nc: PLANTED: x\n", "line 2 is no YAML"),
        ("a: !!int ''\n", "impossible"),
        ("a: !!bool PLANTED\n", "impossible"),
        ("a: !!timestamp PLANTED\n", "impossible"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_read_yaml_that_is_no_value_is_an_error_of_one_line(
    tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "etcd.yaml"
    path.write_text(text)
    with pytest.raises(LayoutError, match=why) as caught:
        files.read_yaml(str(path))
    assert str(path) in caught.value.message and "\n" not in str(caught.value)
    assert "PLANTED" not in str(caught.value)
