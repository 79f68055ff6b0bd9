# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the locks of role etcd_runtime: `python tests/lock_runtime.py` (by hand, then commit).

For each Python minor, uv resolves requirements.in; pip downloads the one wheel for each machine,
and its sha256 goes into the lock, as does etcd3's source and the wheel that the role builds of it.
Needs an index, and pip for the Python it runs on; uv goes into a throw-away environment.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import typing as t
import venv
from pathlib import Path

ROLE = Path(__file__).resolve().parents[1] / "roles" / "etcd_runtime" / "files"
sys.path.insert(0, str(ROLE))

import runtime  # type: ignore[import-not-found]  # noqa: E402
import wheels  # type: ignore[import-not-found]  # noqa: E402

TAGS = ("cp39", "cp310", "cp311", "cp312", "cp313", "cp314")
MACHINES = ("x86_64", "aarch64")
UV = "uv==0.13.9"
_HEADER = """\
# Made by tests/lock_runtime.py from requirements.in for {tag} on Linux with glibc.
# Every file that may be installed, by its sha256: {machines}.
"""


def main() -> None:
    """Write one lock a Python and their index."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tools = work / "tools"
        venv.EnvBuilder(with_pip=True, symlinks=True).create(tools)
        python = str(tools / "bin" / "python")
        _run(python, "-m", "pip", "install", "--quiet", "--upgrade", "pip", UV)
        index = {}
        for tag in TAGS:
            text = _lock(tag, tools, work / tag)
            lock = ROLE / "locks" / f"{tag}.txt"
            lock.write_text(text, encoding="utf-8")
            index[tag] = wheels.sha256(lock)
        _write_index(index)


def _lock(tag: str, tools: Path, work: Path) -> str:
    work.mkdir()
    resolved = work / "resolved.txt"
    _run(
        str(tools / "bin" / "uv"), "pip", "compile", "--quiet", "--generate-hashes",
        "--no-annotate", "--no-header", "--allow-unsafe", "--python-version",
        runtime.python_version(tag), "--python-platform", "x86_64-manylinux_2_28",
        "--only-binary", ":all:", "--no-binary", "etcd3",
        "--output-file", str(resolved), str(ROLE / "locks" / "requirements.in"),
    )  # fmt: skip
    lock = wheels.Lock.read(resolved, digest=wheels.sha256(resolved))
    hashes: dict[str, set[str]] = {}
    pinned = work / "wheels.txt"
    pinned.write_text(lock.without("etcd3"), encoding="utf-8")
    for machine in MACHINES:
        folder = work / machine
        _run(
            str(tools / "bin" / "python"), "-m", "pip", *runtime._download(pinned, folder),
            *runtime._target(f"{tag}-linux-{machine}-0"),
        )  # fmt: skip
        for wheel in folder.glob("*.whl"):
            hashes.setdefault(wheels._pinned(wheel), set()).add(wheels.sha256(wheel))
    hashes[lock.only("etcd3").split()[0]] = _etcd3(lock, tools, work)
    text = _HEADER.format(tag=tag, machines=", ".join(MACHINES))
    for requirement in sorted(hashes):
        listed = [f"    --hash=sha256:{one}" for one in sorted(hashes[requirement])]
        text += " \\\n".join([requirement, *listed]) + "\n"
    return text


def _etcd3(lock: wheels.Lock, tools: Path, work: Path) -> set[str]:
    """Return the sha256 of etcd3's source and of the wheel that the role makes of it."""
    (work / "wheels").mkdir()
    pip_wheel = next((work / MACHINES[0]).glob("pip-*.whl"))
    settings = runtime.Settings(path="", lock=str(lock.path), digest=lock.digest, name="")
    runtime._build_etcd3(settings, lock, work, pip_wheel)
    pinned = work / "etcd3.txt"
    _run(
        str(tools / "bin" / "python"), "-m", "pip", "download", "--quiet", "--require-hashes",
        "--no-deps", "--no-binary=etcd3", "--dest", str(work), "--requirement", str(pinned),
    )  # fmt: skip
    files = [next((work / "wheels").glob("etcd3-*.whl")), next(work.glob("etcd3-*.tar.gz"))]
    return {hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


def _write_index(index: t.Mapping[str, str]) -> None:
    text = json.dumps(index, indent=2) + "\n"
    (ROLE / "locks" / "index.json").write_text(text, encoding="utf-8")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


if __name__ == "__main__":
    main()
