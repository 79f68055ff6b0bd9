# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file's way to a host: by the connection in constant memory, or in slices where it can't."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.controlplane.etcd.plugins.module_utils import _files
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import TransferError
from ansible_collections.controlplane.etcd.plugins.plugin_utils import _transfer

__all__ = ["far", "send"]

_SLICE_BYTES = 4 << 20
_CUT = re.compile(r"send disconnect|connection (closed|reset)|lost connection|broken pipe", re.I)


def send(
    connection: t.Any,
    path: str,
    target: str,
    *,
    what: str,
    write_slice: t.Callable[[int, str], object],
) -> None:
    """Bring the file `path` of the controller to `target` on the host.

    `what` names file and host in messages. `write_slice` writes base64 bytes at an offset of
    the file there, its last ones, for connections that carry no files.

    :raises TransferError: the connection was cut off.
    """
    for method in _transfer.ways(connection):
        try:
            if method == "local":  # its put_file resolves links, and `path` has no other name
                shutil.copyfile(path, target)
            else:
                connection.put_file(path, target)
            return
        except (AnsibleError, OSError) as exc:
            if _is_cut_off(exc):
                raise TransferError(
                    f"The transfer of {what} was cut off: {_transfer.last_line(exc)}.",
                    hint="Run again; what came so far is removed.",
                ) from exc
    with open(path, "rb") as source:
        offset = 0
        for piece in _files.chunks(source, _SLICE_BYTES):
            write_slice(offset, base64.b64encode(piece).decode("ascii"))
            offset += len(piece)


def _is_cut_off(error: Exception) -> bool:
    """Tell whether the connection was lost, and is not one that can't carry files."""
    if _transfer.not_offered(error) or "not found" in str(error):
        return False
    # Of a program that was sending, not each one ends with ssh's own exit status.
    return isinstance(error, AnsibleConnectionFailure) or bool(_CUT.search(str(error)))


def far(path: str) -> int | None:
    """Return how far the process that sends `path` has read it, None where that can't be seen.

    proc(5), /proc/PID/fdinfo: `pos` of another process's descriptor of the same file.
    """
    try:
        facts = os.stat(path)
    except OSError:
        return None
    best = None
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError, ValueError):
            for number in os.listdir(f"{entry.path}/fd"):
                other = os.stat(f"{entry.path}/fd/{number}")
                if (other.st_dev, other.st_ino) == (facts.st_dev, facts.st_ino):
                    with open(f"{entry.path}/fdinfo/{number}", encoding="ascii") as source:
                        best = max(best or 0, int(source.readline().split()[1]))
    return best
