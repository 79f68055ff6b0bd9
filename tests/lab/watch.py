# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for secrets wherever a run could leave them: files, process lists, folders while it runs.

found = Secrets.of(cluster.root, extra={"password": "…"})
with Watch(found, folders=[tmp]) as watch:
    subprocess.run(...)
assert not watch.processes          # a secret in a command line or an environment
watch.files                         # what was seen in the folders, with modes and secrets
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import re
import stat
import threading
import time
import typing as t
from pathlib import Path

from lab import objects

_BODY = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----\n(.+?)\n-----END", re.DOTALL)
_EMBEDDED = re.compile(r"client-key-data: *(\S+)")
_IDENTITY = re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]{40}")
MADE = "an age identity that a run made"
_SECONDS = 0.05
_LINE = 24
"""A line of base64 that is shorter is no secret of its own."""


@dataclasses.dataclass(frozen=True)
class Secrets:
    """Named byte strings that must not be found, and what those look like that are made later."""

    named: dict[str, bytes]
    unknown: re.Pattern[bytes] | None = None

    @classmethod
    def of(cls, root: Path, *files: Path, extra: t.Mapping[str, str]) -> Secrets:
        """Collect each line of each private key below `root` and in `files`, what Kubernetes'
        objects hide, and `extra`."""
        named = {f"planted {number}": text for number, text in enumerate(objects.planted_forms())}
        for path in (*root.rglob("*"), *files):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > 1 << 18:
                continue
            text = path.read_text(errors="replace")
            for number, coded in enumerate(_EMBEDDED.findall(text)):
                text += "\n" + base64.b64decode(coded).decode(errors="replace")
                # Behind the header that all keys have.
                named[f"{path} client-key-data {number}"] = coded[64:160]
            for kind, body in _BODY.findall(text):
                # OpenSSH's first lines hold the public key, too.
                lines = body.splitlines()[3 if kind == "OPENSSH " else 0 :]
                for line in lines:
                    if len(line) >= _LINE:
                        named[f"{path} {line[:4]}…"] = line
        named |= extra
        return cls({name: text.encode() for name, text in named.items() if text}, _IDENTITY)

    def without(self, *names: str) -> Secrets:
        named = {name: text for name, text in self.named.items() if name not in names}
        return Secrets(named, self.unknown)

    def within(self, data: bytes) -> list[str]:
        """Return the names of the secrets that `data` holds."""
        found = [name for name, text in self.named.items() if text in data]
        if not found and self.unknown and self.unknown.search(data):
            found.append(MADE)
        return found

    def below(self, *places: Path) -> dict[str, list[str]]:
        """Return the files in these folders that hold secrets, and which.

        Others may work there: what goes away meanwhile is passed over.
        """
        found = {}
        for path in (path for place in places for path in _files(place)):
            with contextlib.suppress(FileNotFoundError):
                held = self.within(path.read_bytes())
                if held:
                    found[str(path)] = held
        return found


def _files(place: Path) -> t.Iterator[Path]:
    """Return the regular files of a folder, or the file itself; no links."""
    if place.is_file() and not place.is_symlink():
        yield place
    for folder, _folders, names in os.walk(place):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


@dataclasses.dataclass(frozen=True)
class Seen:
    """A file that was there for a time, with all modes from the watched folder down to it."""

    secrets: tuple[str, ...]
    mode: int
    folders: tuple[int, ...]

    @property
    def private(self) -> bool:
        """Whether nobody but its owner could have read it."""
        return not self.mode & 0o077 or any(not mode & 0o077 for mode in self.folders)


class Watch:
    """Looks, as often as it can, at all processes and into some folders."""

    def __init__(self, secrets: Secrets, *, folders: t.Sequence[Path]) -> None:
        self.processes: dict[str, list[str]] = {}
        self.commands: set[str] = set()
        self.files: dict[str, Seen] = {}
        self.rounds = 0
        self._secrets = secrets
        self._folders = folders
        self._before = {path for folder in folders if folder.is_dir() for path in folder.iterdir()}
        self._clean: set[bytes] = set()
        self._sizes: dict[str, tuple[int, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_rest: object) -> None:
        self._stop.set()
        self._thread.join()

    def new(self) -> list[Path]:
        """Return what is in the folders now that wasn't there when this was made."""
        return [
            path
            for folder in self._folders
            for path in folder.iterdir()
            if path not in self._before
        ]

    def _run(self) -> None:
        while not self._stop.is_set():
            self._look_at_processes()
            for folder in self._folders:
                self._look_into(folder, ())
            self.rounds += 1
            time.sleep(_SECONDS)

    def _look_at_processes(self) -> None:
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                for name in ("cmdline", "environ"):
                    data = Path(entry.path, name).read_bytes()
                    if data in self._clean:
                        continue
                    shown = data.replace(b"\0", b" ").decode(errors="replace")
                    if name == "cmdline":
                        self.commands.add(shown)
                    held = self._secrets.within(data)
                    if held:
                        self.processes[f"{name} {shown[:300]}"] = held
                    else:
                        self._clean.add(data)

    def _look_into(self, folder: Path, above: tuple[int, ...]) -> None:
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                path = Path(entry.path)
                if not above and path in self._before:
                    continue
                with contextlib.suppress(OSError):
                    facts = entry.stat(follow_symlinks=False)
                    mode = stat.S_IMODE(facts.st_mode)
                    if stat.S_ISDIR(facts.st_mode):
                        self._look_into(path, (*above, mode))
                    elif stat.S_ISREG(facts.st_mode):
                        self._look_at(path, facts, above)

    def _look_at(self, path: Path, facts: os.stat_result, above: tuple[int, ...]) -> None:
        mark = (facts.st_mtime_ns, facts.st_size)
        mode = stat.S_IMODE(facts.st_mode)
        known = self.files.get(str(path))
        if self._sizes.get(str(path)) == mark and known and known.mode == mode:
            return
        held = tuple(self._secrets.within(_written(path)))
        if known:  # the worst of all that was seen
            held = held or known.secrets
            mode |= known.mode
        self._sizes[str(path)] = mark
        self.files[str(path)] = Seen(held, mode, above)


def _written(path: Path) -> bytes:
    """Return what a file holds without its holes: etcd makes room ahead (lseek(2), SEEK_DATA)."""
    pieces, end = [], 0
    with path.open("rb") as source, contextlib.suppress(OSError):
        while True:  # ENXIO: nothing behind this
            start = os.lseek(source.fileno(), end, os.SEEK_DATA)
            end = os.lseek(source.fileno(), start, os.SEEK_HOLE)
            pieces.append(os.pread(source.fileno(), end - start, start))
    return b"".join(pieces)
