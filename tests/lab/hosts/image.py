# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the image that every host starts from: Debian by debootstrap, cached under its recipe's hash.

No containerd and no kubelet yet: they would go into PACKAGES and SETUP.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from lab import binaries
from lab.hosts.machine import LabError, run

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
)
"""No python3-venv and no pip: as on many a control-plane host."""

MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-networkd.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
)
USER = "ops"
FILES = {
    "etc/sudoers.d/ops": f"{USER} ALL=(ALL) NOPASSWD: ALL\n",
    "etc/ssh/sshd_config.d/lab.conf": (
        "PasswordAuthentication no\nPermitRootLogin no\nUseDNS no\nMaxStartups 100\n"
    ),
    "etc/systemd/system/ssh.service.d/keys.conf": (
        "[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\n"
        "ExecStartPre=/usr/sbin/sshd -t\n"
    ),
    "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=persistent\nSystemMaxUse=32M\n",
}
DROPPED = (
    "etc/ssh/ssh_host_*",
    "var/cache/apt/archives/*.deb",
    "var/cache/apt/*.bin",
    "var/lib/apt/lists/*_*",
    "usr/share/doc/*",
    "usr/share/man/*",
    "usr/share/locale/*",
)


def _recipe() -> dict[str, object]:
    return {
        "suite": SUITE,
        "packages": PACKAGES,
        "masked": MASKED,
        "user": USER,
        "files": FILES,
        "dropped": DROPPED,
        "format": 1,
    }


def recipe_hash() -> str:
    """Return the name under which the image is cached."""
    return hashlib.sha256(json.dumps(_recipe(), sort_keys=True).encode()).hexdigest()[:12]


def image_name() -> str:
    return f"localhost/controlplane-etcd-lab:{recipe_hash()}"


def ensure_image() -> str:
    """Return the image's name; build or import it where podman doesn't have it yet."""
    name = image_name()
    with binaries.cache_lock("lab-image"):
        if run(["podman", "image", "exists", name], check=False).returncode == 0:
            return name
        tarball = binaries.cache_dir() / "images" / f"host-{recipe_hash()}.tar"
        if not tarball.exists():
            _build(tarball)
        change = ["--change", 'CMD ["/sbin/init"]']
        run(["podman", "import", "--quiet", *change, str(tarball), name])
    return name


def _build(tarball: Path) -> None:
    binaries.say("building the image of the lab's hosts with debootstrap (once, a minute) ...")
    tarball.parent.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="etcd-lab-image-", dir="/var/tmp"))
    root = work / "root"
    partial = tarball.with_suffix(".part")
    try:
        include = f"--include={','.join(PACKAGES)}"
        mirror = os.environ.get("CONTROLPLANE_ETCD_DEBIAN_MIRROR", MIRROR)
        run(["debootstrap", "--variant=minbase", include, SUITE, str(root), mirror])
        _set_up(root)
        run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(partial), "."])
        partial.rename(tarball)
    finally:
        partial.unlink(missing_ok=True)
        shutil.rmtree(work, ignore_errors=True)


def _set_up(root: Path) -> None:
    for name, text in FILES.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    (root / "etc/sudoers.d/ops").chmod(0o440)
    for unit in MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    run(["chroot", str(root), "useradd", "-m", "-s", "/bin/bash", USER])
    for pattern in DROPPED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    (root / "etc/machine-id").write_text("")
    if not (root / "usr/sbin/sshd").exists():
        raise LabError("debootstrap left no sshd in the image.")
