# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Where a host serves a certificate, from which file, and under which names it is asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import typing as t
import urllib.parse

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._kit.model import Taken
from ansible_collections.controlplane.etcd.plugins.module_utils._node.handshake import Target
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import (
    Flags,
    Layout,
    LayoutKind,
    StaticPod,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._pki import table

from .look import Looked

__all__ = ["Endpoint", "endpoints", "names_wanted", "parse"]

ETCD_SERVER = "etcd/server"
ETCD_PEER = "etcd/peer"
API_SERVER = "apiserver"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - read, not bound
_SERVICE = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
_K3S_PORT = 6443
_LAST_PORT = 65535
# With one of these the name in the URL is not looked for (client-go tools/clientcmd/api/v1).
_UNASKED = ("tls-server-name", "insecure-skip-tls-verify")


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One port that serves a certificate."""

    target: Target
    role: str
    """Empty: somebody named it, and it is not known what it is."""
    path: str | None = None
    """The host's path of the file that is served there."""
    client: tuple[str, str] | None = None
    """Paths of a certificate and key that are trusted there; etcd logs a handshake without one."""


def endpoints(looked: Looked) -> list[Endpoint]:
    """Return what a host serves by its manifests and configuration, on loopback where it can be."""
    found: list[Endpoint] = []
    host = looked.host
    if host is None:
        return found
    layout = host.layout
    if layout is not None:
        for role, listen, prefix in (
            (ETCD_SERVER, "listen-client-urls", ""),
            (ETCD_PEER, "listen-peer-urls", "peer-"),
        ):
            targets = _listening(layout.flags, listen)
            path = _etcd_file(layout, f"{prefix}cert-file")
            key = _etcd_file(layout, f"{prefix}key-file")
            if role == ETCD_SERVER and layout.cert and layout.key:
                client: tuple[str, str] | None = (layout.cert, layout.key)
            else:
                client = (path, key) if path and key else None
            if targets:
                found.append(Endpoint(targets[0], role, path, client))
    api = _api_server(looked)
    if api:
        found.append(api)
    kubelet = _kubelet(looked)
    if kubelet:
        found.append(kubelet)
    return found


def parse(text: str) -> Endpoint:
    """Read an endpoint that somebody named, `host:port` or a URL.

    :raises OptionInvalid: it is none.
    """
    try:
        parts = urllib.parse.urlsplit(text if "://" in text else f"//{text}")
        port = parts.port
    except ValueError:
        parts, port = urllib.parse.urlsplit(""), None
    if not parts.hostname or not port or parts.scheme not in ("", "https"):
        raise OptionInvalid(
            f"Option endpoints: {text!r} is not a host and a port.",
            hint="Write 10.0.0.10:6443, [fd00::10]:6443 or https://k8s-api.example.com:6443.",
        )
    return Endpoint(Target(parts.hostname, port), "")


def names_wanted(looked: Looked) -> dict[str, tuple[str, ...]]:
    """Return role -> the names and addresses that the host's own configuration uses it by."""
    wanted: dict[str, list[str]] = {ETCD_SERVER: [], ETCD_PEER: [], API_SERVER: []}
    host = looked.host
    if host is None:
        return {}
    api = _api_pod(looked)
    if host.layout is not None:
        flags = host.layout.flags
        listen, advertise = flags.split("listen-client-urls"), flags.split("advertise-client-urls")
        wanted[ETCD_SERVER] = _hosts((*listen, *advertise))
        # Nobody reaches a peer by loopback, whatever it listens on.
        listen, advertise = flags.split("listen-peer-urls"), host.layout.peer_urls
        hosts = [each for each in _hosts(listen) if not _is_loopback(each)]
        wanted[ETCD_PEER] = [*hosts, *_hosts(advertise)]
        servers = api.flags.split("etcd-servers") if api else ()
        wanted[ETCD_SERVER] += [each for each in _hosts(servers) if _is_loopback(each)]
    if api is not None:
        wanted[API_SERVER] = _names_of_api_server(looked, api)
    elif looked.layout == LayoutKind.K3S.value:
        wanted[API_SERVER] = ["127.0.0.1"]  # pods and people meet the supervisor's certificate
    return {role: tuple(dict.fromkeys(names)) for role, names in wanted.items() if names}


def _listening(flags: Flags, name: str) -> list[Target]:
    """Return the https URLs of a listen flag, loopback first."""
    found = []
    for url in flags.split(name):
        parts = _split(url)
        if parts and parts.scheme == "https" and parts.port:
            found.append(Target(_ANY.get(parts.hostname or "", parts.hostname or ""), parts.port))
    return sorted(found, key=lambda target: not _is_loopback(target.host))


def _etcd_file(layout: Layout, flag: str) -> str | None:
    pod = layout.pod("etcd") if layout.kind is LayoutKind.KUBEADM else None
    return pod.host_file(flag) if pod else layout.flags.get(flag)


def _api_pod(looked: Looked) -> StaticPod | None:
    pods = looked.host.pods if looked.host else ()
    return next((each for each in pods if each.component == "kube-apiserver"), None)


def _api_server(looked: Looked) -> Endpoint | None:
    host, pod = looked.host, _api_pod(looked)
    if pod is not None:
        port = _number(pod.flags.get("secure-port"), 6443)
        bound = pod.flags.get("bind-address") or ""
        path = pod.host_file("tls-cert-file")
        return Endpoint(Target(_ANY.get(bound, bound), port), API_SERVER, path)
    if looked.layout == LayoutKind.K3S.value and host and host.layout:
        # k3s has it on loopback, one port above its own (pkg/daemons/control/server.go).
        document = _document(looked, "k3s/config.yaml")
        own = _number(document.get("https-listen-port"), _K3S_PORT)
        folder = host.layout.certificates_dir
        path = f"{folder}/serving-kube-apiserver.crt"
        return Endpoint(Target("127.0.0.1", own + 1), API_SERVER, path)
    return None


def _kubelet(looked: Looked) -> Endpoint | None:
    """Return the kubelet's port where this host has a kubelet (k8s.io/kubelet/config/v1beta1)."""
    config: t.Mapping[str, t.Any] | None = None
    for file in looked.files:
        for document in file.parsed.documents:
            if document.get("kind") == "KubeletConfiguration":
                config = document
    path = _kubelet_file(looked, config or {})
    if config is None and path is None:
        return None
    address = _text((config or {}).get("address"))
    port = _number((config or {}).get("port"), 10250)
    return Endpoint(Target(_ANY.get(address, address), port), table.KUBELET, path)


def _kubelet_file(looked: Looked, config: t.Mapping[str, t.Any]) -> str | None:
    told = config.get("tlsCertFile")
    if isinstance(told, str) and told:
        return told
    by_name = {each.name: each.path for each in looked.carriers if each.field is None}
    # serverTLSBootstrap leaves the other; the kubelet never reads both.
    return by_name.get("kubelet/server-current.pem") or by_name.get("kubelet/pki/kubelet.crt")


def _names_of_api_server(looked: Looked, pod: StaticPod) -> list[str]:
    names = list(_SERVICE)
    for document in _documents(looked.files):
        domain = _text(document.get("clusterDomain"))
        if document.get("kind") == "KubeletConfiguration" and domain:
            names.append(f"kubernetes.default.svc.{domain}")
    for network in pod.flags.split("service-cluster-ip-range")[:1]:
        # The API server would not start with another.
        with contextlib.suppress(ValueError, IndexError):
            names.append(str(ipaddress.ip_network(network, strict=False)[1]))
    address = pod.flags.get("advertise-address")
    if address:
        names.append(address)
    # A webhook's kubeconfig, say, leads to another server.
    own = (file for file in looked.files if table.KUBECONFIGS.intersection(file.names))
    for document in _documents(own):
        clusters = document.get("clusters")
        for cluster in clusters if isinstance(clusters, list) else ():
            body = cluster.get("cluster") if isinstance(cluster, dict) else None
            if isinstance(body, dict) and not any(body.get(key) for key in _UNASKED):
                names += _hosts((_text(body.get("server")),))
    return names


def _documents(files: t.Iterable[Taken]) -> t.Iterator[t.Mapping[str, t.Any]]:
    for file in files:
        yield from file.parsed.documents


def _document(looked: Looked, name: str) -> t.Mapping[str, t.Any]:
    return next((each for each in _documents(f for f in looked.files if name in f.names)), {})


def _hosts(urls: t.Iterable[str]) -> list[str]:
    """Return the hosts of https URLs, but those that mean every address."""
    found = []
    for url in urls:
        parts = _split(url)
        if parts and parts.scheme == "https" and parts.hostname and parts.hostname not in _ANY:
            found.append(parts.hostname)
    return found


def _split(url: str) -> urllib.parse.SplitResult | None:
    try:
        parts = urllib.parse.urlsplit(url)
        parts.port  # noqa: B018 - raises where it is none
    except ValueError:
        return None
    return parts


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _number(value: object, otherwise: int) -> int:
    """Return a port, from 1 to 65535."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 9:
        value = int(value)
    is_port = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LAST_PORT
    return t.cast(int, value) if is_port else otherwise


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
