# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Identity files at hand, each key with its public half: which recipient it is."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps, _files
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import (
    load_identities,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import SealError

__all__ = ["Key", "keys_at_hand"]

_OPENSSH = re.compile(
    rb"-----BEGIN OPENSSH PRIVATE KEY-----(.+?)-----END OPENSSH PRIVATE KEY-----", re.DOTALL
)
_MAGIC = b"openssh-key-v1\0"


@dataclasses.dataclass(frozen=True)
class Key:
    """A private key of an identity file, or why there is none that can be used."""

    path: str
    recipient: str | None
    """Its public half as archives name it; None: it cannot be told."""
    identity: t.Any = dataclasses.field(default=None, repr=False)
    problem: str = ""
    """Why it opens nothing here: words that show nothing of it."""


def keys_at_hand(paths: t.Sequence[str]) -> list[Key]:
    """Return every key of the files; a file that can't be used is one with a problem."""
    found: list[Key] = []
    for path in paths:
        try:
            identities = load_identities([path])
        except SealError as exc:
            found.append(Key(path, _ssh_recipient(path), problem=exc.message))
            continue
        for identity in identities:
            recipient = (
                str(identity.to_public())
                if hasattr(identity, "to_public")
                else _ssh_recipient(path)
            )
            found.append(Key(path, recipient, identity))
    return found


def _ssh_recipient(path: str) -> str | None:
    """Return the public half of an ssh key file; one behind a passphrase shows it, too."""
    try:
        data = _files.read_small(path)
    except OSError:
        return None
    match = _OPENSSH.search(data)
    if match is not None:
        return _of_openssh(match.group(1))
    if b"PRIVATE KEY-----" not in data:
        return None
    serialization = _deps.load("cryptography.hazmat.primitives.serialization")
    try:
        public = serialization.load_pem_private_key(data, password=None).public_key()
        text = public.public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    except (
        ValueError,
        TypeError,
        _deps.load("cryptography.exceptions").UnsupportedAlgorithm,
    ):
        return None
    return t.cast(str, text.decode("ascii"))


def _of_openssh(body: bytes) -> str | None:
    """Read the public half of openssh-key-v1, which lies in clear before the sealed private one.

    PROTOCOL.key of openssh: magic, cipher, kdf, kdf options, number of keys, public key.
    """
    try:
        data = base64.b64decode(body)
    except (binascii.Error, ValueError):
        return None
    if not data.startswith(_MAGIC):
        return None
    at = len(_MAGIC)
    for _field in range(3):
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    at += 4
    blob = data[at + 4 : at + 4 + int.from_bytes(data[at : at + 4], "big")]
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")]
    if not re.fullmatch(rb"[a-z0-9@.-]{1,64}", kind):
        return None
    return f"{kind.decode('ascii')} {base64.b64encode(blob).decode('ascii')}"
