# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The host's half of etcd_deliver: a folder for sealed files, and a key of its own to open them.

The key pair is made here and used once. Its private half lies in /run, which is memory, beside
nothing else; what is sealed to it lies on disk. Both go together.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _deps, _files, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._archive.names import DELIVERY
from ansible_collections.controlplane.etcd.plugins.module_utils._errors import (
    OptionInvalid,
    SpaceMissing,
    TransferError,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._node.processes import go_platform

__all__ = ["Arrival", "Begun", "begin", "exists", "look", "place", "remove", "write_slice"]

_MANIFEST = "manifest.json"
_OWNER = ".owner.json"
_INCOMING = ".incoming"
_KEYS = "/run/controlplane-etcd"
_PART = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:@%+-]*")
# What else is written: the manifest, names.
_SMALL_BYTES = 1 << 20
_OWNER_BYTES = 64 << 10


@dataclasses.dataclass(frozen=True)
class Begun:
    """An empty delivery: where it will be, where files come to, and what they are sealed to."""

    delivery: str
    incoming: str
    identity: str
    recipient: str


@dataclasses.dataclass(frozen=True)
class Arrival:
    """A file that came: its name in the incoming folder, and what it is to be."""

    staged: str
    name: str
    size_bytes: int
    sha256: str
    mode: int


def look(dest_dir: str) -> dict[str, t.Any]:
    """Tell what this host runs, what room there is, and which deliveries lie here.

    :raises OptionInvalid: there is no such folder.
    """
    try:
        room = _files.free_bytes(dest_dir)
        found = [_seen(os.path.join(dest_dir, name)) for name in sorted(os.listdir(dest_dir))]
    except OSError as exc:
        raise OptionInvalid(
            f"Nothing can be delivered into {dest_dir} on the host: {exc.strerror}.",
            hint="Set dest_dir to a folder that exists there.",
            path=dest_dir,
        ) from exc
    return {
        "platform": go_platform(),
        "free_bytes": room,
        "deliveries": [delivery for delivery in found if delivery],
    }


def _seen(path: str) -> dict[str, t.Any] | None:
    """Tell of a delivery by its path, or nothing of what only has the name of one.

    Anybody can make anything in a folder like /var/tmp: taken are this user's own folders, and one
    that files came to (it is the connection's user's) where its delivery is gone.
    """
    base = _without_incoming(path)
    known = DELIVERY.fullmatch(os.path.basename(base))
    if known is None:
        return None
    with contextlib.suppress(OSError):
        facts, there = os.lstat(path), os.path.lexists(base)
        if not stat.S_ISDIR(facts.st_mode) or (there and not _is_own(base)):
            return None
        age = int(_time.now().timestamp() - facts.st_mtime)
        owner = _owner_of(base) if there else None
        return {"path": path, "label": known["label"], "age_seconds": age, "owner": owner}
    return None


def _without_incoming(path: str) -> str:
    return path[: -len(_INCOMING)] if path.endswith(_INCOMING) else path


def _is_own(path: str) -> bool:
    facts = os.lstat(path)
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid()


def _owner_of(delivery: str) -> dict[str, t.Any] | None:
    """Read who made a delivery: of a regular file and without waiting, whatever lies there."""
    with contextlib.suppress(OSError, ValueError, TransferError):
        with _regular(os.path.join(delivery, _OWNER)) as source:
            data = source.read(_OWNER_BYTES + 1)
        found = json.loads(data) if len(data) <= _OWNER_BYTES else None
        return found if isinstance(found, dict) else None
    return None


