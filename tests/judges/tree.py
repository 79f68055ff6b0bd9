# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as the judges see it: what git would give, where a collection has to lie."""

from __future__ import annotations

import shutil
import subprocess
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What ansible-test itself reads.
CONFIG = "tests/config.yml"
HOME = Path("ansible_collections") / "controlplane" / "etcd"


def export(folder: Path, *, without: t.Sequence[str] = ()) -> Path:
    """Copy the work tree below `folder`; return the collection's folder.

    :param without: folders that are left out, as is what git ignores.
    """
    target = folder / HOME
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if name.split("/", maxsplit=1)[0] in without and name != CONFIG:
            continue
        source = ROOT / name
        if not source.is_symlink() and not source.exists():
            continue  # removed, and not committed yet
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, copy, follow_symlinks=False)
    return target
