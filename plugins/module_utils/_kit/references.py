# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Which files a configuration file makes its program read: manifests, kubeconfigs, units and the like.

Pure: bytes in, references out. What is missed here is caught by the folders of a layout only.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _yaml
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts import names
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.model import (
    StaticPod,
    Tree,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node.layouts.pods import containers

__all__ = ["Parsed", "Reference", "parse"]

_MAX_PARSED_BYTES = 2 << 20
_MAX_PATH = 4096
# Keys whose value is a file that must be there, by the Go types that read them.
_STRONG_KEYS = frozenset(
    {
        "certificate-authority",  # client-go tools/clientcmd/api/v1
        "client-certificate",
        "client-key",
        "tokenFile",
        "kubeConfigFile",  # apiserver pkg/apis/apiserver/v1, webhook admission, ImagePolicyWebhook
        "clientCAFile",  # k8s.io/kubelet/config/v1beta1
        "tlsCertFile",
        "tlsPrivateKeyFile",
    }
)
_WEAK_KEYS = re.compile(
    r"(?:path|kubeconfig|caBundle|clientCert|clientKey|.*[a-z](?:File|-file|_file)|"
    r".*(?:-cafile|-certfile|-keyfile)|(?:ca|cert|key)_?[fF]ile|file)\Z"
)
_OF_SYSTEM = re.compile(r"staticPodPath|resolvConf|.*Dir|.*Root")
_RELATIVE_KINDS = ("Config", "AdmissionConfiguration")
_FLAG = re.compile(r"""(?:^|[\s"'=])--?([A-Za-z][A-Za-z0-9-]*)(?:=|[ \t]+)["']?([^\s"'\\]+)""")
_VARIABLE = re.compile(
    r"""^\s*(?:export\s+)?["']?([A-Z][A-Z0-9_]*)=["']?(/[^\s"']+)""", re.MULTILINE
)
_ENVIRONMENT_FILE = re.compile(r"^\s*EnvironmentFile\s*=\s*(-?)(\S+)", re.MULTILINE)
_UNITS = (".service", ".conf", ".env")
_PROGRAMS = ("etcd", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclasses.dataclass(frozen=True)
class Reference:
    """A file that something makes a program read, as that program sees its path."""

    path: str
    why: str
    name: str | None = None
    strong: bool = False
    """Its program does not work without it: say so if it is missing."""
    pod: StaticPod | None = None
    """The container that reads it; None: it is a path of the host (or the referrer's container)."""


@dataclasses.dataclass(frozen=True)
class Parsed:
    """What one file says."""

    references: tuple[Reference, ...] = ()
    kind: str | None = None
    documents: tuple[t.Mapping[str, t.Any], ...] = dataclasses.field(default=(), repr=False)
    problem: str | None = None


def parse(path: str, data: bytes, *, tree: Tree) -> Parsed:
    """Read a file by its name and content; one that holds no references gives none."""
    if len(data) > _MAX_PARSED_BYTES or b"\0" in data or data.startswith(b"-----BEGIN"):
        return Parsed()
    text = data.decode("utf-8", "surrogateescape")
    name = posixpath.basename(path)
    folder = posixpath.basename(posixpath.dirname(path))
    if (
        name.endswith((".service", ".env"))
        or (name.endswith(".conf") and folder.endswith(".service.d"))
        or folder in ("default", "sysconfig")
    ):
        return Parsed(tuple(_of_unit(path, text)))
    if name.endswith(".toml"):
        return Parsed(tuple(_of_toml(text, path)))
    documents, problem = _documents(text)
    found: list[Reference] = []
    kind: str | None = None
    for document in documents:
        this = document.get("kind")
        kind = kind or (this if isinstance(this, str) else None)
        if this == "Pod":
            found += _of_pod(path, document, tree)
        elif this is None and "/rancher/" in path and name.endswith((".yaml", ".yml")):
            found += _of_rancher(document)
        else:
            found += _of_document(path, document)
    return Parsed(tuple(found), kind, tuple(documents), problem)


def _documents(text: str) -> tuple[list[dict[str, t.Any]], str | None]:
    if ":" not in text:
        return [], None
    try:
        return [each for each in _yaml.load(text) if isinstance(each, dict)], None
    except _yaml.NotYaml as exc:
        return [], exc.message


def _of_pod(path: str, document: t.Mapping[str, t.Any], tree: Tree) -> t.Iterator[Reference]:
    manifest = posixpath.basename(path)
    for pod in containers(tree, path, document):
        for flag, values in pod.flags.values.items():
            for value in values:
                yield from _of_flag(pod.component, flag, value, f"{manifest} --{flag}", pod=pod)
        for mount in pod.mounts:
            # Whether it is a file, the reader finds out: folders are left alone.
            yield Reference(mount.container_path, f"{manifest} mounts it", pod=pod)


def _of_flag(
    component: str, flag: str, value: str, why: str, *, pod: StaticPod | None = None
) -> t.Iterator[Reference]:
    if flag.endswith("-arg") and "=" in value:  # k3s and rke2: kube-apiserver-arg=flag=value
        inner, _mark, rest = value.partition("=")
        owner = flag[: -len("-arg")]
        yield from _of_flag(owner, inner.lstrip("-"), rest, f"{why} {inner}", pod=pod)
        return
    file = names.names_a_file(flag)
    if file is False:
        return
    # --tls-sni-cert-key is "cert,key:names"; others may list files.
    for part in value.split(","):
        candidate = part.split(":", maxsplit=1)[0] if flag == "tls-sni-cert-key" else part
        if _is_path(candidate):
            yield Reference(
                candidate,
                why,
                names.flag_name(component, flag),
                bool(file and component and flag != "bootstrap-kubeconfig"),
                pod,
            )


def _of_document(path: str, document: t.Mapping[str, t.Any]) -> t.Iterator[Reference]:
    kind = document.get("kind")
    name = posixpath.basename(path)
    folder = posixpath.dirname(path)
    for key, value in _scalars(document):
        if _OF_SYSTEM.match(key):
            continue
        strong = key in _STRONG_KEYS or (kind == "AdmissionConfiguration" and key == "path")
        if not strong and not _WEAK_KEYS.match(key):
            continue
        if not value.startswith("/"):
            # clientcmd and apiserver/pkg/admission/config.go: relative to the file itself.
            if kind not in _RELATIVE_KINDS or not strong or not value:
                continue
            value = posixpath.join(folder, value)
        if _is_path(value):
            yield Reference(value, f"{name} {key}", _document_name(key), strong)


def _document_name(key: str) -> str | None:
    return {"clientCAFile": "ca.crt"}.get(key)


def _of_rancher(document: t.Mapping[str, t.Any]) -> t.Iterator[Reference]:
    """Read k3s's and rke2's config.yaml: their flags as keys; `-arg` lists for the components."""
    for key, value in document.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(key, str) and isinstance(each, str):
                flag = key.rstrip("+")
                yield from _of_flag("", flag, each, f"config.yaml {flag}")


def _of_unit(path: str, text: str) -> t.Iterator[Reference]:
    name = posixpath.basename(path)
    text = text.replace("\\\n", " ")
    lines = "\n".join(
        line for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))
    )
    component = _component(path, lines)
    for found in _ENVIRONMENT_FILE.finditer(lines):
        if _is_path(found.group(2)):
            yield Reference(found.group(2), f"{name} EnvironmentFile", _environment_name(component))
    for found in _FLAG.finditer(lines):
        flag, value = found.groups()
        yield from _of_flag(component, flag, value, f"{name} --{flag}")
    for found in _VARIABLE.finditer(lines):
        variable, value = found.groups()
        flag = re.sub(r"\AETCD_", "", variable).lower().replace("_", "-")
        owner = "etcd" if variable.startswith("ETCD_") else ""
        yield from _of_flag(owner, flag, value, f"{name} {variable}")


