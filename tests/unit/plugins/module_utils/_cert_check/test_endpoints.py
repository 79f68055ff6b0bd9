# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host serves what, and the names that it is asked for by."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.controlplane.etcd.plugins.module_utils._cert_check import (
    endpoints,
    look,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from lab.certified import Host
from lab.pki import SERVER, issue


def places(host: Host) -> dict[str, tuple[str, str | None]]:
    looked = look.look(root=str(host.root))
    return {
        each.role: (str(each.target), path.path if (path := looked.file_at(each.path)) else None)
        for each in endpoints.endpoints(looked)
    }


def wanted(host: Host) -> dict[str, tuple[str, ...]]:
    return endpoints.names_wanted(look.look(root=str(host.root)))


def set_flags(host: Host, component: str, **values: str | None) -> None:
    path = host.kubernetes / f"manifests/{component}.yaml"
    document = yaml.safe_load(path.read_text())
    command = document["spec"]["containers"][0]["command"]
    for name, value in values.items():
        flag = "--" + name.replace("_", "-") + "="
        command[:] = [word for word in command if not word.startswith(flag)]
        if value is not None:
            command.append(flag + value)
    path.write_text(yaml.safe_dump(document))


def test_endpoints_of_a_kubeadm_host_are_on_loopback_where_they_can_be(host: Host) -> None:
    pki = "/etc/kubernetes/pki"
    assert places(host) == {
        "etcd/server": ("https://127.0.0.1:2379", f"{pki}/etcd/server.crt"),
        "etcd/peer": ("https://10.0.0.11:2380", f"{pki}/etcd/peer.crt"),
        "apiserver": ("https://127.0.0.1:6443", f"{pki}/apiserver.crt"),
        "kubelet": ("https://127.0.0.1:10250", "/var/lib/kubelet/pki/kubelet.crt"),
    }


def test_endpoints_follow_flags_and_configuration(host: Host) -> None:
    any_address = "https://0.0.0.0:12379,https://[fd00::11]:12379,http://127.0.0.1:1"
    set_flags(
        host, "etcd", listen_client_urls=any_address, listen_peer_urls="http://10.0.0.11:2380"
    )
    set_flags(host, "kube-apiserver", secure_port="443", bind_address="10.0.0.11")
    config = host.root / "var/lib/kubelet/config.yaml"
    document = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**document, "port": 10251, "address": "::"}))
    certificates = host.root / "var/lib/kubelet/pki"
    (certificates / "kubelet.crt").rename(certificates / "kubelet-server-2026-01-01-00-00-00.pem")
    (certificates / "kubelet-server-current.pem").symlink_to(
        "kubelet-server-2026-01-01-00-00-00.pem"
    )
    assert places(host) == {
        "etcd/server": ("https://127.0.0.1:12379", "/etc/kubernetes/pki/etcd/server.crt"),
        "apiserver": ("https://10.0.0.11:443", "/etc/kubernetes/pki/apiserver.crt"),
        "kubelet": (
            "https://[::1]:10251",
            "/var/lib/kubelet/pki/kubelet-server-2026-01-01-00-00-00.pem",
        ),
    }


def test_names_wanted_are_those_in_use(host: Host) -> None:
    found = wanted(host)
    assert found["etcd/server"] == ("127.0.0.1", "10.0.0.11")
    assert found["etcd/peer"] == ("10.0.0.11",)
    assert set(found["apiserver"]) == {
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "10.96.0.1",
        "10.0.0.11",
        "k8s-api.example.test",
    }


def test_names_wanted_leave_out_what_no_client_looks_for(host: Host) -> None:
    set_flags(host, "etcd", listen_client_urls="https://[::]:2379", advertise_client_urls=None)
    set_flags(host, "kube-apiserver", etcd_servers="https://127.0.0.1:2379,https://10.0.0.12:2379")
    for path in host.kubernetes.glob("*.conf"):
        document = yaml.safe_load(path.read_text())
        document["clusters"][0]["cluster"]["tls-server-name"] = "other"
        path.write_text(yaml.safe_dump(document))
    found = wanted(host)
    assert found["etcd/server"] == ("127.0.0.1",)
    assert "k8s-api.example.test" not in found["apiserver"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10.0.0.10:6443", "https://10.0.0.10:6443"),
        ("[fd00::10]:6443", "https://[fd00::10]:6443"),
        ("https://api.example.com:443/", "https://api.example.com:443"),
    ],
)
def test_parse_endpoint(text: str, shown: str) -> None:
    assert str(endpoints.parse(text).target) == shown


