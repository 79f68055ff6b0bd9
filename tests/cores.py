# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the Pythons of this machine and make controllers with other ansible-cores out of them.

    python tests/cores.py            # make them all and say where they are

The oldest core is meta/runtime.yml's, the newest is what the newest Python at hand may have (with
CONTROLPLANE_ETCD_CORE_PRE=1 a release candidate, too). A Python that is not there is no failure:
`wanted` leaves that core out and `missing` says so.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lab import binaries

TESTS = Path(__file__).resolve().parent
REQUIREMENTS = TESTS / "demo-requirements.txt"
OLDEST = "2.16"
OLDEST_PYTHONS = ((3, 10), (3, 11), (3, 12))
"""What ansible-core 2.16 runs on as a controller (its setup.cfg: python_requires >=3.10)."""

NEWEST_PYTHON_FLOOR = (3, 10)
STALE_SECONDS = 7 * 24 * 3600
"""After this long the newest is asked for again."""

PLACES = (
    "~/.pyenv/versions/*/bin",
    "~/.local/share/uv/python/*/bin",
    "/opt/*/bin",
    "/usr/local/bin",
    "/usr/bin",
)

Version = tuple[int, int]


class CoreError(Exception):
    """An environment could not be made."""


@dataclasses.dataclass(frozen=True)
class Wish:
    """A core to have: what it is called here, what pip is asked for, and by which Python."""

    label: str
    requirement: str
    python: Path
    python_version: Version
    moves: bool


@dataclasses.dataclass(frozen=True)
class Core:
    """An environment with ansible-core, as a controller needs it."""

    version: str
    folder: Path

    @property
    def playbook(self) -> Path:
        return self.folder / "bin" / "ansible-playbook"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"


@functools.lru_cache(maxsize=1)
def pythons() -> dict[Version, Path]:
    """Return the interpreters found, one a minor: of several the first that can make environments."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    for pattern in PLACES:
        expanded = Path(pattern).expanduser()
        folders += sorted(Path(expanded.anchor).glob(str(expanded.relative_to(expanded.anchor))))
    found: dict[Version, Path] = {sys.version_info[:2]: Path(sys.executable)}
    for folder in folders:
        for path in sorted(folder.glob("python3.*")):
            name = re.fullmatch(r"python3\.(\d+)", path.name)
            version = (3, int(name[1])) if name else None
            if version and version not in found and _works(path, version):
                found[version] = path
    return dict(sorted(found.items()))


def _works(python: Path, version: Version) -> bool:
    """Tell whether it starts, is what its name says, and can make environments (Debian splits venv)."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", code],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.split() == [str(part) for part in version]


def wanted() -> list[Wish]:
    """Return the cores that this machine's Pythons allow: the oldest, and the newest."""
    there = pythons()
    wishes = []
    old = [version for version in OLDEST_PYTHONS if version in there]
    if old:
        requirement = f"ansible-core=={OLDEST}.*"
        wishes.append(Wish(OLDEST, requirement, there[old[-1]], old[-1], moves=False))
    new = max(there)
    if new >= NEWEST_PYTHON_FLOOR:
        pre = bool(os.environ.get("CONTROLPLANE_ETCD_CORE_PRE"))
        requirement = "ansible-core>=2.17.0rc1" if pre else "ansible-core>=2.17"
        wishes.append(Wish("newest", requirement, there[new], new, moves=True))
    return wishes


def missing() -> list[str]:
    """Say which cores can't be had here, and why."""
    if any(wish.label == OLDEST for wish in wanted()):
        return []
    names = ", ".join(".".join(str(part) for part in version) for version in OLDEST_PYTHONS)
    return [f"Not run on ansible-core {OLDEST}: this machine has no Python of {names}."]


def make(wish: Wish) -> Core:
    """Return the environment for a wish, made in the cache if it isn't there.

    :raises CoreError: pip failed.
    """
    minor = ".".join(str(part) for part in wish.python_version)
    key = f"{wish.requirement}\n{REQUIREMENTS.read_text()}\n{wish.python.resolve()}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    name = f"core-{wish.label}-python{minor}-{digest}"
    folder = binaries.cache_dir() / "cores" / name
    mark = folder / "made"
    with binaries.cache_lock(name):
        if not mark.exists() or (wish.moves and time.time() - mark.stat().st_mtime > STALE_SECONDS):
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            binaries.say(f"Making a controller with {wish.requirement} on Python {minor}.")
            _run([wish.python, "-m", "venv", folder])
            pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
            _run([*pip, "--disable-pip-version-check", wish.requirement, "-r", REQUIREMENTS])
            mark.touch()
    code = "from ansible.release import __version__; print(__version__)"
    return Core(_run([folder / "bin" / "python", "-c", code]).strip(), folder)


def _run(argv: t.Sequence[str | Path]) -> str:
    words = [str(word) for word in argv]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise CoreError(f"{' '.join(words)}: exit status {done.returncode}:\n{tail}")
    return done.stdout


if __name__ == "__main__":
    for line in missing():
        print(line)
    for each in wanted():
        made = make(each)
        print(f"{each.label}: ansible-core {made.version} in {made.folder}")
