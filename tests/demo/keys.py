# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the demo: whom archives are sealed for, and who signs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyrage

from demo.children import run


@dataclass(frozen=True)
class Keys:
    """Where the private halves lie, and the public ones themselves."""

    identities: dict[str, Path]
    recipients: tuple[str, ...]
    signing_key: Path


def make(folder: Path) -> Keys:
    """Make two age identities and a signing key in `folder`."""
    folder.mkdir(mode=0o700)
    identities: dict[str, Path] = {}
    recipients: list[str] = []
    for name in ("ops", "escrow"):
        identity = pyrage.x25519.Identity.generate()
        recipients.append(str(identity.to_public()))
        identities[name] = folder / f"{name}.age"
        identities[name].touch(mode=0o600)
        identities[name].write_text(f"# public key: {recipients[-1]}\n{identity}\n")
    signing_key = folder / "signing"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", signing_key])
    return Keys(identities, tuple(recipients), signing_key)
