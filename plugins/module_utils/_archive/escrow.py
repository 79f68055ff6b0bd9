# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Whether each recipient of an entry can still open it: really opened, into nothing."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._archive.escrow_keys import (
    Key,
    keys_at_hand,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.listing import is_usable
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.sealing import unseal
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.streams import (
    HashingSource,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    EtcdToolError,
    SealDamaged,
    SealError,
)

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.entries import Entry
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        File,
        Manifest,
    )
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.names import Prefix
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.store import Store

__all__ = ["Checked", "State", "check"]

# What etcd puts behind the image in the stream (server/etcdserver/api/v3rpc/maintenance.go).
_TRAILER_BYTES = 32


class State(str, enum.Enum):
    """What became of one recipient of one part."""

    OPENS = "opens"
    """An identity at hand opened every file of the part."""
    NOT_CHECKED = "not_checked"
    """No identity at hand is this recipient's, or it cannot be used here."""
    FAILED = "failed"
    """There is one, and a file does not open with it."""
    UNSEALED = "unsealed"
    """The part is not sealed: whoever reads it has it."""


@dataclasses.dataclass(frozen=True)
class Checked:
    """What is known of a recipient of one part of an entry."""

    etcd_cluster: str
    etcd_instance: str
    entry: str | None
    part: str | None
    recipient: str | None
    state: State
    by: str | None = None
    """The identity file."""
    detail: str = ""
    file_count: int = 0
    clear_bytes: int = 0

    def as_dict(self) -> dict[str, t.Any]:
        """Return it as JSON."""
        return {**dataclasses.asdict(self), "state": self.state.value}


def check(
    place: Store, prefixes: t.Iterable[Prefix], found: t.Sequence[Entry], paths: t.Sequence[str]
) -> tuple[list[Checked], list[str]]:
    """Open the newest usable entry of each prefix with each key of the files, one at a time.

    `found` are entries, newest first. Nothing clear is kept. The first key that opens a file reads all of it; for another one it is
    enough that it yields clear bytes: all of a file's recipients share one key for what follows
    its header (age-encryption.org/v1). Also returns what there is to say of the files.
    """
    keys = keys_at_hand(paths)
    checked: list[Checked] = []
    for prefix in prefixes:
        entry = next((each for each in found if each.prefix == prefix and is_usable(each)), None)
        if entry is None or entry.manifest is None:
            checked.append(
                Checked(
                    prefix.cluster,
                    prefix.instance,
                    None,
                    None,
                    None,
                    State.NOT_CHECKED,
                    detail="There is no usable entry.",
                )
            )
        else:
            checked += _Look(place, prefix, entry.manifest, keys).checked()
    return checked, _said_of_files(keys, checked)


