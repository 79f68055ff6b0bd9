# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A sealed file sealed anew to one other recipient: the clear bytes pass through a pipe, in memory.

Only the outer layer, age, is changed: what is inside stays compressed as it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import threading
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import (
    IDENTITY_HINT,
    load_identities,
    parse_recipients,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.streams import (
    HashingSource,
    Source,
    Target,
    raise_cause,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    KeyMissing,
    SealDamaged,
    SealError,
)

__all__ = ["Resealed", "identities_of", "most_bytes", "reseal"]

_PIPE_BYTES = 1 << 20
# age splits into chunks of 64 KiB with 16 bytes each, behind a header of less than this.
_CHUNK_BYTES = 64 << 10
_TAG_BYTES = 16
_HEADER_BYTES = 4096


@dataclasses.dataclass(frozen=True)
class Resealed:
    """What came out, and the sha256 of what went in."""

    size_bytes: int
    sha256: str
    source_sha256: str


def most_bytes(size_bytes: int) -> int:
    """Return how large a file of this size can get when it is sealed (anew)."""
    return size_bytes + (size_bytes // _CHUNK_BYTES + 1) * _TAG_BYTES + _HEADER_BYTES


def identities_of(paths: t.Sequence[str]) -> tuple[t.Any, ...]:
    """Return the identities of files; see sealing.load_identities().

    :raises KeyMissing: there is none, or a file can't be used.
    """
    if not paths:
        raise KeyMissing(
            "The archive's files are sealed, and no identity is given to open them.",
            hint=f"Set etcd_identities. {IDENTITY_HINT}",
        )
    try:
        return load_identities(paths)
    except SealError as exc:
        raise KeyMissing(exc.message, hint=exc.hint, path=exc.path) from exc


def reseal(
    reader: t.Any, writer: t.Any, recipient: str, *, identities: t.Sequence[t.Any]
) -> Resealed:
    """Seal all of `reader` to `recipient` into `writer`, in constant memory.

    `identities` open it; none: `reader` is not sealed. What was written before an error is not to
    be used. Errors of `reader` and `writer` come through as they were raised.

    :raises KeyMissing: no identity fits.
    :raises SealDamaged: the sealed file is damaged or cut off.
    :raises SealError: the recipient can't be used.
    """
    (text,) = parse_recipients((recipient,))
    key = _deps.load("pyrage").x25519.Recipient.from_str(text)
    source, target = HashingSource(reader), Target(writer)
    if identities:
        _pump(source, target, key, identities)
    else:
        _encrypt(source, target, key)
    target.flush()
    return Resealed(
        size_bytes=target.hashing.size_bytes,
        sha256=target.hashing.sha256,
        source_sha256=source.sha256,
    )


def _pump(source: HashingSource, target: Target, key: t.Any, identities: t.Sequence[t.Any]) -> None:
    """Open in a thread, seal in this one, with a pipe between."""
    inner, outer = os.pipe()
    with contextlib.suppress(OSError, AttributeError):  # not everywhere, and only faster
        fcntl.fcntl(inner, getattr(fcntl, "F_SETPIPE_SZ", 1031), _PIPE_BYTES)
    opening = _Opening(source, outer, identities)
    failed: BaseException | None = None
    with os.fdopen(inner, "rb") as clear:
        opening.start()
        try:
            _encrypt(Source(clear), target, key)
        except BaseException as exc:
            failed = exc
    # With its reading end closed, a thread that still writes is told so.
    opening.join()
    # An opening that broke off looks like the end of the file to the one that seals.
    if opening.failed is not None and not isinstance(opening.failed, BrokenPipeError):
        raise opening.failed
    if failed is not None:
        raise failed
    if opening.failed is not None:
        raise opening.failed


class _Opening(threading.Thread):
    """Opens a sealed file into a pipe, and closes that."""

    def __init__(self, source: HashingSource, pipe: int, identities: t.Sequence[t.Any]) -> None:
        super().__init__(daemon=True)
        self.failed: BaseException | None = None
        self._source = source
        self._pipe = pipe
        self._identities = list(identities)

    def run(self) -> None:
        try:
            with os.fdopen(self._pipe, "wb") as clear:
                _decrypt(self._source, Target(clear), self._identities)
        except BaseException as exc:
            self.failed = exc


def _decrypt(source: HashingSource, target: Target, identities: list[t.Any]) -> None:
    pyrage = _deps.load("pyrage")
    try:
        pyrage.decrypt_io(source, target, identities)
    except (pyrage.DecryptError, OSError) as exc:
        raise_cause(source, target)
        if "No matching keys" in str(exc):
            raise KeyMissing(
                "None of the identities given opens the sealed file.",
                hint="Its recipients are in the manifest: give the private half of one of them.",
            ) from exc
        raise SealDamaged(
            f"The sealed file cannot be opened: {exc}.",
            hint="It was sealed wrongly, or damaged before it was signed: choose another entry.",
        ) from exc
    target.flush()


def _encrypt(source: Source | HashingSource, target: Target, key: t.Any) -> None:
    pyrage = _deps.load("pyrage")
    try:
        pyrage.encrypt_io(source, target, [key])
    except (pyrage.EncryptError, OSError) as exc:
        raise_cause(source, target)
        raise SealError(f"Sealing failed: {exc}.") from exc
