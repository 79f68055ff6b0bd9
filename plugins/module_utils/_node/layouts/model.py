# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""One etcd member's files and settings, whatever runs it."""

from __future__ import annotations

import dataclasses
import enum
import os
import re
import typing as t

__all__ = ["Flags", "Layout", "LayoutKind", "Mount", "StaticPod", "Tree"]

_TAG = re.compile(r":v?(\d+\.\d+\.\d+)")


class LayoutKind(str, enum.Enum):
    """The ways of running etcd that we know."""

    KUBEADM = "kubeadm"
    SYSTEMD = "systemd"
    K3S = "k3s"
    RKE2 = "rke2"


@dataclasses.dataclass(frozen=True)
class Flags:
    """A program's flags: name without dashes -> every value given, in order."""

    values: t.Mapping[str, tuple[str, ...]]

    def get(self, name: str) -> str | None:
        """Return the value that counts (the last), None where the flag is not set."""
        given = self.values.get(name)
        return given[-1] if given else None

    def get_all(self, name: str) -> tuple[str, ...]:
        """Return every value of a flag that may be repeated."""
        return self.values.get(name, ())

    def split(self, name: str) -> tuple[str, ...]:
        """Return the parts of a comma-separated value."""
        return tuple(part.strip() for part in (self.get(name) or "").split(",") if part.strip())


@dataclasses.dataclass(frozen=True)
class Mount:
    """A folder or file of the host inside a container."""

    container_path: str
    host_path: str


@dataclasses.dataclass(frozen=True)
class StaticPod:
    """What a static pod's manifest says of one control-plane component."""

    component: str
    manifest: str
    image: str
    flags: Flags
    mounts: tuple[Mount, ...]

    def host_path(self, path: str) -> str | None:
        """Return where a path of the container lies on the host; None: in the image itself."""
        plain = os.path.normpath(path)
        best: Mount | None = None
        for mount in self.mounts:
            inside = mount.container_path.rstrip("/") or "/"
            below = plain == inside or plain.startswith(inside.rstrip("/") + "/")
            if below and (best is None or len(inside) > len(best.container_path)):
                best = Mount(inside, mount.host_path)
        if best is None:
            return None
        rest = plain[len(best.container_path) :].lstrip("/")
        return os.path.join(best.host_path, rest) if rest else best.host_path

    def host_file(self, flag: str) -> str | None:
        """Return the host's path of the file that `flag` names, None where it isn't set."""
        value = self.flags.get(flag)
        return self.host_path(value) if value else None

    @property
    def version(self) -> str | None:
        """The version in the image's tag, without `v`; None for a digest or another tag."""
        found = _TAG.search(self.image.rsplit("/", maxsplit=1)[-1])
        return found.group(1) if found else None


@dataclasses.dataclass(frozen=True)
class Layout:
    """One member: what it is, and where its files lie on the host."""

    kind: LayoutKind
    name: str | None
    data_dir: str
    wal_dir: str | None
    """A separate --wal-dir; None where the WAL lies inside the data folder."""
    endpoints: tuple[str, ...]
    """The local member's client URLs, loopback first."""
    peer_urls: tuple[str, ...]
    cacert: str | None
    cert: str | None
    key: str | None
    certificates_dir: str | None
    """What holds the control plane's PKI: kubeadm's certificatesDir, or its equivalent."""
    static_pod_path: str | None
    kubernetes_dir: str | None
    """Where the kubeconfigs of kubelet and control plane lie."""
    manifest: str | None = None
    unit: str | None = None
    environment_file: str | None = None
    config_file: str | None = None
    etcd_version: str | None = None
    kubernetes_version: str | None = None
    quota_bytes: int | None = None
    flags: Flags = dataclasses.field(default_factory=lambda: Flags({}))
    pods: tuple[StaticPod, ...] = ()
    """Every static pod of the host that is a control-plane component, etcd's own too."""

    def pod(self, component: str) -> StaticPod | None:
        """Return the static pod of `component`, as in `kube-apiserver`."""
        for pod in self.pods:
            if pod.component == component:
                return pod
        return None

    @property
    def api_server(self) -> StaticPod | None:
        """The API server's static pod, where this host runs one."""
        return self.pod("kube-apiserver")

    def as_dict(self) -> dict[str, t.Any]:
        """Return what etcd_info shows of it: no flags, no manifests' contents."""
        shown = (
            "name data_dir wal_dir cacert cert key certificates_dir static_pod_path kubernetes_dir "
            "manifest unit environment_file config_file etcd_version kubernetes_version"
        )
        return {
            "kind": self.kind.value,
            "endpoints": list(self.endpoints),
            "peer_urls": list(self.peer_urls),
            **{field: getattr(self, field) for field in shown.split()},
        }

    @property
    def etcd_prefix(self) -> str:
        """The API server's --etcd-prefix."""
        pod = self.api_server
        return (pod.flags.get("etcd-prefix") if pod else None) or "/registry"


@dataclasses.dataclass(frozen=True)
class Tree:
    """A host's file tree; its root is `/`, or a recorded tree's folder."""

    root: str = "/"

    def path(self, *parts: str) -> str:
        """Return where an absolute path of the host lies."""
        inside = "/".join(part.strip("/") for part in parts)
        return os.path.join(self.root, inside)

    def exists(self, *parts: str) -> bool:
        """Tell whether something of that name lies there; what may not be seen counts as absent."""
        return os.path.lexists(self.path(*parts))
