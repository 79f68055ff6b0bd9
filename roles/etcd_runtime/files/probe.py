# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what this Python is and what is wrong with the environment under a path.

Run by `raw` as `python -I -c PROBE PATH DIGESTS`, before anything of Ansible runs on the host;
DIGESTS is files/locks/index.json. Prints one line `etcd_runtime={JSON}`, and ends with status 1
where this Python can't carry the environment. Standard library only; runtime.py imports it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
import sysconfig
import typing as t
from pathlib import Path

MARKER = "runtime.json"
# Modules of the standard library that distributions put into packages of their own.
_NEEDED = ("ssl", "venv", "zlib")


def executable() -> str:
    """Return the interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def tag() -> str:
    """Return the tag that its binary wheels carry, as `cp311` (PEP 425)."""
    return f"cp{sys.version_info[0]}{sys.version_info[1]}"


def libc() -> str:
    """Return the C library as `glibc 2.36`, empty for another one (musl has no such name)."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        return ""


def name(digest: str) -> str:
    """Return the name of the wheelhouse for this Python, machine and lock."""
    return f"{tag()}-linux-{platform.machine()}-{digest[:12]}"


def obstacle(digests: t.Mapping[str, str]) -> str:
    """Say why this Python can't carry the environment, or return an empty string."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "it is not the usual CPython, which the pinned wheels are built for"
    if tag() not in digests:
        return f"there is no lock for {tag()}, only for {', '.join(digests)}"
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return f"there are no pinned wheels for {sys.platform} on {platform.machine()}"
    if not libc().startswith("glibc "):
        return "its C library is not glibc, which the pinned wheels are built for"
    missing = [module for module in _NEEDED if importlib.util.find_spec(module) is None]
    if missing:
        return f"it lacks {', '.join(missing)} of the standard library (Debian: libpython3-stdlib)"
    return ""


def current(path: Path) -> Path | None:
    """Return the folder of the environment in use, None where there is none."""
    link = path / "venv"
    return (
        path / "environments" / os.readlink(link).rsplit("/", 1)[-1] if link.is_symlink() else None
    )


def leftovers(path: Path) -> list[str]:
    """List what an interrupted run left: neither in use nor the one in use before."""
    link = current(path)
    keep = {link.name if link else ""}
    if link:
        keep.add(str(marker(link).get("previous", "")))
    folders = [
        f"environments/{entry.name}"
        for entry in children(path / "environments")
        if entry.name not in keep
    ]
    return folders + [entry.name for entry in children(path) if entry.name.startswith(".work-")]


def children(path: Path) -> list[Path]:
    """List a folder's entries by name, none where it does not exist."""
    return sorted(path.iterdir()) if path.is_dir() else []


def marker(environment: Path) -> dict[str, t.Any]:
    """Read what the environment was made from; empty where that can't be read."""
    try:
        content = json.loads((environment / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def distributions(environment: Path) -> list[str]:
    """List what is installed in the environment, as `six-1.17.0`."""
    return sorted(
        entry.name[: -len(".dist-info")]
        for entry in environment.glob("lib/python3*/site-packages/*.dist-info")
        if (entry / "RECORD").is_file()
    )


def reasons(path: Path, digest: str) -> list[str]:
    """Say why the environment must be made anew or cleaned up: nothing means it is as wished."""
    environment = current(path)
    if environment is None:
        return ["there is no environment yet"]
    made = marker(environment)
    python = {"executable": executable(), "version": platform.python_version()}
    found = []
    if not made:
        found.append(f"{environment / MARKER} cannot be read")
    elif made.get("lock_sha256") != digest:
        found.append(f"the lock changed ({str(made.get('lock_sha256'))[:12]} to {digest[:12]})")
    elif made.get("python") != python:
        found.append(f"the host's Python changed ({made.get('python')} to {python})")
    elif made.get("distributions") != distributions(environment):
        found.append("what is installed in it is not what was put there")
    elif not os.access(environment / "bin" / "python", os.X_OK):
        found.append(f"{environment}/bin/python does not run")
    return found or [f"an interrupted run left {entry}" for entry in leftovers(path)]


def main() -> int:
    """Print the findings; the status tells whether this Python will do."""
    path, digests = Path(sys.argv[1]), json.loads(sys.argv[2])
    found: dict[str, t.Any] = {
        "executable": executable(),
        "version": platform.python_version(),
        "obstacle": obstacle(digests),
    }
    if not found["obstacle"]:
        digest = digests[tag()]
        environment = current(path)
        found.update(
            tag=tag(),
            name=name(digest),
            has_pip=bundled_pip() is not None or importlib.util.find_spec("pip") is not None,
            environment=str(environment) if environment else "",
            reasons=reasons(path, digest),
        )
    sys.stdout.write(f"etcd_runtime={json.dumps(found)}\n")
    return 1 if found["obstacle"] else 0


def bundled_pip() -> Path | None:
    """Return the pip wheel that ensurepip would install, None where the distribution took it out."""
    folders = []
    if sysconfig.get_config_var(
        "WHEEL_PKG_DIR"
    ):  # Debian's and Fedora's place, if it is this one's
        folders.append(Path(sysconfig.get_config_var("WHEEL_PKG_DIR")))
    specification = importlib.util.find_spec("ensurepip")
    if specification and specification.origin:
        folders.append(Path(specification.origin).parent / "_bundled")
    wheels = [wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl"))]
    return wheels[-1] if wheels else None


if __name__ == "__main__":
    sys.exit(main())