def begin(
    dest_dir: str,
    *,
    entry: str,
    label: str,
    owner: t.Mapping[str, t.Any],
    stage_dir: str,
    needed_bytes: int,
) -> Begun:
    """Make a delivery's folder, one for the connection's user beside it, and a key pair.

    The connection's user is the owner of `stage_dir`.

    :raises SpaceMissing: `needed_bytes` are not free.
    """
    _sweep_keys()
    free = _files.free_bytes(dest_dir)
    if free < needed_bytes + _SMALL_BYTES:
        raise SpaceMissing(
            f"Entry {entry} does not fit into {dest_dir} on the host: {needed_bytes} bytes are to "
            f"be delivered, {free} are free.",
            hint="Free space there, or set dest_dir to a larger file system.",
            path=dest_dir,
        )
    name = f"controlplane-etcd-delivery-{entry}-{label}-{secrets.token_hex(4)}"
    if not DELIVERY.fullmatch(name):
        raise OptionInvalid(f"{name!r} cannot be the name of a delivery.")
    path = os.path.join(dest_dir, name)
    try:
        os.mkdir(path, 0o700)
        _files.atomic_write(os.path.join(path, _OWNER), json.dumps(dict(owner)).encode())
        os.mkdir(path + _INCOMING, 0o700)
        theirs = os.stat(stage_dir)
        if os.geteuid() == 0:
            os.chown(path + _INCOMING, theirs.st_uid, theirs.st_gid)
        identity, recipient = _make_key(path)
    except BaseException:
        remove(path)
        raise
    return Begun(path, path + _INCOMING, identity, recipient)


def place(delivery: str, arrivals: t.Sequence[Arrival], manifest: bytes) -> None:
    """Take what came for this user alone, compare it, and put it where it belongs.

    :raises TransferError: a file is not the one that was sent.
    """
    _check_is_delivery(delivery)
    incoming = delivery + _INCOMING
    for arrival in arrivals:
        target = os.path.join(delivery, *_parts(arrival.name))
        os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
        # From here on nobody else can put another file under its name.
        _move(os.path.join(incoming, *_parts(arrival.staged)), target, arrival.name)
        with _regular(target) as source:
            _compare(source, arrival)
            os.fchmod(source.fileno(), arrival.mode)
            if os.geteuid() == 0:
                os.fchown(source.fileno(), 0, 0)
            os.fsync(source.fileno())
        _files.fsync_directory(os.path.dirname(target))
    _files.atomic_write(os.path.join(delivery, _MANIFEST), manifest)
    shutil.rmtree(incoming)


def _move(path: str, target: str, name: str) -> None:
    try:
        os.rename(path, target)
    except OSError as exc:
        raise TransferError(
            f"{name} did not arrive on the host: {path}: {exc.strerror}.",
            hint="Run again; what came is removed.",
            path=path,
        ) from exc


