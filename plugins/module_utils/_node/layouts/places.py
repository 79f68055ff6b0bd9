# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Where a layout keeps what etcd doesn't hold: files, and folders that are taken whole.

This is the list that complements what the manifests reference. All paths are the host's own, as a
program on it would write them.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t

from . import names
from .model import Layout, LayoutKind

__all__ = ["SYSTEM_FOLDERS", "UNIT_FOLDERS", "Folder", "Place", "Places", "places"]

UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
# Folders of the system: never walked, and not described by a kit.
SYSTEM_FOLDERS = frozenset(
    f"/{path}".rstrip("/") or "/"
    for path in (
        *("", "bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc"),
        *("root", "run", "sbin", "srv", "sys", "tmp", "usr", "var", "etc/default", "etc/pki"),
        *("etc/ssl", "etc/ssl/certs", "etc/ssl/private", "etc/sysconfig", "etc/systemd"),
        *("usr/bin", "usr/lib", "usr/local", "usr/local/bin", "usr/local/lib", "usr/local/share"),
        *("usr/local/lib/systemd", "usr/lib/systemd", "lib/systemd", "usr/share", "usr/sbin"),
        *("usr/share/ca-certificates", "usr/local/share/ca-certificates", "etc/ca-certificates"),
        *("var/cache", "var/lib", "var/lock", "var/log", "var/run", "var/tmp"),
        *(folder.lstrip("/") for folder in UNIT_FOLDERS),
    )
)
_KUBERNETES = "/etc/kubernetes"


@dataclasses.dataclass(frozen=True)
class Place:
    """One file that a layout has, if it is there."""

    path: str
    why: str
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder whose files are taken, down to `depth` folders below it."""

    path: str
    why: str
    depth: int = 0
    names: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Path below the folder -> standard name."""
    group: str | None = None
    """One standard name for all the other files in it."""


@dataclasses.dataclass(frozen=True)
class Places:
    """What a layout is expected to have."""

    layout: str
    files: tuple[Place, ...]
    folders: tuple[Folder, ...]
    expected: tuple[str, ...]
    """Standard names that a control plane of this layout has."""
    prefix: str = ""
    """The folder that a loopback host has everything below; empty on a host of its own."""

    @property
    def roots(self) -> tuple[str, ...]:
        """The folders that links may lead to."""
        folders = {folder.path for folder in self.folders}
        folders |= {os.path.dirname(place.path) for place in self.files}
        return tuple(sorted(folders - SYSTEM_FOLDERS | set(UNIT_FOLDERS)))


def places(
    kind: LayoutKind,
    *,
    layout: Layout | None,
    kubernetes_dir: str = _KUBERNETES,
    static_pod_path: str | None = None,
    certificates_dir: str | None = None,
) -> Places:
    """Return the places of a host; the folders are paths of the host.

    `layout` is None on a control-plane host without an etcd member. A host whose kubernetes_dir
    lies below another folder (loopback hosts) has everything below that one.
    """
    prefix = ""
    if kubernetes_dir.endswith(_KUBERNETES):
        prefix = kubernetes_dir[: -len(_KUBERNETES)]
    if kind in (LayoutKind.K3S, LayoutKind.RKE2):
        if certificates_dir is None:
            raise AssertionError(f"a {kind.value} layout without its tls folder")
        return _rancher(kind, os.path.dirname(certificates_dir))
    files, folders = _kubelet(prefix)
    pki = certificates_dir or f"{kubernetes_dir}/pki"
    folders += [
        Folder(path, "folder of the certificates", depth=3, names=names.KUBEADM_PKI)
        for path in dict.fromkeys((pki, f"{kubernetes_dir}/pki", f"{kubernetes_dir}/ssl"))
    ]
    folders += [
        Folder(
            static_pod_path or f"{kubernetes_dir}/manifests",
            "folder of the static pods",
            names=names.MANIFESTS,
        ),
        Folder(kubernetes_dir, "folder of the kubeconfigs", names=names.KUBERNETES_DIR),
        Folder(f"{prefix}/etc/kubeadm", "kubeadm's configuration", group="kubeadm-config"),
    ]
    if layout and layout.kind == LayoutKind.SYSTEMD:
        more_files, more_folders = _etcd_unit(prefix)
        files += more_files
        folders += more_folders
    expected = _expected(kind, layout)
    return Places(kind.value, tuple(files), tuple(folders), expected, prefix)


