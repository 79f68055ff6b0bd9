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

__all__ = ["COMPONENTS", "read_folder"]

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
        found += _components(tree, path, document)
    return tuple(found)


def _components(tree: Tree, path: str, document: dict[str, t.Any]) -> t.Iterator[StaticPod]:
    if document.get("kind") != "Pod":
        return
    spec = document.get("spec") or {}
    volumes = {
        str(volume.get("name")): str(volume["hostPath"]["path"])
        for volume in spec.get("volumes") or []
        if isinstance(volume.get("hostPath"), dict) and volume["hostPath"].get("path")
    }
    for container in spec.get("containers") or []:
        variables = {
            str(entry["name"]): str(entry["value"])
            for entry in container.get("env") or []
            if entry.get("name") and entry.get("value") is not None
        }
        words = [*(container.get("command") or []), *(container.get("args") or [])]
        argv = [flags.expand(str(word), variables) for word in words]
        for component in COMPONENTS:
            program = flags.program_of(argv, component)
            if program is None:
                continue
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
            break


def _mounts(
    tree: Tree, container: dict[str, t.Any], volumes: t.Mapping[str, str]
) -> t.Iterator[Mount]:
    for mount in container.get("volumeMounts") or []:
        host = volumes.get(str(mount.get("name")))
        if host is None or not mount.get("mountPath"):
            continue
        if mount.get("subPath"):
            host = os.path.join(host, str(mount["subPath"]))
        yield Mount(str(mount["mountPath"]), tree.path(host))
