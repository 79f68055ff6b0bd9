# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock, the wheels it names, and the tar that carries them: same lock, same bytes.

Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
import tarfile
import typing as t
import zipfile
from pathlib import Path

# The earliest time that a zip can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_DESCRIPTION = "wheelhouse.json"
_REQUIREMENTS = "requirements.txt"
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class RuntimeFailure(Exception):
    """The environment or its wheelhouse can't be made; the message says why."""


@dataclasses.dataclass(frozen=True)
class Lock:
    """A requirements file with hashes: one block of text a project."""

    path: Path
    digest: str
    blocks: dict[str, str]

    @classmethod
    def read(cls, path: Path, *, digest: str) -> Lock:
        """Parse a lock.

        :raises RuntimeFailure: it is not the file that `digest` (sha256) says.
        """
        content = path.read_bytes()
        seen = hashlib.sha256(content).hexdigest()
        if seen != digest:
            raise RuntimeFailure(
                f"The lock {path} has sha256 {seen}, not {digest}. Install the collection anew."
            )
        lines = [one for one in content.decode().splitlines() if one and not one.startswith("#")]
        blocks = {}
        for block in re.split(r"(?<!\\)\n", "\n".join(lines)):
            blocks[block.split("==", 1)[0]] = block + "\n"
        return cls(path=path, digest=digest, blocks=blocks)

    def only(self, name: str) -> str:
        """Return one project's requirement."""
        return self.blocks[name]

    def without(self, *names: str) -> str:
        """Return all requirements but those named."""
        return "".join(block for name, block in self.blocks.items() if name not in names)

    def hashes(self) -> set[str]:
        """Return the sha256 of every file that may be installed."""
        return set(_HASH.findall(self.without()))


def sha256(path: Path) -> str:
    """Return a file's sha256."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def normalise(built: Path, target: Path) -> None:
    """Copy a wheel so that its bytes depend on its content alone.

    Uncompressed, since zlib-ng and zlib compress differently; sorted; no times, no umask. So that
    a wheel built on any host has the sha256 that the lock names.
    """
    with zipfile.ZipFile(built) as source:
        content = {
            name: source.read(name)
            for name in sorted(source.namelist())
            if not name.endswith(("/", ".dist-info/RECORD"))
        }
        record = next(name for name in source.namelist() if name.endswith(".dist-info/RECORD"))
    rows = []
    for name, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    content[record] = ("".join(rows) + f"{record},,\n").encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as out:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, date_time=_EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            out.writestr(entry, data)


def pack(files: t.Sequence[Path], name: str, lock: Lock, tar: Path) -> None:
    """Write wheels, their requirements.txt and wheelhouse.json as a tar: same files, same bytes."""
    folder = files[0].parent
    requirements = [f"{_pinned(one)} --hash=sha256:{sha256(one)}\n" for one in files]
    (folder / _REQUIREMENTS).write_text("".join(requirements), encoding="utf-8")
    tag, _system, machine, _digest = name.split("-")
    description = {
        "format": 1,
        "name": name,
        "python_tag": tag,
        "machine": machine,
        "libc": f"glibc {_oldest_glibc(files)}",
        "lock_sha256": lock.digest,
    }
    text = json.dumps(description, indent=2, sort_keys=True) + "\n"
    (folder / _DESCRIPTION).write_text(text, encoding="utf-8")
    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT) as out:
        for one in sorted([*files, folder / _REQUIREMENTS, folder / _DESCRIPTION]):
            entry = tarfile.TarInfo(one.name)
            entry.size = one.stat().st_size
            entry.mode = 0o644
            with one.open("rb") as handle:
                out.addfile(entry, handle)


def settle(part: Path, target: Path) -> None:
    """Put a finished file in its place by rename, within one file system."""
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(target)


def check(tar: Path, lock: Lock) -> None:
    """Compare every wheel in a tar with the lock.

    :raises RuntimeFailure: it isn't a wheelhouse, or holds something that the lock doesn't name,
        or lacks something.
    """
    wanted = {name for name in lock.blocks if name != "setuptools"}
    try:
        with tarfile.open(tar, "r:") as source:
            members = source.getmembers()
            for member in members:
                if not member.isfile() or "/" in member.name:
                    raise RuntimeFailure(f"Wheelhouse {tar}: {member.name!r} is no plain file.")
                if not member.name.endswith(".whl"):
                    continue
                seen = hashlib.sha256(_content(source, member)).hexdigest()
                if seen not in lock.hashes():
                    raise RuntimeFailure(
                        f"Wheelhouse {tar} is refused: {member.name} has sha256 {seen}, which is "
                        f"not in the lock {lock.path.name}. Make the wheelhouse again "
                        "(tasks_from: wheelhouse), and ask who changed this one."
                    )
                wanted.discard(_pinned(Path(member.name)).split("==", 1)[0])
    except tarfile.TarError as exc:
        raise RuntimeFailure(
            f"Wheelhouse {tar} can't be read: {exc}. Copy it again or make it again "
            "(tasks_from: wheelhouse)."
        ) from exc
    if wanted:
        raise RuntimeFailure(
            f"Wheelhouse {tar} lacks {', '.join(sorted(wanted))}. Copy it again or make it again "
            "(tasks_from: wheelhouse)."
        )


def unpack(tar: Path, folder: Path) -> None:
    """Write the files of a checked tar into a new folder."""
    folder.mkdir()
    with tarfile.open(tar, "r:") as source:
        for member in source.getmembers():
            (folder / Path(member.name).name).write_bytes(_content(source, member))


def _content(source: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    handle = source.extractfile(member)
    if handle is None:
        raise RuntimeFailure(f"{member.name!r} in the wheelhouse is no plain file.")
    return handle.read()


def _pinned(wheel: Path) -> str:
    """Return `name==version` of a wheel's file name, the name as PEP 503 spells it."""
    name, version = wheel.name.split("-")[:2]
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


def _oldest_glibc(files: t.Iterable[Path]) -> str:
    """Return the oldest glibc that all wheels run on, by their platform tags (PEP 600)."""
    older = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
    needs = [17]
    for one in files:
        minors = [int(minor) for minor in re.findall(r"manylinux_2_(\d+)", one.name)]
        minors += [minor for tag, minor in older.items() if f"{tag}_" in one.name]
        needs.append(min(minors, default=0))
    return f"2.{max(needs)}"