def _kubelet(prefix: str) -> tuple[list[Place], list[Folder]]:
    state = f"{prefix}/var/lib/kubelet"
    files = [
        Place(f"{state}/config.yaml", "kubelet", "kubelet/config.yaml"),
        Place(f"{state}/kubeadm-flags.env", "kubelet", "kubelet/kubeadm-flags.env"),
        Place(f"{state}/instance-config.yaml", "kubelet", "kubelet/instance-config.yaml"),
        Place(f"{prefix}/etc/default/kubelet", "kubelet", "kubelet/environment"),
        Place(f"{prefix}/etc/sysconfig/kubelet", "kubelet", "kubelet/environment"),
        Place(f"{prefix}/etc/crictl.yaml", "container runtime", "crictl.yaml"),
    ]
    pki = {
        "kubelet-client-current.pem": "kubelet/client-current.pem",
        "kubelet.crt": "kubelet/pki/kubelet.crt",
        "kubelet.key": "kubelet/pki/kubelet.key",
        "kubelet-server-current.pem": "kubelet/server-current.pem",
    }
    folders = [
        Folder(f"{state}/pki", "kubelet's certificates", names=pki),
        Folder(
            f"{prefix}/etc/containerd",
            "container runtime",
            depth=3,
            names={"config.toml": "containerd/config.toml"},
        ),
        Folder(f"{prefix}/etc/crio", "container runtime", depth=2, group="crio"),
        Folder(f"{prefix}/etc/cni/net.d", "network plugins", depth=2, group="cni/net.d"),
    ]
    for unit in ("kubelet", "containerd", "crio"):
        more_files, more_folders = _unit(prefix, f"{unit}.service", unit)
        files += more_files
        folders += more_folders
    return files, folders


def _unit(prefix: str, unit: str, owner: str) -> tuple[list[Place], list[Folder]]:
    # A package's own unit comes back with the package; kubeadm's drop-in is what makes it ours.
    files = [
        Place(f"{prefix}{folder}/{unit}", "unit", f"{owner}/{unit}") for folder in UNIT_FOLDERS
    ]
    folders = [
        Folder(f"{prefix}{folder}/{unit}.d", "unit's drop-ins", group=f"{owner}/{unit}.d")
        for folder in UNIT_FOLDERS
    ]
    return files, folders


def _etcd_unit(prefix: str) -> tuple[list[Place], list[Folder]]:
    """Return what kubespray leaves; what the unit itself references is followed anyway."""
    files = [
        Place(f"{prefix}/etc/etcd.env", "etcd", "etcd/environment"),
        Place(f"{prefix}/etc/etcd-events.env", "etcd", "etcd-events/environment"),
        Place(f"{prefix}/etc/default/etcd", "etcd", "etcd/environment"),
        Place(f"{prefix}/etc/sysconfig/etcd", "etcd", "etcd/environment"),
    ]
    folders = [
        Folder(f"{prefix}/etc/etcd", "etcd", depth=2),
        Folder(
            f"{prefix}/etc/ssl/etcd",
            "etcd's certificates",
            depth=1,
            names={"ssl/ca.pem": "etcd/ca.crt", "ssl/ca-key.pem": "etcd/ca.key"},
        ),
    ]
    for unit in ("etcd", "etcd-events"):
        more_files, more_folders = _unit(prefix, f"{unit}.service", unit)
        files += more_files
        folders += more_folders
    return files, folders


