# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a drill's kube-apiserver, with its own command line, on a loopback cluster: no cage around it.

with serving(cluster, folder, config=...) as (api, process):
    served.compare(api, held(cluster, folder), config)
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.controlplane.etcd.plugins.module_utils._drill import apiserver, encryption
from ansible_collections.controlplane.etcd.plugins.module_utils._drill.api_client import Api, Files
from ansible_collections.controlplane.etcd.plugins.module_utils._drill.picks import Picks
from ansible_collections.controlplane.etcd.plugins.module_utils._drill.served import Held
from ansible_collections.controlplane.etcd.plugins.module_utils._kubernetes.catalogue import (
    Catalogue,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._mvcc.image import read_image
from ansible_collections.controlplane.etcd.plugins.module_utils._snapshot.opened import (
    Keys,
    open_path,
)
from lab import binaries, versions
from lab.loopback import Cluster
from lab.member import free_port
from lab.objects import apiserver as recorder

__all__ = ["Process", "files_of", "held", "program", "serving"]


def program() -> Path:
    """Return a real kube-apiserver, built from Go modules if the cache has none."""
    folder = binaries.cache_dir() / "kubernetes"
    return recorder.build(versions.KUBERNETES_RECORDED, folder)


@dataclass(frozen=True)
class Process:
    """A server as a cage would give it."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def poll(self) -> str | None:
        status = self.process.poll()
        return None if status is None else f"ended with status {status}"

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


def files_of(cluster: Cluster) -> Files:
    """Return a certificate of the cluster's that does for both sides, as a drill's own does."""
    pki = next(iter(cluster.members.values())).certificates_dir / "etcd"
    return Files(str(pki / "ca.crt"), str(pki / "server.crt"), str(pki / "server.key"))


def held(cluster: Cluster, folder: Path) -> Held:
    """Return what the cluster holds now, read offline from a snapshot of it, as a drill does."""
    path = folder / f"{time.monotonic_ns()}.db"
    cluster.etcdctl("snapshot", "save", str(path), json=False)
    catalogue, picks = Catalogue(), Picks()

    def visit(batch: t.Any) -> None:
        catalogue.visit_batch(batch)
        picks.visit_batch(batch)

    with open_path(str(path), Keys((), str(folder)), skip_hash_check=False) as opened:
        summary = read_image(opened.database, visit_batch=visit)
    path.unlink()
    return Held(
        revision=summary.current_revision,
        counts=catalogue.counts,
        encrypted=catalogue.encrypted_by_resource,
        by_key=picks.by_key,
    )


@contextlib.contextmanager
def serving(
    cluster: Cluster,
    folder: Path,
    *,
    config: encryption.EncryptionConfig = encryption.NO_ENCRYPTION,
    ready: bool = True,
    admission: bool = False,
    binary: Path | None = None,
) -> t.Iterator[tuple[Api, Process]]:
    """Give a client and the server; it is killed at the end, as a drill does.

    `admission`: as a live cluster's, with the plugins that every one has. `binary`: another one.
    """
    files = files_of(cluster)
    path = folder / "encryption.yaml"
    if config.text:
        path.write_bytes(config.text)
    port = free_port(set())
    settings = apiserver.Settings(
        port=port,
        etcd=cluster.endpoints[0],
        files=files,
        config_path=str(path) if config.text else "",
    )
    command = apiserver.argv(apiserver.probe(str(binary or program())), settings)
    if admission:
        command = [each for each in command if not each.startswith("--disable-admission-plugins")]
    log = folder / f"kube-apiserver-{port}.log"
    with log.open("wb") as target:
        process = subprocess.Popen(
            command,
            stdout=target,
            stderr=target,
            env={"PATH": os.defpath},
        )
    try:
        server = Process(process, log, port)
        with Api(port, files) as api:
            if ready:
                apiserver.wait_until_ready(
                    api, server, deadline=time.monotonic() + 60, config=config
                )
            yield api, server
    finally:
        process.kill()
        process.wait()
