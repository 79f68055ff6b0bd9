# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Know the secrets that lie in host trees, for the searches that must not find them."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from lab import objects

PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.+?)\n-----END", re.DOTALL)
KUBECONFIG_KEY = re.compile(r"client-key-data: *(\S+)")


def secrets_of(root: Path) -> set[str]:
    """Return the first line of each private key below `root`, and what the objects hide."""
    found = set(objects.planted_forms())
    for path in root.rglob("*"):
        if path.is_symlink() or path.suffix not in (".key", ".conf", ".pem"):
            continue
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        for line in KUBECONFIG_KEY.findall(text):
            found.add(line[:200])
            text += "\n" + base64.b64decode(line).decode(errors="replace")
        found |= {body.splitlines()[0] for body in PRIVATE_KEY.findall(text)}
    return found