@contextlib.contextmanager
def _regular(path: str) -> t.Iterator[t.BinaryIO]:
    """Open a file that has this name and no other, following no link and waiting for nobody.

    :raises TransferError: it is something else.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as exc:
        raise TransferError(
            f"{path} on the host cannot be read as a regular file: {exc.strerror}.",
            hint="Find out who writes there; nothing of it was used.",
            path=path,
        ) from exc
    with os.fdopen(descriptor, "rb") as source:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            why = "has other names, too" if stat.S_ISREG(facts.st_mode) else "is no regular file"
            raise TransferError(
                f"{path} on the host {why}.",
                hint="Find out who writes there; nothing of it was used.",
                path=path,
            )
        yield source


def _compare(source: t.BinaryIO, arrival: Arrival) -> None:
    digest, size = hashlib.sha256(), 0
    for piece in _files.chunks(source):
        digest.update(piece)
        size += len(piece)
    if (size, digest.hexdigest()) != (arrival.size_bytes, arrival.sha256):
        raise TransferError(
            f"{arrival.name} did not arrive whole on the host: {size} bytes with sha256 "
            f"{digest.hexdigest()}, sent were {arrival.size_bytes} with {arrival.sha256}.",
            hint="Run again; what came is removed.",
        )


def write_slice(delivery: str, staged: str, offset: int, content: str) -> None:
    """Write base64 bytes into a file of the incoming folder; what it had behind them is cut off."""
    _check_is_delivery(delivery)
    path = os.path.join(delivery + _INCOMING, *_parts(staged))
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "wb") as target:
            target.truncate(offset)
            target.seek(offset)
            target.write(base64.b64decode(content))
    except OSError as exc:
        raise TransferError(
            f"{path} cannot be written on the host: {exc.strerror}; "
            f"{_files.free_bytes(os.path.dirname(path))} bytes are free there.",
            hint="Free space there, or set dest_dir to a larger file system.",
            path=path,
        ) from exc


def remove(delivery: str) -> bool:
    """Remove a delivery with all that belongs to it; tell whether anything was there.

    The key goes first: without it the rest is nobody's.

    :raises OptionInvalid: the path is not one of a delivery.
    """
    delivery = _without_incoming(delivery)
    _check_is_delivery(delivery)
    there = False
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_key_path(delivery))
        there = True
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):  # others' keys lie there, or nobody's did
            os.rmdir(_KEYS)
    for folder in (delivery, delivery + _INCOMING):
        # Another run may sweep the same at once.
        while os.path.lexists(folder):
            there = True
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
    return there


def exists(delivery: str) -> bool:
    """Tell whether remove() would find anything.

    :raises OptionInvalid: the path is not one of a delivery.
    """
    _check_is_delivery(delivery)
    return any(map(os.path.lexists, (delivery, delivery + _INCOMING, _key_path(delivery))))


def _check_is_delivery(path: str) -> None:
    if not os.path.isabs(path) or not DELIVERY.fullmatch(os.path.basename(path)):
        raise OptionInvalid(
            f"{path} is not the folder of a delivery.",
            hint="Give the delivery that etcd_deliver returned.",
            path=path,
        )
    if os.path.islink(path):
        raise OptionInvalid(f"{path} on the host is a link, and no delivery.", path=path)


def _parts(name: str) -> list[str]:
    """Return a name below a delivery as parts of a path.

    :raises OptionInvalid: it would lead out of it.
    """
    parts = name.split("/")
    if len(parts) > 2 or not all(_PART.fullmatch(part) for part in parts):
        raise OptionInvalid(f"{name!r} cannot be the name of a delivered file.")
    return parts


# The key


def _key_path(delivery: str) -> str:
    if os.geteuid() != 0:
        return os.path.join(delivery, "identity")
    return os.path.join(_KEYS, f"{os.path.basename(delivery)}.key")


def _make_key(delivery: str) -> tuple[str, str]:
    """Make the key pair; return the private half's file, and the public half."""
    path = _key_path(delivery)
    key = _deps.load("pyrage").x25519.Identity.generate()
    with os.fdopen(_new_file(path), "w", encoding="ascii") as target:
        target.write(f"# {json.dumps(delivery)}\n{key}\n")
    return path, str(key.to_public())


def _new_file(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    for _turn in range(3):
        if os.geteuid() == 0:
            _own_folder(_KEYS)
        with contextlib.suppress(FileNotFoundError):  # another run just removed the empty folder
            return os.open(path, flags, 0o600)
    return os.open(path, flags, 0o600)


def _own_folder(path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    facts = os.lstat(path)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise OptionInvalid(
            f"No key can be made in {path} on the host: it is not a folder of this user (owner uid "
            f"{facts.st_uid}).",
            hint="Remove it: somebody else made it.",
            path=path,
        )
    os.chmod(path, 0o700)


def _sweep_keys() -> None:
    """Remove the keys whose deliveries are gone."""
    if os.geteuid() != 0:
        return
    found: list[str] = []
    with contextlib.suppress(FileNotFoundError):
        found = os.listdir(_KEYS)
    for name in found:
        if not name.endswith(".key") or not DELIVERY.fullmatch(name[: -len(".key")]):
            continue
        path = os.path.join(_KEYS, name)
        with contextlib.suppress(OSError, ValueError):
            with open(path, encoding="ascii") as source:
                delivery = json.loads(source.readline()[1:])
            if not os.path.isdir(delivery):
                os.unlink(path)
