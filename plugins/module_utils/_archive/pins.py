# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Entries that are never rotated away: those with a file PINNED inside, whose text says why."""

from __future__ import annotations

import os
import re

from ansible_collections.controlplane.etcd.plugins.module_utils import _files

__all__ = ["NAME", "pinned"]

NAME = "PINNED"
# Whoever wrote pinned.txt meant it, too.
_NAMES = re.compile(r"pinned(\..*)?", re.IGNORECASE)
_SHOWN_CHARACTERS = 200


def pinned(folder: str) -> str | None:
    """Return why the entry in `folder` is pinned (empty where nothing is said); None if it is not.

    A file of that name pins, whatever it holds, and whether it can be read or not.
    """
    found = sorted(name for name in os.listdir(folder) if _NAMES.fullmatch(name))
    if not found:
        return None
    try:
        with _files.open_regular(os.path.join(folder, found[0]), follow=False) as source:
            text = source.read(16 * _SHOWN_CHARACTERS).decode(errors="replace")
    except OSError:
        return ""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(plain.split())[:_SHOWN_CHARACTERS]
