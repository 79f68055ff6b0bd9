# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Sealed files: zstd inside age, as `age -d | zstd -d` opens them; streamed in constant memory."""

from __future__ import annotations

import dataclasses
import enum
import re
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps, _files, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.streams import (
    Decompress,
    Source,
    Target,
    raise_cause,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    SealDamaged,
    SealError,
)

__all__ = [
    "IDENTITY_HINT",
    "PARTS",
    "Part",
    "Sealed",
    "load_identities",
    "parse_recipients",
    "recipients_by_part",
    "recipients_of",
    "seal",
    "seal_warning",
    "sealed_name",
    "unseal",
]

LEVEL = 3
SCHEME = "age"
IDENTITY_HINT = (
    "Name age identity files (AGE-SECRET-KEY-1…) or ssh private keys without a passphrase."
)

_NO_RECIPIENTS = (
    "Set etcd_recipients (age1…, ssh-ed25519 or ssh-rsa public keys; a list, or one for each of "
    "data, encryption and pki), or etcd_allow_unsealed."
)

# What no message may ever show: somebody gave a private key where a public one belongs.
_PRIVATE = re.compile(r"AGE-SECRET-KEY|AGE-PLUGIN-|PRIVATE KEY|ssh-key-v1", re.IGNORECASE)
# Compression has a thread of its own, beside encryption and hashing; it holds a few jobs in memory.
_JOB_BYTES = 1 << 20
_SSH_TYPES = ("ssh-ed25519", "ssh-rsa")


class Part(str, enum.Enum):
    """What an entry's files are sealed as: each part has its own recipients."""

    DATA = "data"
    ENCRYPTION = "encryption"
    PKI = "pki"


PARTS = tuple(part.value for part in Part)


@dataclasses.dataclass(frozen=True)
class Sealed:
    """What came out of sealing: the sealed size and sha256, the clear size, and how long it took."""

    size_bytes: int
    sha256: str
    clear_size_bytes: int
    seconds: float


def parse_recipients(value: t.Any, *, where: str = "") -> tuple[str, ...]:
    """Return the recipients of a list, their comments cut off, each once, in the given order.

    :raises SealError: one is not an age X25519, ssh-ed25519 or ssh-rsa public key; the message
        names its position and never shows it.
    """
    of_part = f" of part {where}" if where else ""
    if isinstance(value, str):
        value = [line for line in value.splitlines() if line.strip() and line.strip()[0] != "#"]
    if not isinstance(value, (list, tuple)):
        raise SealError(
            f"Recipients{of_part} are a {type(value).__name__}, not a list of public keys.",
            hint="Give a list of age1…, ssh-ed25519 or ssh-rsa public keys.",
        )
    found: list[str] = []
    for number, entry in enumerate(value, start=1):
        recipient = _clean(entry, f"Recipient {number}{of_part}")
        if recipient not in found:
            found.append(recipient)
    return tuple(found)


def recipients_by_part(
    value: t.Any, *, parts: t.Sequence[str] = PARTS, allow_unsealed: bool
) -> dict[str, tuple[str, ...]]:
    """Return the recipients of `parts`, from a list for all or a dictionary with a list for each.

    :raises SealError: an unknown part, a bad recipient, or a part that has none while
        `allow_unsealed` is false.
    """
    lists = dict.fromkeys(parts, value or [])
    if isinstance(value, t.Mapping):
        unknown = sum(name not in PARTS for name in value)
        if unknown:
            raise SealError(
                f"Recipients name {unknown} part(s) that an archive does not have.",
                hint=f"The parts are {', '.join(PARTS)}.",
            )
        lists = {part: value.get(part) or [] for part in parts}
    found = {part: parse_recipients(lists[part], where=part) for part in parts}
    empty = [part for part in parts if not found[part]]
    if empty and not allow_unsealed:
        raise SealError(
            f"Part {' and '.join(empty)} must not lie unsealed, but has no recipients.",
            hint=_NO_RECIPIENTS,
        )
    return found


def recipients_of(part: str, value: t.Any, *, allow_unsealed: bool) -> tuple[str, ...]:
    """Return the recipients of one part; none at all must be allowed by name.

    :raises SealError: a bad recipient, or none while `allow_unsealed` is false.
    """
    return recipients_by_part(value, parts=(part,), allow_unsealed=allow_unsealed)[part]


def seal_warning(part: str, recipients: t.Sequence[str]) -> str:
    """Say if one lost key would lock a part for ever, or if it lies open; empty if neither."""
    if not recipients:
        return f"Part {part} of the archive is not sealed: whoever reads it has it."
    if len(recipients) == 1:
        return (
            f"Part {part} is sealed to one recipient only: with that key lost it is lost. Add a "
            "second one to etcd_recipients, kept in escrow."
        )
    return ""


def sealed_name(name: str, recipients: t.Sequence[str]) -> str:
    """Return the name that a file `name` gets when sealed (or only compressed)."""
    return f"{name}.zst.age" if recipients else f"{name}.zst"


