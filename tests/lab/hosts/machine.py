# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the machine for what the lab's hosts need: root, and a few of Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t

TOOLS = {
    "podman": "podman",
    "runc": "runc",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "mkfs.ext4": "e2fsprogs",
    "losetup": "mount",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
"""Command -> Debian's package that holds it."""


class LabError(Exception):
    """The lab could not do something; the message says on which host and what was said."""


def run(
    argv: t.Sequence[str],
    *,
    stdin: bytes | None = None,
    check: bool = True,
    timeout: float = 600,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the machine; raise with what it said unless it exits 0."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    done = subprocess.run(
        list(argv),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PATH": path},
    )
    if check and done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()[-1500:]
        raise LabError(f"{' '.join(argv)[:200]}: exit status {done.returncode}: {said}")
    return done


def _missing_tools() -> list[str]:
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return [tool for tool in TOOLS if not shutil.which(tool, path=path)]


def obstacle() -> str:
    """Return why this machine can't run the lab's hosts, or "" when it can."""
    if os.geteuid() != 0:
        return "the lab's hosts need root (podman --privileged, network namespaces)"
    missing = _missing_tools()
    if missing and not shutil.which("apt-get"):
        return f"not found and no apt-get to install them: {', '.join(missing)}"
    return ""


def ensure_host_tools() -> None:
    """Install what is missing of TOOLS with apt-get."""
    reason = obstacle()
    if reason:
        raise LabError(reason)
    missing = _missing_tools()
    if not missing:
        return
    packages = sorted({TOOLS[tool] for tool in missing})
    os.environ.setdefault("DEBIAN_FRONTEND", "noninteractive")
    run(["apt-get", "update", "-qq"])
    run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages])
