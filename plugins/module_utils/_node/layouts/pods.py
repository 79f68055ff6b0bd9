# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Static pods: the manifests that a kubelet runs from a folder."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import LayoutError

from . import files, flags
from .model import Flags, Mount, StaticPod, Tree

__all__ = ["COMPONENTS", "containers", "read_folder"]

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def read_folder(tree: Tree, folder: str) -> tuple[StaticPod, ...]:
    """Return the control-plane components in a manifests folder (a real path).

    Looks at every file that the kubelet would run: all but those whose name starts with a dot.
    """
    found: list[StaticPod] = []
    for name in files.list_folder(folder):
        path = os.path.join(folder, name)
        if name.startswith(".") or not os.path.isfile(path):
            continue
        # A .bak beside the manifest is run by the kubelet too, but it is not ours to fail over.
        if not name.endswith((".yaml", ".yml", ".json", ".manifest")):
            continue
        try:
            document = files.read_yaml(path)
        except LayoutError:
            if name.startswith(COMPONENTS) or not os.access(path, os.R_OK):
                raise
            continue  # the kubelet skips what it can't read, so do we
        found += [pod for pod in containers(tree, path, document) if pod.component in COMPONENTS]
    return tuple(found)


def containers(tree: Tree, path: str, document: t.Mapping[str, t.Any]) -> t.Iterator[StaticPod]:
    """Give every container of a static pod's manifest; `component` is empty for other programs."""
    if document.get("kind") != "Pod":
        return
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return
    volumes = {
        str(volume.get("name")): str(volume["hostPath"]["path"])
        for volume in _mappings(spec.get("volumes"))
        if isinstance(volume.get("hostPath"), dict) and volume["hostPath"].get("path")
    }
    for container in (*_mappings(spec.get("containers")), *_mappings(spec.get("initContainers"))):
        variables = {
            str(entry["name"]): str(entry["value"])
            for entry in _mappings(container.get("env"))
            if entry.get("name") and entry.get("value") is not None
        }
        words = [*_list(container.get("command")), *_list(container.get("args"))]
        argv = [flags.expand(str(word), variables) for word in words]
        component, program = _component(argv)
        given: Flags = flags.from_argv(program[1:])
        if component == "etcd":
            given = flags.merge(flags.from_environment(variables), given)
        yield StaticPod(
            component=component,
            manifest=path,
            image=str(container.get("image") or ""),
            flags=given,
            mounts=tuple(_mounts(tree, container, volumes)),
        )


def _component(argv: list[str]) -> tuple[str, list[str]]:
    for component in COMPONENTS:
        program = flags.program_of(argv, component)
        if program is not None:
            return component, program
    return "", argv


def _mounts(
    tree: Tree, container: dict[str, t.Any], volumes: t.Mapping[str, str]
) -> t.Iterator[Mount]:
    for mount in _mappings(container.get("volumeMounts")):
        host = volumes.get(str(mount.get("name")))
        if host is None or not mount.get("mountPath"):
            continue
        if mount.get("subPath"):
            host = os.path.join(host, str(mount["subPath"]))
        yield Mount(str(mount["mountPath"]), tree.path(host))


def _list(value: object) -> list[t.Any]:
    return value if isinstance(value, list) else []


def _mappings(value: object) -> list[dict[str, t.Any]]:
    return [entry for entry in _list(value) if isinstance(entry, dict)]
