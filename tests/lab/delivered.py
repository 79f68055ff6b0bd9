# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A delivery on this machine, laid by hand as etcd_deliver lays it, for the drill alone."""

from __future__ import annotations

import dataclasses
import json
import secrets
import shutil
import subprocess
import typing as t
from pathlib import Path

import pyrage
import pyrage.x25519

from lab.archived import Keys

__all__ = ["Delivery", "deliver", "image_of"]


@dataclasses.dataclass(frozen=True)
class Delivery:
    """Its folder, and the file with the one-time key to it."""

    folder: Path
    identity: Path

    @property
    def manifest(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads((self.folder / "manifest.json").read_text()))

    def options(self, **more: t.Any) -> dict[str, t.Any]:
        """The options of etcd_drill for it."""
        return {"delivery": str(self.folder), "identity": str(self.identity), **more}

    @property
    def gone(self) -> bool:
        return not self.folder.exists() and not self.identity.exists()


def image_of(entry: Path, keys: Keys) -> bytes:
    """Return the clear snapshot of an entry, with its trailer, opened by age and zstd themselves."""
    command = 'age -d -i "$1" "$2" | zstd -q -d -c'
    sealed = str(entry / "data.db.zst.age")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, "-", str(keys.identity), sealed],
        check=True,
        capture_output=True,
    ).stdout


def deliver(
    entry: Path,
    keys: Keys,
    into: Path,
    *,
    image: bytes | None = None,
    manifest: t.Mapping[str, t.Any] | None = None,
) -> Delivery:
    """Seal an entry's snapshot (or `image` in its place) to a new key, with manifest and tools."""
    into.mkdir(parents=True, exist_ok=True)
    name = "-".join(["controlplane-etcd-delivery", entry.name, *map(secrets.token_hex, (4, 4))])
    folder = into / name
    (folder / "tools").mkdir(parents=True)
    folder.chmod(0o700)
    told = (entry / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(json.dumps(manifest).encode() if manifest else told)
    identity = pyrage.x25519.Identity.generate()
    key = into / f"{folder.name}.key"
    key.touch(mode=0o600)
    key.write_text(f"# one delivery's\n{identity}\n")
    clear = image_of(entry, keys) if image is None else image
    packed = subprocess.run(["zstd", "-q", "-c"], input=clear, check=True, capture_output=True)
    sealed = pyrage.encrypt(packed.stdout, [identity.to_public()])
    (folder / "data.db.zst.age").write_bytes(sealed)
    archive = entry.parents[1]
    for tool in json.loads(told)["tools"]:
        shutil.copy(archive / tool["path"], folder / "tools" / tool["name"])
    return Delivery(folder, key)