def _component(path: str, text: str) -> str:
    for program in _PROGRAMS:
        if re.search(rf"(?:^|/){re.escape(program)}\.(?:service|env)(?:\.d/|$)", path):
            return program
    if posixpath.basename(path) in ("kubelet", "kubeadm-flags.env"):
        return "kubelet"
    found = re.search(r"^\s*ExecStart\s*=\s*[-@:+!]*(\S+)", text, re.MULTILINE)
    program = os.path.basename(found.group(1)) if found else ""
    return program if program in _PROGRAMS else ""


def _environment_name(component: str) -> str | None:
    return {"etcd": "etcd/environment"}.get(component)


def _of_toml(text: str, path: str) -> t.Iterator[Reference]:
    """Read containerd's config.toml: any quoted path may be a file (certificates, imports)."""
    name = posixpath.basename(path)
    for found in re.finditer(
        r"""^\s*(\w*(?:file|ca|cert|key|path)\w*)\s*=\s*["'](/[^"'\n]+)""", text, re.M
    ):
        if _is_path(found.group(2)):
            yield Reference(found.group(2), f"{name} {found.group(1)}")


def _scalars(document: object) -> t.Iterator[tuple[str, str]]:
    """Give every key with a text; an alias that comes back (`&a [*a]`) is walked once."""
    seen: set[int] = set()
    pending: list[object] = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, (dict, list)):
            if id(node) in seen:
                continue
            seen.add(id(node))
        if isinstance(node, dict):
            for key, value in node.items():
                if isinstance(key, str) and isinstance(value, str):
                    yield key, value
                elif isinstance(value, (dict, list)):
                    pending.append(value)
        elif isinstance(node, list):
            pending += [each for each in node if isinstance(each, (dict, list))]


def _is_path(value: str) -> bool:
    return (
        value.startswith("/")
        and 1 < len(value) <= _MAX_PATH
        and not any(char in value for char in "\0\n$*%")
    )
