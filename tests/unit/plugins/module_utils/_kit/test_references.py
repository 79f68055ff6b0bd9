# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a configuration file references."""

from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.module_utils._kit.references import parse
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import Tree
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.names import (
    flag_name,
    names_a_file,
)


def referenced(path: str, text: str) -> set[str]:
    return {each.path for each in parse(path, text.encode(), tree=Tree()).references}


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (
            "/etc/kubernetes/x.conf",
            "kind: Config\nclusters:\n- cluster: {certificate-authority: ca.crt}\n"
            "users:\n- user: {client-key: /k.key, tokenFile: sub/token}\n",
            {"/etc/kubernetes/ca.crt", "/k.key", "/etc/kubernetes/sub/token"},
        ),
        (
            "/etc/kubernetes/kubelet.yaml",
            "kind: KubeletConfiguration\nauthentication: {x509: {clientCAFile: /ca.crt}}\n"
            "staticPodPath: /etc/kubernetes/manifests\nresolvConf: /run/resolv.conf\n"
            "containerRuntimeEndpoint: unix:///run/containerd.sock\n",
            {"/ca.crt"},
        ),
        (
            "/e.yaml",
            "kind: EgressSelectorConfiguration\negressSelections:\n- connection:\n    transport:\n"
            "      tcp: {tlsConfig: {caBundle: /ca, clientKey: /key, clientCert: /cert}}\n"
            "- connection: {transport: {uds: {udsName: /run/konnectivity.sock}}}\n",
            {"/ca", "/key", "/cert"},
        ),
        (
            "/s.yaml",
            "kind: KubeSchedulerConfiguration\nclientConnection: {kubeconfig: /s.conf}\n"
            "extenders: [{tlsConfig: {certFile: /c, keyFile: /k, caFile: /a}}]\n",
            {"/s.conf", "/c", "/k", "/a"},
        ),
        (
            "/etc/etcd.env",
            "# ETCD_CERT_FILE=/commented\nETCD_DATA_DIR=/var/lib/etcd\nETCD_CERT_FILE=/c.pem\n"
            "export ETCD_KEY_FILE='/k.pem'\nETCD_LISTEN_PEER_URLS=https://x\n",
            {"/c.pem", "/k.pem"},
        ),
        (
            "/etc/systemd/system/etcd.service",
            "[Service]\nEnvironmentFile=-/etc/etcd.env\nExecStart=/usr/bin/etcd --data-dir /d \\\n"
            " --cert-file /c --key-file=/k\n",
            {"/etc/etcd.env", "/c", "/k"},
        ),
        (
            "/etc/default/kubelet",
            'KUBELET_EXTRA_ARGS="--image-credential-provider-config=/i.yaml --root-dir=/r"\n',
            {"/i.yaml"},
        ),
        (
            "/etc/rancher/k3s/config.yaml",
            "kube-apiserver-arg+: [audit-policy-file=/a, audit-log-path=/log]\n"
            "datastore-cafile: /ds.crt\ndata-dir: /data\nkubelet-arg: config=/kubelet.yaml\n",
            {"/a", "/ds.crt", "/kubelet.yaml"},
        ),
        (
            "/etc/containerd/config.toml",
            'root = "/var/lib/containerd"\n[x.tls]\n  ca_file = "/ca.pem"\n  cert_file = \'/c.pem\'\n',
            {"/ca.pem", "/c.pem"},
        ),
        (
            "/etc/cni/net.d/10-calico.conflist",
            '{"plugins": [{"kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}}]}',
            {"/etc/cni/net.d/calico-kubeconfig"},
        ),
        ("/p.crt", "-----BEGIN CERTIFICATE-----\npath: /x\n", set()),
        ("/binary", "\0path: /x", set()),
    ],
    ids=[
        "kubeconfig",
        "kubelet",
        "egress",
        "scheduler",
        "etcd.env",
        "unit",
        "default",
        "k3s",
        "containerd",
        "cni",
        "pem",
        "binary",
    ],
)
def test_parse_gives_references(path: str, text: str, expected: set[str]) -> None:
    assert referenced(path, text) == expected


def test_parse_never_quotes_what_it_cannot_read() -> None:
    parsed = parse("/x.yaml", b"token: 'PLANTED-SECRET\nkey: [", tree=Tree())
    assert parsed.problem
    assert "PLANTED" not in parsed.problem


@pytest.mark.parametrize(
    "text", ["a: !!int ''", "a: !!bool PLANTED", "a: !!timestamp PLANTED", "a: &x [*x]"]
)
def test_parse_values_that_are_none_are_a_problem(text: str) -> None:
    parsed = parse("/x.yaml", text.encode(), tree=Tree())
    assert parsed.problem and parsed.documents == ()
    assert "PLANTED" not in parsed.problem


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("client-ca-file", True),
        ("kubeconfig", True),
        ("kubelet-client-certificate", True),
        ("service-account-signing-key-file", True),
        ("audit-log-path", False),
        ("etcd-prefix", False),
        ("authorization-always-allow-paths", False),
        ("data-dir", False),
        ("a-flag-of-tomorrow", None),
    ],
)
def test_names_a_file(flag: str, expected: bool | None) -> None:
    assert names_a_file(flag) is expected


def test_flag_name_knows_the_program() -> None:
    assert flag_name("etcd", "cert-file") == "etcd/server.crt"
    assert flag_name("kube-apiserver", "cert-file") is None
    assert flag_name("", "kubeconfig") is None
