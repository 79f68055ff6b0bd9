# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""File systems of a host: room, kind, and which one a path lies on."""

from __future__ import annotations

import dataclasses
import os
import re

__all__ = ["FileSystem", "file_system"]

_MEMORY = ("tmpfs", "ramfs")
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclasses.dataclass(frozen=True)
class FileSystem:
    """The file system that a path lies on."""

    path: str
    mount_point: str
    kind: str
    device: int
    size_bytes: int
    free_bytes: int
    """What this user can still write."""

    @property
    def is_memory(self) -> bool:
        """Tell whether its files lie in memory."""
        return self.kind in _MEMORY

    def is_same(self, other: FileSystem) -> bool:
        """Tell whether both share their room."""
        return self.device == other.device


def file_system(path: str) -> FileSystem:
    """Return the file system of `path`, or of its nearest parent that exists."""
    real = os.path.realpath(path)
    while not os.path.exists(real):
        real = os.path.dirname(real)
    facts = os.statvfs(real)
    mount_point, kind = _mount(real)
    return FileSystem(
        path=real,
        mount_point=mount_point,
        kind=kind,
        device=os.stat(real).st_dev,
        size_bytes=facts.f_blocks * facts.f_frsize,
        free_bytes=facts.f_bavail * facts.f_frsize,
    )


def _mount(path: str) -> tuple[str, str]:
    """Return mount point and type from /proc/self/mountinfo (proc(5)); the last mount wins."""
    best, kind = "/", "unknown"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as source:
        for line in source:
            before, _mark, after = line.partition(" - ")
            point = _ESCAPE.sub(lambda found: chr(int(found.group(1), 8)), before.split()[4])
            below = path == point or path.startswith(point.rstrip("/") + "/")
            if below and len(point) >= len(best):
                best, kind = point, after.split()[0]
    return best, kind
