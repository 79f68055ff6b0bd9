# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real kubectl, built from Go modules, against a live API server on loopback."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lab import binaries, drilled_api, versions
from lab.loopback import Cluster
from lab.objects import apiserver

__all__ = ["Kubectl"]


class Kubectl:
    """The real kubectl, against a live API server."""

    def __init__(self, cluster: Cluster, port: int, folder: Path) -> None:
        self.binary = apiserver.build(
            versions.KUBERNETES_RECORDED, binaries.cache_dir() / "kubernetes", command="kubectl"
        )
        self.config = folder / "kubeconfig"
        files = drilled_api.files_of(cluster)
        server = {"server": f"https://127.0.0.1:{port}", "certificate-authority": files.ca}
        user = {"client-certificate": files.cert, "client-key": files.key}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "live", "cluster": server}],
            "users": [{"name": "live", "user": user}],
            "contexts": [{"name": "live", "context": {"cluster": "live", "user": "live"}}],
            "current-context": "live",
        }
        self.config.write_text(json.dumps(config))

    def __call__(self, *words: str, stdin: str = "") -> tuple[int, str]:
        """Return exit status and what it says."""
        done = subprocess.run(
            [str(self.binary), f"--kubeconfig={self.config}", *words],
            input=stdin.encode(),
            capture_output=True,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).decode()

    def apply(self, path: Path | str, *, stdin: str = "") -> None:
        """Apply a file as a person does."""
        status, said = self("apply", "--server-side", "-f", str(path), stdin=stdin)
        assert status == 0, said

    def diff(self, path: Path) -> tuple[int, str]:
        """Ask what applying would change, as the role does."""
        return self("diff", "--server-side", "--force-conflicts", "-f", str(path))