@pytest.mark.parametrize(
    "text", ["", "host", "host:", "host:x", "host:99999", "http://h:1", "fd00::1", "[x"]
)
def test_parse_what_is_no_endpoint_names_it(text: str) -> None:
    with pytest.raises(OptionInvalid, match="Option endpoints") as error:
        endpoints.parse(text)
    assert repr(text) in str(error.value)


@contextlib.contextmanager
def serving(certificate: Path, key: Path) -> t.Iterator[int]:
    """Serve what was on disk at the start, as a program that never reloads does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                stream, _address = listener.accept()
            except OSError:
                return
            # Whoever has seen enough may hang up at any moment.
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(stream, server_side=True) as tls,
            ):
                tls.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def only_api(host: Host, port: int) -> None:
    (host.root / "var/lib/kubelet/config.yaml").unlink()
    (host.root / "var/lib/kubelet/pki/kubelet.crt").unlink()
    set_flags(host, "kube-apiserver", secure_port=str(port))
    set_flags(host, "etcd", listen_client_urls=None, listen_peer_urls=None)


def test_check_served_against_disk(host: Host) -> None:
    base = host.folder / "apiserver"
    names = ["cp1", *wanted(host)["apiserver"]]
    with serving(base.with_suffix(".crt"), base.with_suffix(".key")) as port:
        only_api(host, port)
        result = host.check(served=True)
        assert result["findings"] == []
        assert [(each["role"], each["state"]) for each in result["served"]] == [
            ("apiserver", "loaded")
        ]
        issue(host.pki.ca, "kube-apiserver", usages=(SERVER,), names=names).write(base)
        result = host.check(served=True)
        (finding,) = result["findings"]
        assert (finding["kind"], finding["where"]) == ("not_loaded", f"https://127.0.0.1:{port}")
        assert "kube-apiserver" in finding["action"]
        assert result["served"][0]["state"] == "not_loaded"
        assert result["served"][0]["path"] == "/etc/kubernetes/pki/apiserver.crt"
        # As an endpoint that somebody named it is not doubled.
        assert len(host.check(served=True, endpoints=(f"127.0.0.1:{port}",))["served"]) == 1
        base.with_suffix(".crt").write_text("broken")
        state = host.check(served=True)["served"][0]["state"]
        assert state == "not_on_disk"


def test_check_endpoints_finds_the_file_of_what_is_served(host: Host) -> None:
    peer = host.folder / "etcd/peer"
    with serving(peer.with_suffix(".crt"), peer.with_suffix(".key")) as port:
        result = host.check(served=False, endpoints=(f"127.0.0.1:{port}",))
    assert result["findings"] == []
    (shown,) = result["served"]
    assert (shown["role"], shown["state"]) == (None, "loaded")
    assert shown["path"] == "/etc/kubernetes/pki/etcd/peer.crt"


def test_check_endpoints_that_nobody_serves_are_findings(host: Host) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        found = host.check(endpoints=(f"127.0.0.1:{port}", f"[::1]:{port}"))["findings"]
    assert {each["where"] for each in found} == {
        f"https://127.0.0.1:{port}",
        f"https://[::1]:{port}",
    }
    assert {each["kind"] for each in found} == {"not_served"}


@pytest.mark.parametrize(
    "port", ["²", "٣", "99999999999999999999999", 65536, 0, -1, True, [1], {}, 1.5, 0xFF << 3000]
)
def test_endpoints_kubelet_with_a_port_that_is_none_takes_its_usual_one(
    host: Host, port: object
) -> None:
    configure_kubelet(host, port=port, address=[1])
    assert places(host)["kubelet"][0] == "https://127.0.0.1:10250"


def test_endpoints_kubelet_with_a_port_as_text(host: Host) -> None:
    configure_kubelet(host, port="10251")
    assert places(host)["kubelet"][0] == "https://127.0.0.1:10251"


@pytest.mark.parametrize("domain", [[1], {"a": "b"}, 5, True])
def test_names_wanted_take_no_domain_that_is_no_text(host: Host, domain: object) -> None:
    configure_kubelet(host, clusterDomain=domain)
    assert [each for each in wanted(host)["apiserver"] if each.startswith("kubernetes")] == [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ]


def configure_kubelet(host: Host, **values: object) -> None:
    path = host.root / "var/lib/kubelet/config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))
