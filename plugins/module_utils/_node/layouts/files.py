# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Read files of a layout, with errors that name them."""

from __future__ import annotations

import io
import os
import pwd
import stat
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _files, _yaml
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import LayoutError

__all__ = ["list_folder", "read_text", "read_yaml"]


def read_text(path: str) -> str:
    """Return a file's text.

    :raises LayoutError: it can't be read.
    """
    try:
        with io.TextIOWrapper(
            _files.open_regular(path), encoding="utf-8", errors="surrogateescape"
        ) as source:
            return source.read()
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def read_yaml(path: str) -> dict[str, t.Any]:
    """Return a YAML (or JSON) file's mapping.

    :raises LayoutError: it can't be read, or holds no mapping.
    """
    try:
        # The kubelet, too, takes the first document of several.
        document = next(iter(_yaml.load(read_text(path), most=1)), None)
    except _yaml.NotYaml as exc:
        raise LayoutError(
            f"File {path} can't be used: {exc.message}.",
            hint="Mend it; the kubelet can't read it either.",
            path=path,
        ) from exc
    if not isinstance(document, dict):
        raise LayoutError(
            f"File {path} holds {type(document).__name__} where a mapping was expected.", path=path
        )
    return document


def list_folder(path: str) -> list[str]:
    """Return the names in a folder, sorted; none where it doesn't exist.

    :raises LayoutError: it exists but can't be listed.
    """
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: str, exc: OSError) -> LayoutError:
    try:
        facts = os.stat(path)
        access = f"owner uid {facts.st_uid}, mode {stat.S_IMODE(facts.st_mode):04o}"
    except OSError:
        access = "nothing more can be seen"
    try:
        me = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        me = f"uid {os.geteuid()}"
    return LayoutError(
        f"Cannot read {path} on this host: {exc.strerror} ({access}; running as {me}).",
        hint="Run the task with become.",
        path=path,
    )
