# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The options of a drill, read."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._errors import OptionInvalid
from ansible_collections.controlplane.etcd.plugins.module_utils._node.cage.cage import (
    Isolation,
    Limits,
)

from .extract import Selection, read_selection
from .model import NamedTool, Wish

__all__ = ["wish_from"]

_SIZE = re.compile(r"(\d+)([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_PERCENT = re.compile(r"(\d+)%")
# Less than this is no etcd that starts.
_LEAST_MEMORY = 256 << 20
# systemd.unit(5): what it gives no meaning to, as it does to % or a space.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def wish_from(params: t.Mapping[str, t.Any], *, start_seconds: float) -> Wish:
    """Read the options of a drill.

    :raises OptionInvalid: one can't be used.
    """
    return Wish(
        delivery=params["delivery"].rstrip("/"),
        identity=params["identity"],
        work_dir=_work_dir(params["work_dir"]),
        tools=tuple(_tool(each) for each in params["tools"]),
        isolation=Isolation(params["isolation"]),
        limits=Limits(
            memory_bytes=_memory(params["memory_max"]), cpu_percent=_percent(params["cpu_quota"])
        ),
        start_seconds=start_seconds,
        remove_delivery=params["remove_delivery"],
        api=params["api"],
        selection=_selection(params),
    )


def _work_dir(path: str) -> str:
    if not _PLAIN_PATH.fullmatch(path):
        raise OptionInvalid(
            f"Option work_dir {path!r} is no absolute path of letters, digits, '.', '_' and '-' "
            "alone, which systemd would take as it is.",
            hint="Name another folder, such as /var/tmp.",
            path=path,
        )
    return path


def _selection(params: t.Mapping[str, t.Any]) -> Selection | None:
    if params["extract"] is None:
        return None
    if not params["api"]:
        raise OptionInvalid(
            "Option extract needs an API server: etcd alone can't tell objects' meaning.",
            hint="Set api: true.",
        )
    return read_selection(params["extract"])


def _tool(given: t.Mapping[str, t.Any]) -> NamedTool:
    sha256 = given["sha256"]
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise OptionInvalid(
            f"Option tools: the sha256 of {given['path']} is not 64 lower-case hex digits.",
            hint="Write what sha256sum prints.",
            path=given["path"],
        )
    return NamedTool(given["name"], given["path"], sha256)


def _memory(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    size = int(found.group(1)) << _UNITS[found.group(2).upper()] if found else 0
    if size < _LEAST_MEMORY:
        raise OptionInvalid(
            f"Option memory_max {text!r} is no size of 256M or more.", hint="Write it as in 2G."
        )
    return size


def _percent(text: str) -> int:
    found = _PERCENT.fullmatch(text.strip())
    percent = int(found.group(1)) if found else 0
    if percent < 1:
        raise OptionInvalid(
            f"Option cpu_quota {text!r} is no share of a processor.",
            hint="Write it as in 100%, or 200% for two processors.",
        )
    return percent