def _rancher(kind: LayoutKind, server: str) -> Places:
    base = os.path.dirname(server)
    prefix = base[: -len(f"/var/lib/rancher/{kind.value}")]
    if f"{prefix}/var/lib/rancher/{kind.value}" != base:
        prefix = ""
    service = "k3s" if kind == LayoutKind.K3S else "rke2-server"
    own = kind.value
    files = [
        Place(f"{server}/token", "server", "token"),
        Place(f"{server}/node-token", "server", "node-token"),
        Place(f"{server}/agent-token", "server", "agent-token"),
        Place(f"{server}/db/etcd/config", "etcd", "etcd/config"),
        Place(f"{server}/db/etcd/name", "etcd", "etcd/name"),
        Place(f"{prefix}/etc/default/{service}", "server", f"{own}/environment"),
        Place(f"{prefix}/etc/sysconfig/{service}", "server", f"{own}/environment"),
    ]
    for folder in UNIT_FOLDERS:
        for name in (f"{service}.service.env", f"{service}.env"):
            files.append(Place(f"{prefix}{folder}/{name}", "server", f"{own}/environment"))
    folders = [
        Folder(f"{server}/tls", "server's certificates", depth=3, names=names.RANCHER_TLS),
        Folder(f"{server}/cred", "server's credentials", depth=1, names=names.RANCHER_CRED),
        Folder(f"{server}/etc", "server's configuration", depth=1),
        Folder(f"{server}/manifests", "auto-deployed manifests", depth=3),
        Folder(f"{base}/agent", "agent's credentials"),
        Folder(
            f"{base}/agent/etc",
            "agent's configuration",
            depth=3,
            names={"containerd/config.toml": "containerd/config.toml"},
        ),
        Folder(f"{base}/agent/pod-manifests", "folder of the static pods", names=names.MANIFESTS),
        Folder(
            f"{prefix}/etc/rancher/{own}",
            "configuration",
            depth=3,
            names={
                "config.yaml": f"{own}/config.yaml",
                "registries.yaml": f"{own}/registries.yaml",
                f"{own}.yaml": f"{own}/{own}.yaml",
            },
        ),
        Folder(f"{prefix}/etc/rancher/node", "node", names={"password": "node-password"}),
    ]
    more_files, more_folders = _unit(prefix, f"{service}.service", own)
    expected = [
        name
        for name in names.RANCHER_TLS.values()
        if name not in ("dynamic-cert.json",) and not name.startswith("etcd/peer.")
    ]
    cred = ("admin.conf", "controller-manager.conf", "scheduler.conf", "passwd")
    return Places(
        own,
        (*files, *more_files),
        (*folders, *more_folders),
        tuple(dict.fromkeys([*expected, *cred, "token", "node-password"])),
        prefix,
    )


def _expected(kind: LayoutKind, layout: Layout | None) -> tuple[str, ...]:
    wanted = [name for name in names.KUBEADM_PKI if not name.startswith("etcd/")]
    wanted += [
        "admin.conf",
        "controller-manager.conf",
        "kubelet.conf",
        "scheduler.conf",
        "kubelet/config.yaml",
        "kubelet/client-current.pem",
    ]
    wanted += [name for name in names.MANIFESTS.values() if name != "manifests/etcd.yaml"]
    wanted.append("etcd/ca.crt")
    if kind == LayoutKind.KUBEADM:
        wanted.append("kubelet/kubeadm-flags.env")
    if layout is not None:
        wanted += ["etcd/server.crt", "etcd/server.key", "etcd/peer.crt", "etcd/peer.key"]
    if layout is not None and layout.kind == LayoutKind.KUBEADM:
        wanted.append("etcd/ca.key")  # kubespray leaves it on the first host only
        wanted += ["etcd/healthcheck-client.crt", "etcd/healthcheck-client.key"]
        wanted.append("manifests/etcd.yaml")
    if layout is not None and layout.unit:
        wanted += ["etcd/etcd.service"]
    return tuple(wanted)
