# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive with a past: entries like a real one, under other times, signed anew by its own key."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import shutil
import subprocess
import typing as t
from pathlib import Path

NAMESPACE = "controlplane.etcd"


def sign(path: Path, key: Path) -> None:
    """Put a signature of `path` beside it."""
    path.with_name(f"{path.name}.sig").unlink(missing_ok=True)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(path)]
    subprocess.run(argv, check=True, capture_output=True)


def add_like(
    entry: Path, key: Path, when: dt.datetime, *, objects: int | None = None, mode: str = ""
) -> Path:
    """Add an entry with the files of `entry` that was made at `when`; return its folder."""
    when = when.astimezone(dt.timezone.utc)
    path = entry.with_name(f"{when:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}")
    # The hidden ones are marks of who reads the other entry.
    shutil.copytree(entry, path, ignore=shutil.ignore_patterns(".*", "drills", "PINNED"))
    manifest = path / "manifest.json"
    said = json.loads(manifest.read_text())
    said["id"], said["created_at"] = path.name, f"{when:%Y-%m-%dT%H:%M:%SZ}"
    if objects is not None:
        said["kubernetes"].update(object_count=objects, resources={"configmaps": objects})
    if mode:
        said["mode"] = mode
    manifest.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")
    sign(manifest, key)
    return path


def prove(
    entry: Path, key: Path, when: dt.datetime, *, verdict: str = "passed", **changes: t.Any
) -> Path:
    """Put a drill's proof beside an entry; return its file."""
    said = json.loads((entry / "manifest.json").read_text())
    document = {
        "schema": "controlplane.etcd/proof/v1",
        "must_understand": [],
        "entry": said["id"],
        "sha256": said["snapshot"]["sha256"],
        "verdict": verdict,
        "finished_at": f"{when.astimezone(dt.timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
        **changes,
    }
    path = entry / "drills" / f"{when:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    sign(path, key)
    return path