class _Look:
    def __init__(
        self, place: Store, prefix: Prefix, manifest: Manifest, keys: t.Sequence[Key]
    ) -> None:
        self._place, self._prefix, self._manifest = place, prefix, manifest
        self._keys = keys
        self._read: dict[str, int] = {}
        """Clear sizes of the files that were read to their end."""

    def checked(self) -> list[Checked]:
        """Return one for each recipient of each part, in the manifest's order."""
        files: dict[tuple[str, str | None], list[File]] = {}
        for file in self._manifest.files:
            if file.part == "text":
                continue
            sealed = file.encryption.scheme != "none"
            for recipient in file.encryption.recipients if sealed else (None,):
                files.setdefault((file.part, recipient), []).append(file)
        order = sorted(files, key=lambda each: each[0])  # stable: recipients as they were given
        return [self._of(part, recipient, files[part, recipient]) for part, recipient in order]

    def _of(self, part: str, recipient: str | None, files: t.Sequence[File]) -> Checked:
        made = Checked(
            self._prefix.cluster,
            self._prefix.instance,
            self._manifest.id,
            part,
            recipient,
            State.NOT_CHECKED,
            file_count=len(files),
        )
        key: Key | None = None
        if recipient is not None:
            at_hand = [each for each in self._keys if each.recipient == recipient]
            usable = [each for each in at_hand if not each.problem]
            if not usable:
                detail = at_hand[0].problem if at_hand else "No identity at hand is this one's."
                return dataclasses.replace(made, detail=detail)
            key = usable[0]
            made = dataclasses.replace(made, by=key.path)
        clear = 0
        for file in files:
            try:
                clear += self._open(file, key)
            except (EtcdToolError, OSError) as exc:
                return dataclasses.replace(made, state=State.FAILED, detail=_why(file, exc))
        state, detail = State.OPENS, "Every file was opened."
        if key is None:
            state, detail = State.UNSEALED, "It is not sealed: whoever reads it has it."
        return dataclasses.replace(made, state=state, detail=detail, clear_bytes=clear)

    def _open(self, file: File, key: Key | None) -> int:
        """Open a file into nothing; return its clear size."""
        known = self._read.get(file.name)
        target = _Nowhere(_TRAILER_BYTES if file.name.startswith("data.db") else 0)
        if known is not None:
            target.enough = True
        identities = (key.identity,) if key else ()
        with self._place.open(self._prefix, f"{self._manifest.id}/{file.name}") as raw:
            source = HashingSource(raw)
            try:
                if file.compression == "none" and not identities:
                    for piece in iter(lambda: source.read(1 << 20), b""):
                        target.write(piece)
                else:
                    unseal(source, target, identities)
            except _Enough:
                return known or 0
            except SealError:
                for _piece in iter(lambda: source.read(1 << 20), b""):
                    pass
                self._compare(file, source.sha256)  # damage is the better reason
                raise
        self._compare(file, source.sha256)
        snapshot = self._manifest.snapshot
        if file.name.startswith("data.db") and target.sha256 != snapshot.sha256:
            raise SealDamaged(
                f"The image in {file.name} has sha256 {target.sha256}, {target.size_bytes} bytes; "
                f"the manifest says {snapshot.sha256}, {snapshot.db_size_bytes}."
            )
        self._read[file.name] = target.size_bytes
        return target.size_bytes

    def _compare(self, file: File, sha256: str) -> None:
        if sha256 != file.sha256:
            raise SealDamaged(f"its sha256 is {sha256}; the manifest says {file.sha256}.")


class _Enough(Exception):
    """Clear bytes came: no more of them is needed."""


class _Nowhere:
    """Takes clear bytes, counts and hashes them but for the last `tail`, and keeps none."""

    def __init__(self, tail: int) -> None:
        self.size_bytes = 0
        self.enough = False
        self._tail = tail
        self._held = b""
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Take some."""
        if self.enough and data:
            raise _Enough
        self.size_bytes += len(data)
        if not self._tail:
            self._hash.update(data)
            return len(data)
        held = self._held + data
        self._hash.update(held[: -self._tail])
        self._held = held[-self._tail :]
        return len(data)

    def flush(self) -> None:
        """Do nothing."""

    @property
    def sha256(self) -> str:
        """The sha256 of all but the tail."""
        return self._hash.hexdigest()


def _why(file: File, exc: Exception) -> str:
    if isinstance(exc, SealDamaged):
        return f"{file.name} is damaged: {exc.message}"
    if isinstance(exc, SealError):
        return f"{file.name} does not open with it: {exc.message}"
    if isinstance(exc, EtcdToolError):
        return exc.message
    return f"{file.name} cannot be read: {getattr(exc, 'strerror', None) or exc}."


def _said_of_files(keys: t.Sequence[Key], checked: t.Sequence[Checked]) -> list[str]:
    """Say of each file whose keys open nothing why."""
    said: list[str] = []
    for path in dict.fromkeys(key.path for key in keys):
        of_file = [key for key in keys if key.path == path]
        recipients = {key.recipient for key in of_file}
        if of_file[0].problem:
            said.append(f"Escrow check: {of_file[0].problem}")
        elif not any(each.recipient and each.recipient in recipients for each in checked):
            said.append(
                f"Escrow check: identity file {path} opens nothing: no part of the newest entries "
                "is sealed to a key of it."
            )
    return said
