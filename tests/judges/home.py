# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Homes and environments that the judges use instead of the user's, kept in the project's cache."""

from __future__ import annotations

import ast
import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

from cores import Core, pythons

from lab import binaries

SHIM = Path(__file__).with_name("get_pip.py")
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
UNITS = Path(__file__).resolve().parents[1] / "unit" / "requirements.txt"


class HomeError(Exception):
    """A home or an environment could not be made."""


def ansible_test(core: Core) -> dict[str, str]:
    """Return the environment variables for a core's ansible-test, its home prepared.

    ansible-test keeps what it makes under HOME and hands on little of the environment, so HOME is
    a folder of the cache that holds pip's configuration, and get_pip.py under each name by which
    this core asks for a download. Its environments stay there for the next run.
    """
    home = binaries.cache_dir() / "judges" / f"home-{core.folder.name}"
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in _pip_versions(core):
        shutil.copy(SHIM, cache / f"get_pip_{version.replace('.', '_')}.py")
    _configure_pip(home)
    folders = [core.folder / "bin", *(python.parent for python in pythons().values())]
    path = os.pathsep.join([*map(str, dict.fromkeys(folders)), os.environ["PATH"]])
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), "PATH": path}


def environment(name: str, python: Path, requirements: Path) -> Path:
    """Return an environment of the cache in which `requirements` are installed.

    :raises HomeError: it can't be made, or pip failed.
    """
    key = f"{python.resolve()}\n{requirements.read_text()}"
    label = f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    folder = binaries.cache_dir() / "judges" / label
    with binaries.cache_lock(f"judges-{label}"):
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            binaries.say(f"Making an environment for {name}.")
            _run([python, "-m", "venv", folder])
            pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
            _run([*pip, "--disable-pip-version-check", "-r", requirements])
            (folder / "made").touch()
    return folder


def _pip_versions(core: Core) -> set[str]:
    # A core asks for one version, and for others on Pythons that we don't support.
    source = next(core.folder.glob("lib/python3*/site-packages/ansible_test/_internal")) / (
        "python_requirements.py"
    )
    found = set(re.findall(r"pip='([0-9.]+)'", source.read_text()))
    if not found:
        raise HomeError(f"{source} names no version of pip to bootstrap; look how it does now.")
    return found


def _configure_pip(home: Path) -> None:
    """Write down pip's configuration as it is here: from files, and from PIP_… variables."""
    listed = _run([sys.executable, "-m", "pip", "config", "list"])
    config = configparser.RawConfigParser()
    lines = [line.partition("=") for line in listed.splitlines() if "=" in line]
    for name, _mark, value in sorted(lines, key=lambda line: line[0].startswith(":env:")):
        section, _dot, option = name.replace(":env:", "global").partition(".")
        if option == "config-file":
            continue
        if not config.has_section(section):
            config.add_section(section)
        config.set(section, option, ast.literal_eval(value))
    folder = home / ".config" / "pip"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "pip.conf", "w", encoding="utf-8") as handle:
        config.write(handle)
    os.chmod(folder / "pip.conf", 0o600)


def _run(argv: t.Sequence[str | Path]) -> str:
    words = [str(word) for word in argv]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise HomeError(f"{' '.join(words)}: exit status {done.returncode}:\n{tail}")
    return done.stdout
