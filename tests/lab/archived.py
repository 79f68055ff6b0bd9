# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry of a real cluster in a real archive, made by the modules alone, without a playbook."""

from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
import tarfile
import typing as t
from pathlib import Path

import pyrage

from lab import binaries
from lab.loopback import Cluster
from lab.module import run_module

__all__ = ["Keys", "ask", "asked", "back_up"]


def ask(module: str, **params: t.Any) -> dict[str, t.Any]:
    """Run a module; it may fail."""
    return run_module(module, params)


def asked(module: str, **params: t.Any) -> dict[str, t.Any]:
    """Run a module that succeeds; its warnings are left out: they are no options of another one."""
    result = ask(module, **params)
    assert not result.get("failed"), result
    return {name: value for name, value in result.items() if name != "warnings"}


@dataclasses.dataclass(frozen=True)
class Keys:
    """Key files of a controller."""

    identity: Path
    recipient: str
    signing_key: Path

    @classmethod
    def make(cls, folder: Path) -> Keys:
        """Make them in a folder."""
        identity = pyrage.x25519.Identity.generate()
        (folder / "identity").write_text(f"{identity}\n")
        key = folder / "signing_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        return cls(folder / "identity", str(identity.to_public()), key)


def back_up(cluster: Cluster, keys: Keys, archive: Path, staging: Path) -> dict[str, t.Any]:
    """Take a snapshot and a kit, and add them; return etcd_archive_add's result."""
    options = {
        "archive": str(archive),
        "etcd_cluster": cluster.name,
        "signing_key": str(keys.signing_key),
    }
    hosts = []
    for name, member in cluster.members.items():
        paths = {
            "certificates_dir": str(member.certificates_dir),
            "static_pod_path": str(member.static_pod_path),
            "data_dir": str(member.data_dir),
        }
        hosts.append({"host": name, "info": asked("etcd_info", **paths)})
    info = hosts[0]["info"]
    started = asked("etcd_archive_add", state="started", **options)
    snapshot = asked(
        "etcd_snapshot", dest_dir=str(staging), recipients=[keys.recipient], **_paths(cluster)
    )
    kit = _kit(keys, staging, hosts[0]["host"])
    for file in (*snapshot["files"], *kit["files"]):
        target = Path(started["path"], file["name"])
        target.parent.mkdir(exist_ok=True)
        shutil.move(file["path"], target)
    tools = binaries.get(cluster.version)
    return asked(
        "etcd_archive_add",
        id=started["id"],
        snapshot=snapshot,
        info=info,
        hosts=hosts,
        kits=[{"host": hosts[0]["host"], "member_id": info["local_member"]["id"], "result": kit}],
        tools=[
            {"name": path.name, "version": cluster.version, "path": str(path)}
            for path in (tools.etcd, tools.snapshot_tool)
        ],
        **options,
    )


def _paths(cluster: Cluster) -> dict[str, str]:
    member = next(iter(cluster.members.values()))
    return {
        "certificates_dir": str(member.certificates_dir),
        "static_pod_path": str(member.static_pod_path),
        "data_dir": str(member.data_dir),
        "spool_dir": str(member.root),
    }


def _kit(keys: Keys, staging: Path, host: str) -> dict[str, t.Any]:
    # A tar sealed with age and zstd themselves: what an entry holds is nobody's own format.
    clear = io.BytesIO()
    with tarfile.open(fileobj=clear, mode="w") as tar:
        info = tarfile.TarInfo("etc/kubernetes/pki/sa.key")
        info.size = 6
        tar.addfile(info, io.BytesIO(b"secret"))
    path = staging / "kit"
    subprocess.run(
        ["bash", "-o", "pipefail", "-c", 'zstd -q -c | age -r "$1" > "$2"', "_", keys.recipient]
        + [str(path)],
        input=clear.getvalue(),
        check=True,
    )
    done = subprocess.run(["sha256sum", str(path)], capture_output=True, check=True, text=True)
    return {
        "kit": {"present": ["sa.key"], "missing": []},
        "certificates": [],
        "files": [
            {
                "name": f"pki/{host}.tar.zst.age",
                "path": str(path),
                "part": "pki",
                "size_bytes": path.stat().st_size,
                "sha256": done.stdout.split()[0],
                "compression": "zstd",
                "encryption": {"scheme": "age", "recipients": [keys.recipient]},
            }
        ],
    }