def seal(
    reader: t.Any, writer: t.Any, recipients: t.Sequence[str], *, level: int = LEVEL
) -> Sealed:
    """Compress all of `reader` and encrypt it to `recipients` into `writer`.

    No recipients: compressed only. `writer` is buffered (no short writes). Errors of `reader` and
    `writer` come through as they were raised.

    :raises SealError: a recipient can't be used.
    """
    start = _time.monotonic()
    zstandard = _deps.load("zstandard")
    source, target = Source(reader), Target(writer)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, write_checksum=True, threads=1, job_size=_JOB_BYTES
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with compressor.stream_reader(source, closefd=False) as compressed:
        if recipients:
            keys = [_load_recipient(text, "A recipient") for text in recipients]
            pyrage = _deps.load("pyrage")
            try:
                pyrage.encrypt_io(compressed, target, keys)
            except (pyrage.EncryptError, OSError) as exc:
                raise_cause(source, target)
                raise SealError(f"Sealing failed: {exc}.") from exc
        else:
            for piece in _files.chunks(compressed):
                target.write(piece)
    target.flush()
    return Sealed(
        size_bytes=target.hashing.size_bytes,
        sha256=target.hashing.sha256,
        clear_size_bytes=source.size_bytes,
        seconds=_time.monotonic() - start,
    )


def unseal(reader: t.Any, writer: t.Any, identities: t.Sequence[t.Any]) -> int:
    """Decrypt and decompress all of `reader` into `writer`; return the clear size.

    `identities` come from load_identities(); none: `reader` is compressed only. What was written
    before an error is not to be trusted.

    :raises SealError: no identity fits; SealDamaged: the file is damaged or cut off.
    """
    source, target = Source(reader), Decompress(writer)
    if identities:
        pyrage = _deps.load("pyrage")
        try:
            pyrage.decrypt_io(source, target, list(identities))
        except (pyrage.DecryptError, OSError) as exc:
            raise_cause(source, target)
            raise _cannot_open(exc) from exc
    else:
        for piece in _files.chunks(t.cast(t.BinaryIO, source)):
            target.write(piece)
    return target.finish()


def load_identities(paths: t.Sequence[str]) -> tuple[t.Any, ...]:
    """Return the identities of files: age identity files, and ssh keys without a passphrase.

    :raises SealError: a file can't be read or holds no identity; no message shows its content.
    """
    found: list[t.Any] = []
    for path in paths:
        try:
            data = _files.read_small(path)
        except OSError as exc:
            raise SealError(
                f"Identity file {path} cannot be read on the controller: {exc.strerror}.",
                hint=IDENTITY_HINT,
                path=path,
            ) from exc
        found += _identities_of(path, data)
    return tuple(found)


def _clean(entry: t.Any, who: str) -> str:
    if not isinstance(entry, str):
        raise SealError(f"{who} is a {type(entry).__name__}, not a public key.")
    if _PRIVATE.search(entry):
        raise SealError(
            f"{who} is a PRIVATE key: it was not used, and is not shown here.",
            hint="Give its public half (age-keygen -y FILE, or the .pub file). Treat this private "
            "key as exposed: it stood where inventories and logs see it.",
        )
    words = entry.split()
    if not words:
        raise SealError(f"{who} is empty.")
    if words[0] in _SSH_TYPES and len(words) > 1:
        text = f"{words[0]} {words[1]}"
    elif words[0].startswith("age1"):
        text = words[0]
    else:
        raise SealError(
            f"{who} is not a public key that archives are sealed to.",
            hint="Usable are age X25519 recipients (age1…), ssh-ed25519 and ssh-rsa public keys.",
        )
    _load_recipient(text, who)
    return text


def _load_recipient(text: str, who: str) -> t.Any:
    pyrage = _deps.load("pyrage")
    make = pyrage.x25519.Recipient if text.startswith("age1") else pyrage.ssh.Recipient
    try:
        return make.from_str(text)
    except pyrage.RecipientError as exc:
        raise SealError(
            f"{who} is not a valid {text.split()[0] if ' ' in text else 'age X25519'} public key.",
            hint="Copy it again. Plugin recipients (age1yubikey1… and the like), post-quantum ones "
            "and ecdsa or sk ssh keys cannot be used.",
        ) from exc


def _identities_of(path: str, data: bytes) -> list[t.Any]:
    pyrage = _deps.load("pyrage")
    if data.startswith((b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE")):
        raise SealError(
            f"Identity file {path} is itself encrypted with age.",
            hint=f"Decrypt it for the run. {IDENTITY_HINT}",
            path=path,
        )
    try:
        if b"PRIVATE KEY-----" in data:
            return [pyrage.ssh.Identity.from_buffer(data)]
        lines = [line.strip() for line in data.decode("ascii", "replace").splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and line[0] != "#"]
    except pyrage.IdentityError as exc:
        why = "holds no identity that can be used."
        if "must be decrypted" in str(exc):
            why = "is protected by a passphrase."
        elif b"AGE-PLUGIN-" in data:
            why = "holds the identity of an age plugin, which can be used with age itself only."
        raise SealError(f"Identity file {path} {why}", hint=IDENTITY_HINT, path=path) from exc
    if not found:
        raise SealError(f"Identity file {path} holds no identity.", hint=IDENTITY_HINT, path=path)
    return found


def _cannot_open(exc: Exception) -> SealError:
    text = f"The sealed file cannot be opened: {exc}."
    if "No matching keys" in str(exc):
        return SealError(
            text,
            hint="None of the identities given belongs to its recipients: see the manifest's files.",
        )
    return SealDamaged(
        text, hint="It is damaged or cut off: compare its sha256 with the manifest's."
    )
