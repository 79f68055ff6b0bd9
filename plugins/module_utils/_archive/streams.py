# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Ends of pyrage's streams that count, hash, decompress, and remember what went wrong."""

from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps, _files
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import SealDamaged

__all__ = ["Decompress", "HashingSource", "Source", "Target", "raise_cause"]

# One slice of zstd input can grow to a block of 128 KiB for every 4 bytes (RFC 8878, section
# 3.1.1.2.2, RLE_Block): small slices keep the memory bounded.
_SLICE_BYTES = 1024
_MAGIC = b"\x28\xb5\x2f\xfd"
_DAMAGED = "Compare its sha256 with the manifest's, and copy it again."


class Source:
    """Reads through, counting, and remembers what went wrong."""

    def __init__(self, raw: t.Any) -> None:
        self._raw = raw
        self.size_bytes = 0
        self.cause: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._raw.read(size)
        except BaseException as exc:
            self.cause = exc
            raise
        self.size_bytes += len(data)
        return t.cast(bytes, data)


class HashingSource(Source):
    """A source that takes the sha256 of what is read."""

    def __init__(self, raw: t.Any) -> None:
        super().__init__(raw)
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        self._hash.update(data)
        return data

    @property
    def sha256(self) -> str:
        """The lower-case hex sha256 of everything read so far."""
        return self._hash.hexdigest()


class Target:
    """Writes through, hashing, and remembers what went wrong."""

    def __init__(self, raw: t.Any) -> None:
        self._raw = raw
        self.hashing = _files.HashingWriter(raw)
        self.cause: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.hashing.write(data)
        except BaseException as exc:
            self.cause = exc
            raise

    def flush(self) -> None:
        try:
            self._raw.flush()
        except BaseException as exc:
            self.cause = exc
            raise


class Decompress:
    """Writes the decompressed bytes on, and remembers what went wrong."""

    def __init__(self, raw: t.Any) -> None:
        zstandard = _deps.load("zstandard")
        self._error = zstandard.ZstdError
        self._zstd = zstandard.ZstdDecompressor().decompressobj()
        self._raw = raw
        self._size_bytes = 0
        self._head = b""
        self.cause: BaseException | None = None

    def write(self, data: bytes) -> int:
        if len(self._head) < len(_MAGIC):
            self._head += data[: len(_MAGIC)]
        try:
            for start in range(0, len(data), _SLICE_BYTES):
                self._feed(data[start : start + _SLICE_BYTES])
        except BaseException as exc:
            self.cause = exc
            raise
        return len(data)

    def flush(self) -> None:
        pass

    def finish(self) -> int:
        """Return the clear size of a file that ended where it should."""
        if not self._zstd.eof:
            raise SealDamaged("The compressed file is cut off before its end.", hint=_DAMAGED)
        self._raw.flush()
        return self._size_bytes

    def _feed(self, data: bytes) -> None:
        if self._zstd.eof:
            raise SealDamaged("The compressed file goes on after its end.", hint=_DAMAGED)
        try:
            clear = self._zstd.decompress(data)
        except self._error as exc:
            if not self._head.startswith(_MAGIC):
                raise SealDamaged(
                    "There is no zstd inside: it was sealed without, or its first bytes are damaged.",
                    hint=f"What was sealed with age alone, decrypt first: age -d -i IDENTITY. {_DAMAGED}",
                ) from exc
            raise SealDamaged(f"The compressed file is damaged: {exc}.", hint=_DAMAGED) from exc
        self._raw.write(clear)
        self._size_bytes += len(clear)


def raise_cause(*ends: Source | Target | Decompress) -> None:
    # pyrage turns whatever a Python stream raises into its own error, text only: put it back.
    for end in ends:
        if end.cause is not None:
            raise end.cause
